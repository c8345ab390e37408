/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_add.c - saying that ranges are free, one (bgs_group.h) or many (bgs_add_many.h).
 */
#include "bgs_add_many.h"

#include <errno.h>

#include "bgs_group_locked.h"
#include "bgs_index_alone.h"
#include "bgs_paths.h"

/* A range in bytes as sectors from the group's first; false: it is not whole sectors of the group.
 */
static inline bool range_sectors(const struct bgs_group *group, uint64_t logical, uint64_t length,
				 uint64_t *start_out, uint64_t *sectors_out)
{
	unsigned shift = group->sector_shift;
	uint64_t start = bgs_turned_sectors(logical, shift) - group->first_sector;
	uint64_t sectors = bgs_turned_sectors(length, shift);

	*start_out = start;
	*sectors_out = sectors;
	return __builtin_expect(start < bgs_group_sectors(group), 1) &&
	       __builtin_expect(sectors - 1 < bgs_group_sectors(group) - start, 1);
}

/*
 * The free space of a shattered group comes run by run: a short one that comes alone, to others of
 * its length, of which the directory knows. The lock held. false: nothing has changed.
 */
static __attribute__((always_inline)) inline bool add_alone(struct bgs_group *group, uint32_t start,
							    uint64_t sectors)
{
	if (__builtin_expect(group->lends || group->last || !group->index.takes_alone ||
				     sectors >= BGS_CLASS_OCTAVES,
			     0) ||
	    __builtin_expect(!bgs_index_add_alone(&group->index, start, (uint32_t)sectors,
						  (unsigned)sectors - 1, true),
			     0))
		return false;
	group_note_added(group, (uint32_t)sectors);
	return true;
}

/* Every other case; the lock stays held. */
static int add_locked(struct bgs_group *group, uint32_t start, uint32_t sectors)
{
	group_settle(group);
	if (__builtin_expect(group->lends, 0))
		bgs_group_recall_locked(group);
	return __atomic_load_n(&bgs_paths_chosen, __ATOMIC_RELAXED)->add(group, start, sectors);
}

/* The lock held, which it leaves. */
static __attribute__((noinline)) int add_rest(struct bgs_group *group, uint32_t start,
					      uint32_t sectors)
{
	int ret = add_locked(group, start, sectors);

	group_unlock_trim(group);
	return ret;
}

static __attribute__((noinline)) int add_wait(struct bgs_group *group, uint32_t start,
					      uint32_t sectors)
{
	bgs_spin_lock(&group->lock);
	return add_rest(group, start, sectors);
}

int bgs_group_add(struct bgs_group *group, uint64_t logical, uint64_t length)
{
	uint64_t start, sectors;

	if (!range_sectors(group, logical, length, &start, &sectors))
		return -EINVAL;
	bgs_index_prefetch_add(&group->index, (uint32_t)start);
	/* No call but in tail position, so that nothing has to be saved. */
	if (__builtin_expect(!bgs_spin_trylock(&group->lock), 0))
		return add_wait(group, (uint32_t)start, (uint32_t)sectors);
	if (__builtin_expect(!add_alone(group, (uint32_t)start, sectors), 0))
		return add_rest(group, (uint32_t)start, (uint32_t)sectors);
	bgs_spin_unlock(&group->lock);
	return 0;
}

/* Ranges that are added in one turn under a group's lock. */
#define ADD_TURN 64

/*
 * Add ranges from the first until one is not of this group; *taken_out is how many. The group
 * is that of the first one's address.
 */
static int add_to_group(struct bgs_group *group, const struct bgs_byte_range *ranges, size_t count,
			size_t *taken_out)
{
	size_t i = 0;
	int ret = 0;

	/* Ends: every turn takes one at least, or fails. */
	while (ret == 0 && i < count && ranges[i].logical - group->logical < group->length) {
		size_t end = count - i < ADD_TURN ? count : i + ADD_TURN;

		bgs_spin_lock(&group->lock);
		for (; i < end; i++) {
			uint64_t start, sectors;

			if (ranges[i].logical - group->logical >= group->length)
				break;
			ret = -EINVAL;
			if (!range_sectors(group, ranges[i].logical, ranges[i].length, &start,
					   &sectors))
				break;
			ret = 0;
			if (add_alone(group, (uint32_t)start, sectors))
				continue;
			ret = add_locked(group, (uint32_t)start, (uint32_t)sectors);
			if (ret)
				break;
		}
		group_unlock_trim(group);
	}
	*taken_out = i;
	return ret;
}

int bgs_add_many(struct bgs_allocator *allocator, struct bgs_byte_range *ranges, size_t count,
		 size_t *added_out)
{
	size_t i = 0, taken;
	int ret = 0;

	bgs_byte_ranges_sort(ranges, count);
	while (ret == 0 && i < count) {
		struct bgs_group *group = bgs_allocator_get_group(allocator, ranges[i].logical);

		if (!group) {
			ret = -EINVAL;
			break;
		}
		ret = add_to_group(group, ranges + i, count - i, &taken);
		bgs_group_put(group);
		i += taken;
	}
	*added_out = i;
	return ret;
}
