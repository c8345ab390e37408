/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_claim.c - the claim that has no wish of its own, and the give-back: the paths
 * of bgs_allocator.h that lock one group and nothing else.
 */
#include "bgs_allocator.h"

#include <errno.h>

#include "bgs_directory_find.h"
#include "bgs_group_locked.h"
#include "bgs_probe.h"

/* Directory hints that may prove stale before a search goes by the groups themselves. */
#define STALE_MAX 8
/* Small claims that may open a window after one came back to where it was claimed. */
#define EAGER_CLAIMS 4
/* A claim out of a run this long splits it anyway: lend its region as well. */
#define LEND_RUN_SECTORS (2 * BGS_REGION_SECTORS)

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
	group_unlock_trim(group, &before);
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
	group_unlock_trim(group, &before);
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
