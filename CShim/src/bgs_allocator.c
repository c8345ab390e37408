/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_allocator.c - life of an allocator and of its groups; see bgs_allocator.h. */
#include "bgs_allocator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bgs_sys.h"

int bgs_allocator_create(uint32_t sector_shift, bool magazines,
			 struct bgs_allocator **allocator_out)
{
	struct bgs_allocator *allocator = bgs_alloc_aligned(BGS_CACHE_LINE, sizeof(*allocator));
	uint32_t cpus = 1, i;

	if (!allocator)
		return -ENOMEM;
	while (cpus < bgs_cpu_count())
		cpus *= 2;
	allocator->sector_shift = (uint8_t)sector_shift;
	for (i = 0; i < 8; i++)
		allocator->window_type[i] = (uint8_t)bgs_window_type_of(i);
	allocator->magazine_max = magazines ? BGS_MAGAZINE_MAX : 0;
	allocator->paths = *__atomic_load_n(&bgs_paths_chosen, __ATOMIC_RELAXED);
	allocator->cpu_mask = cpus - 1;
	allocator->magazines =
		aligned_alloc(sizeof(struct bgs_magazine), cpus * sizeof(struct bgs_magazine));
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

_Static_assert(offsetof(struct bgs_group, index) == BGS_CACHE_LINE, "line 0 is the group's");
_Static_assert(offsetof(struct bgs_group, super_bytes) + 8 <= BGS_GROUP_BYTES, "all is allocated");

static struct bgs_group *make_group(struct bgs_allocator *allocator, uint64_t logical,
				    uint64_t length, uint64_t flags, bool cached)
{
	void *memory;
	struct bgs_group *group;

	if (posix_memalign(&memory, BGS_CACHE_LINE, BGS_GROUP_BYTES))
		return NULL;
	group = memory;
	memset(memory, 0, BGS_GROUP_BYTES);
	bgs_spin_init(&group->lock, BGS_SPIN_FREE_SPACE);
	group->caching = cached ? BGS_CACHING_FINISHED : BGS_CACHING_NONE;
	group->first_sector = logical >> allocator->sector_shift;
	group->sector_shift = (uint8_t)allocator->sector_shift;
	group->allocator = allocator;
	group->logical = logical;
	group->length = length;
	group->flags = flags;
	group->references = 1;
	if (bgs_index_init(&group->index, (uint32_t)(length >> allocator->sector_shift))) {
		free(group);
		return NULL;
	}
	return group;
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
	if (bgs_table_overlaps(allocator->table, logical, logical + length)) {
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
