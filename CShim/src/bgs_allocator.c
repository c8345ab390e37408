/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_allocator.c - see bgs_allocator.h. */
#include "bgs_allocator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bgs_directory_find.h"
#include "bgs_group_locked.h"
#include "bgs_probe.h"

/* Directory hints that may prove stale before a search goes by the groups themselves. */
#define STALE_MAX 8
/* Small claims that may open a window after one came back to where it was claimed. */
#define EAGER_CLAIMS 4
/* A claim out of a run this long splits it anyway: lend its region as well. */
#define LEND_RUN_SECTORS (2 * BGS_REGION_SECTORS)

int bgs_allocator_create(uint32_t sector_shift, bool magazines,
			 struct bgs_allocator **allocator_out)
{
	struct bgs_allocator *allocator = calloc(1, sizeof(*allocator));
	uint32_t cpus = 1, i;

	if (!allocator)
		return -ENOMEM;
	while (cpus < bgs_cpu_count())
		cpus *= 2;
	allocator->sector_shift = sector_shift;
	allocator->magazines_used = magazines;
	allocator->cpu_mask = cpus - 1;
	allocator->magazines = aligned_alloc(BGS_CACHE_LINE, cpus * sizeof(struct bgs_magazine));
	allocator->table = bgs_table_new();
	if (!allocator->magazines || !allocator->table)
		goto out_memory;
	for (i = 0; i < cpus; i++)
		bgs_magazine_init(&allocator->magazines[i]);
	if (bgs_mutex_init(&allocator->groups_mutex, BGS_MUTEX_GROUPS))
		goto out_memory;
	if (bgs_mutex_init(&allocator->state_mutex, BGS_MUTEX_STATE))
		goto out_groups_mutex;
	if (pthread_cond_init(&allocator->state_changed, NULL))
		goto out_state_mutex;
	*allocator_out = allocator;
	return 0;

out_state_mutex:
	bgs_mutex_destroy(&allocator->state_mutex);
out_groups_mutex:
	bgs_mutex_destroy(&allocator->groups_mutex);
out_memory:
	bgs_table_free(allocator->table);
	free(allocator->magazines);
	free(allocator);
	return -ENOMEM;
}

void bgs_allocator_destroy(struct bgs_allocator *allocator)
{
	uint32_t i;

	for (i = 0; i < allocator->table->count; i++)
		bgs_group_freeze(allocator->table->entries[i].group, true);
	/* No call is under way, but a reader may be on its way out of its last one. */
	bgs_rcu_synchronize();
	for (i = 0; i < allocator->table->count; i++)
		bgs_group_put(allocator->table->entries[i].group);
	for (i = 0; i < allocator->space_count; i++) {
		bgs_directory_destroy(&allocator->spaces[i]->directory);
		free(allocator->spaces[i]);
	}
	pthread_cond_destroy(&allocator->state_changed);
	bgs_mutex_destroy(&allocator->state_mutex);
	bgs_mutex_destroy(&allocator->groups_mutex);
	bgs_table_free(allocator->table);
	free(allocator->magazines);
	free(allocator);
}

/* For each type of claim, whether just one space can serve it. BGS_MUTEX_GROUPS held. */
static void note_only_spaces(struct bgs_allocator *allocator)
{
	uint64_t type;
	uint32_t i;

	for (type = 1; type <= BGS_FLAGS_TYPE; type++) {
		struct bgs_space *only = NULL;
		unsigned matching = 0;

		for (i = 0; i < allocator->space_count; i++) {
			if (!bgs_flags_match(allocator->spaces[i]->flags, type))
				continue;
			only = allocator->spaces[i];
			matching++;
		}
		bgs_publish(allocator->only_space[type], matching == 1 ? only : NULL);
	}
}

/* The space of these flags, made when there is none. BGS_MUTEX_GROUPS held. */
static struct bgs_space *space_for(struct bgs_allocator *allocator, uint64_t flags)
{
	struct bgs_space *space;
	uint32_t i;

	for (i = 0; i < allocator->space_count; i++)
		if (allocator->spaces[i]->flags == flags)
			return allocator->spaces[i];
	if (allocator->space_count == BGS_SPACES_MAX)
		return NULL;
	space = calloc(1, sizeof(*space));
	if (!space)
		return NULL;
	space->flags = flags;
	space->lanes.count = 1;
	bgs_directory_init(&space->directory);
	allocator->spaces[allocator->space_count] = space;
	/* Release: pairs with the acquire in bgs_allocator_space_count(). */
	__atomic_store_n(&allocator->space_count, allocator->space_count + 1, __ATOMIC_RELEASE);
	note_only_spaces(allocator);
	return space;
}

static struct bgs_group *make_group(struct bgs_allocator *allocator, uint64_t logical,
				    uint64_t length, uint64_t flags, bool cached)
{
	struct bgs_group *group = aligned_alloc(BGS_CACHE_LINE, sizeof(*group));

	if (!group)
		return NULL;
	memset(group, 0, sizeof(*group));
	bgs_spin_init(&group->lock, BGS_SPIN_FREE_SPACE);
	group->caching = cached ? BGS_CACHING_FINISHED : BGS_CACHING_NONE;
	group->first_sector = logical >> allocator->sector_shift;
	group->sector_count = (uint32_t)(length >> allocator->sector_shift);
	group->allocator = allocator;
	group->logical = logical;
	group->length = length;
	group->flags = flags;
	group->references = 1;
	if (bgs_index_init(&group->index, group->sector_count)) {
		free(group);
		return NULL;
	}
	return group;
}

static bool overlaps(const struct bgs_table *table, uint64_t logical, uint64_t end)
{
	uint32_t position = bgs_table_position(table, logical);

	return position < table->count && table->entries[position].logical < end;
}

int bgs_allocator_add_group(struct bgs_allocator *allocator, uint64_t logical, uint64_t length,
			    uint64_t flags, bool cached, bool read_only, uint64_t super_bytes,
			    struct bgs_group **group_out)
{
	struct bgs_group *group = make_group(allocator, logical, length, flags, cached);
	struct bgs_table *retired = NULL;
	int ret = -ENOMEM;

	if (!group)
		return -ENOMEM;
	group->state = read_only ? BGS_GROUP_READ_ONLY : 0;
	group->claimable = cached && !read_only;
	group->super_bytes = super_bytes;
	bgs_mutex_lock(&allocator->groups_mutex);
	if (overlaps(allocator->table, logical, logical + length)) {
		ret = -EEXIST;
		goto out;
	}
	group->space = space_for(allocator, flags);
	if (!group->space)
		goto out;
	ret = bgs_directory_slot_take(&group->space->directory, &group->block, &group->slot);
	if (ret)
		goto out;
	/* The table first: what a search claims from the group can be given back at once. */
	ret = bgs_table_add(&allocator->table, logical, logical + length, group, &retired);
	if (ret == 0) {
		bgs_directory_link(group->block, group->slot, group);
		if (group_out) {
			bgs_group_get(group);
			*group_out = group;
		}
		goto out;
	}
	bgs_directory_slot_free(&group->space->directory, group->block, group->slot);
out:
	bgs_mutex_unlock(&allocator->groups_mutex);
	if (ret)
		bgs_group_put(group);
	if (retired) {
		bgs_rcu_synchronize();
		bgs_table_free(retired);
	}
	return ret;
}

int bgs_allocator_remove_group(struct bgs_allocator *allocator, uint64_t logical)
{
	struct bgs_table *retired = NULL;
	struct bgs_group *group;
	int ret;

	bgs_mutex_lock(&allocator->groups_mutex);
	group = bgs_table_find(allocator->table, logical);
	ret = -ENOENT;
	if (!group || group->logical != logical)
		goto out_unlock;
	ret = bgs_group_freeze(group, false);
	if (ret)
		goto out_unlock;
	ret = bgs_table_remove(&allocator->table, logical, &retired);
	if (ret) {
		bgs_group_thaw(group);
		goto out_unlock;
	}
	bgs_directory_unlink(group->block, group->slot);
	bgs_mutex_unlock(&allocator->groups_mutex);

	/* Nobody finds it any more; wait for those who just did. */
	bgs_rcu_synchronize();
	bgs_mutex_lock(&allocator->groups_mutex);
	bgs_directory_slot_free(&group->space->directory, group->block, group->slot);
	bgs_mutex_unlock(&allocator->groups_mutex);
	/* Never cached: it no longer waits to be, nor will it be by who holds a reference. */
	if (bgs_caching_begin(allocator, group))
		bgs_caching_end(allocator, group, -ENOENT);
	bgs_table_free(retired);
	bgs_group_put(group);
	return 0;

out_unlock:
	bgs_mutex_unlock(&allocator->groups_mutex);
	return ret;
}

struct bgs_group *bgs_allocator_get_group(struct bgs_allocator *allocator, uint64_t logical)
{
	struct bgs_group *group;

	bgs_rcu_read_lock();
	group = bgs_table_find(bgs_dereference(allocator->table), logical);
	if (group && !bgs_group_try_get(group))
		group = NULL;
	bgs_rcu_read_unlock();
	return group;
}

struct bgs_group *bgs_allocator_get_next_group(struct bgs_allocator *allocator, uint64_t logical)
{
	struct bgs_group *group = NULL;
	struct bgs_table *table;
	uint32_t position, count;

	bgs_rcu_read_lock();
	table = bgs_dereference(allocator->table);
	position = bgs_table_position(table, logical);
	count = __atomic_load_n(&table->count, __ATOMIC_ACQUIRE);
	/* The end is looked at again: entries may have been appended since. */
	for (; position < count && !group; position++)
		if (table->entries[position].end > logical &&
		    bgs_group_try_get(table->entries[position].group))
			group = table->entries[position].group;
	bgs_rcu_read_unlock();
	return group;
}

struct bgs_group *bgs_space_get_next(struct bgs_space *space, uint32_t *position)
{
	struct bgs_group *group;

	bgs_rcu_read_lock();
	do
		group = bgs_directory_next(&space->directory, position);
	while (group && !bgs_group_try_get(group));
	bgs_rcu_read_unlock();
	return group;
}

/* The step after a directory named a group: -ENOSPC says that the hint was stale. */
static __attribute__((always_inline)) inline bool claim_in_group(struct bgs_group *group,
								 uint32_t sectors, uint32_t need,
								 unsigned class_limit,
								 uint64_t *sector_out)
{
	struct group_snapshot before;
	uint32_t start;
	bool claimed;

	group_lock(group, &before);
	claimed = group->claimable && group_index_claim(group, sectors, need, class_limit, &start);
	group_unlock(group, &before);
	if (claimed)
		*sector_out = group->first_sector + start;
	return claimed;
}

/*
 * Claim in a range of a directory. What is found under the step of the request
 * itself may still be too short; from the next step on only a stale hint can
 * disappoint. *class_out: the class it was found under.
 */
static __attribute__((always_inline)) inline struct bgs_group *
claim_in_range(struct bgs_space *space, const struct bgs_range *range, uint32_t sectors,
	       uint32_t need, unsigned *class_out, uint64_t *sector_out)
{
	struct bgs_fit fit = bgs_fit_of(need);
	unsigned turn;

	for (turn = 0; turn < STALE_MAX && fit.size_class < BGS_INDEX_CLASSES; turn++) {
		struct bgs_group *group = bgs_directory_find(&space->directory, range, &fit);

		if (!group)
			return NULL;
		if (__builtin_expect(
			    claim_in_group(group, sectors, need, fit.size_class, sector_out), 1)) {
			*class_out = fit.size_class;
			return group;
		}
		if (++fit.step >= BGS_STEPS) {
			fit.size_class++;
			fit.step = 0;
		}
	}
	return NULL;
}

static bool whole(const struct bgs_range *range, const struct bgs_directory *directory)
{
	return range->first == 0 && range->slots == 0xffff &&
	       range->last + 1 >= __atomic_load_n(&directory->block_count, __ATOMIC_RELAXED);
}

/* The home has nothing: look everywhere, unless that was everywhere. */
static __attribute__((noinline)) struct bgs_group *
claim_elsewhere(struct bgs_space *space, struct bgs_range *range, uint32_t sectors, uint32_t need,
		unsigned *class_out, uint64_t *sector_out)
{
	if (whole(range, &space->directory) || !bgs_directory_all(&space->directory, range))
		return NULL;
	return claim_in_range(space, range, sectors, need, class_out, sector_out);
}

static __attribute__((always_inline)) inline int claim_in_space(struct bgs_allocator *allocator,
								struct bgs_space *space,
								uint64_t flags, uint32_t sectors,
								uint32_t need, uint64_t *sector_out)
{
	bool small = sectors <= BGS_MAGAZINE_MAX && need == sectors && allocator->magazines_used;
	unsigned size_class = 0;
	struct bgs_group *group;
	struct bgs_range range;

	if (!bgs_directory_home(&space->directory, &space->lanes, &range))
		return -ENOSPC;
	group = claim_in_range(space, &range, sectors, need, &size_class, sector_out);
	if (__builtin_expect(!group, 0)) {
		group = claim_elsewhere(space, &range, sectors, need, &size_class, sector_out);
		if (!group)
			return -ENOSPC;
	}
	if (small) {
		struct bgs_magazine *magazine = bgs_magazine_here(allocator);
		uint32_t eager = __atomic_load_n(&magazine->eager, __ATOMIC_RELAXED);

		if (eager || size_class >= bgs_class_of(LEND_RUN_SECTORS)) {
			if (eager)
				__atomic_store_n(&magazine->eager, eager - 1, __ATOMIC_RELAXED);
			bgs_magazine_open(magazine, bgs_window_type_of(flags), group, *sector_out);
		} else {
			__atomic_store_n(&magazine->last_region, *sector_out >> BGS_REGION_SHIFT,
					 __ATOMIC_RELAXED);
		}
	}
	BGS_PROBE3(claim, group->logical, *sector_out, sectors);
	return 0;
}

int bgs_allocator_claim_slow(struct bgs_allocator *allocator, uint64_t flags, uint32_t sectors,
			     uint32_t need, uint64_t *sector_out)
{
	struct bgs_space *only =
		flags <= BGS_FLAGS_TYPE ? bgs_dereference(allocator->only_space[flags]) : NULL;
	int ret = -ENOSPC;

	bgs_rcu_read_lock();
	if (__builtin_expect(only != NULL, 1)) {
		ret = claim_in_space(allocator, only, flags, sectors, need, sector_out);
	} else {
		uint32_t count = bgs_allocator_space_count(allocator), i;

		for (i = 0; i < count && ret; i++)
			if (bgs_flags_match(allocator->spaces[i]->flags, flags))
				ret = claim_in_space(allocator, allocator->spaces[i], flags,
						     sectors, need, sector_out);
	}
	bgs_rcu_read_unlock();
	return ret;
}

/* Back to where this processor just claimed: it may like a window there. */
static inline void note_locality(struct bgs_allocator *allocator, uint64_t sector)
{
	struct bgs_magazine *magazine = bgs_magazine_here(allocator);

	if (__atomic_load_n(&magazine->last_region, __ATOMIC_RELAXED) == sector >> BGS_REGION_SHIFT)
		__atomic_store_n(&magazine->eager, EAGER_CLAIMS, __ATOMIC_RELAXED);
}

/* Into a group that lends nothing and has as much claimed: the usual case of bgs_group_give_back().
 */
static inline int give_back_plain(struct bgs_group *group, uint64_t sector, uint32_t sectors)
{
	struct group_snapshot before;
	int ret = -EAGAIN;

	group_lock(group, &before);
	if (__builtin_expect(!group->lends && group->index.free_sectors + (uint64_t)sectors <=
						      group->added_sectors,
			     1))
		ret = group_index_add(group, group_relative(group, sector), sectors);
	group_unlock(group, &before);
	return ret;
}

int bgs_allocator_give_back_slow(struct bgs_allocator *allocator, uint64_t sector, uint64_t sectors)
{
	uint64_t logical = sector << allocator->sector_shift;
	struct bgs_group *group;
	int ret = -EINVAL;

	bgs_rcu_read_lock();
	group = bgs_table_find(bgs_dereference(allocator->table), logical);
	if (group && sectors <= group->first_sector + group->sector_count - sector) {
		ret = give_back_plain(group, sector, (uint32_t)sectors);
		if (__builtin_expect(ret == -EAGAIN, 0))
			ret = bgs_group_give_back(group, sector, sectors);
	}
	bgs_rcu_read_unlock();
	if (sectors <= BGS_MAGAZINE_MAX && ret == 0 && allocator->magazines_used)
		note_locality(allocator, sector);
	BGS_PROBE3(give_back, sector, sectors, ret);
	return ret;
}

bool bgs_allocator_drain(struct bgs_allocator *allocator)
{
	bool any = false;
	uint32_t cpu;
	unsigned type;

	for (cpu = 0; cpu <= allocator->cpu_mask; cpu++) {
		struct bgs_magazine *magazine = &allocator->magazines[cpu];

		for (type = 0; type < BGS_WINDOW_TYPES; type++) {
			if (bgs_word_closed(
				    __atomic_load_n(&magazine->word[type], __ATOMIC_ACQUIRE)))
				continue;
			bgs_rcu_read_lock();
			bgs_magazine_close(magazine, type);
			bgs_rcu_read_unlock();
			any = true;
		}
	}
	return any;
}

bool bgs_caching_begin(struct bgs_allocator *allocator, struct bgs_group *group)
{
	bool mine = false;

	if (__atomic_load_n(&group->caching, __ATOMIC_ACQUIRE) >= BGS_CACHING_FINISHED)
		return false;
	bgs_mutex_lock(&allocator->state_mutex);
	if (group->caching == BGS_CACHING_NONE) {
		bgs_spin_lock(&group->lock);
		__atomic_store_n(&group->caching, BGS_CACHING_STARTED, __ATOMIC_RELAXED);
		bgs_spin_unlock(&group->lock);
		group->cacher = bgs_thread_ordinal();
		mine = true;
	}
	while (!mine && group->caching == BGS_CACHING_STARTED &&
	       group->cacher != bgs_thread_ordinal())
		bgs_mutex_wait(&allocator->state_mutex, &allocator->state_changed);
	bgs_mutex_unlock(&allocator->state_mutex);
	return mine;
}

void bgs_caching_end(struct bgs_allocator *allocator, struct bgs_group *group, int error)
{
	bgs_mutex_lock(&allocator->state_mutex);
	bgs_group_finish_caching(group, error);
	pthread_cond_broadcast(&allocator->state_changed);
	bgs_mutex_unlock(&allocator->state_mutex);
}

uint64_t bgs_chunk_generation(struct bgs_allocator *allocator, uint64_t flags)
{
	/* Acquire: pairs with the release in bgs_chunk_end(), so that the chunk is seen, too. */
	return __atomic_load_n(&allocator->chunk[flags & BGS_FLAGS_TYPE].generation,
			       __ATOMIC_ACQUIRE);
}

bool bgs_chunk_begin(struct bgs_allocator *allocator, uint64_t flags, uint32_t sectors,
		     uint64_t generation, int *result_out)
{
	struct bgs_chunk_state *chunk = &allocator->chunk[flags & BGS_FLAGS_TYPE];
	bool mine = false;

	bgs_mutex_lock(&allocator->state_mutex);
	while (chunk->in_progress)
		bgs_mutex_wait(&allocator->state_mutex, &allocator->state_changed);
	if (chunk->generation == generation ||
	    (chunk->result && (chunk->flags != flags || chunk->sectors > sectors))) {
		chunk->in_progress = true;
		chunk->flags = flags;
		chunk->sectors = sectors;
		mine = true;
	} else {
		*result_out = chunk->result;
	}
	bgs_mutex_unlock(&allocator->state_mutex);
	return mine;
}

void bgs_chunk_end(struct bgs_allocator *allocator, uint64_t flags, int result)
{
	struct bgs_chunk_state *chunk = &allocator->chunk[flags & BGS_FLAGS_TYPE];

	bgs_mutex_lock(&allocator->state_mutex);
	chunk->in_progress = false;
	chunk->result = result;
	__atomic_store_n(&chunk->generation, chunk->generation + 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&allocator->state_changed);
	bgs_mutex_unlock(&allocator->state_mutex);
}

void bgs_allocator_lock_counts(struct bgs_allocator *allocator, uint64_t *taken_out,
			       uint64_t *contended_out)
{
	struct bgs_table *table;
	uint32_t count, i;

	*taken_out = *contended_out = 0;
	bgs_rcu_read_lock();
	table = bgs_dereference(allocator->table);
	count = __atomic_load_n(&table->count, __ATOMIC_ACQUIRE);
	for (i = 0; i < count; i++) {
		struct bgs_spin *lock = &table->entries[i].group->lock;

		*taken_out += __atomic_load_n(&lock->taken, __ATOMIC_RELAXED);
		*contended_out += __atomic_load_n(&lock->contended, __ATOMIC_RELAXED);
	}
	bgs_rcu_read_unlock();
}

uint64_t bgs_allocator_bytes(struct bgs_allocator *allocator)
{
	struct bgs_table *table;
	uint64_t bytes = 0;
	uint32_t count, i;

	bgs_rcu_read_lock();
	table = bgs_dereference(allocator->table);
	count = __atomic_load_n(&table->count, __ATOMIC_ACQUIRE);
	for (i = 0; i < count; i++) {
		struct bgs_group *group = table->entries[i].group;

		bgs_spin_lock(&group->lock);
		bytes += sizeof(*group) - sizeof(group->index) + bgs_index_bytes(&group->index);
		bgs_spin_unlock(&group->lock);
	}
	bgs_rcu_read_unlock();
	return bytes;
}

void bgs_probe_refused(uint64_t flags, uint64_t sectors, int error)
{
	BGS_PROBE3(refused, flags, sectors, error);
}

void bgs_probe_chunk(uint64_t flags, uint64_t length, int error)
{
	BGS_PROBE3(chunk, flags, length, error);
}
