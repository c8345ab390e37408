/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_add.c - saying that ranges are free, one (bgs_group_add.h) or many (bgs_add_many.h).
 */
#include "bgs_add_many.h"

#include <errno.h>

#include "bgs_group_locked.h"
#include "bgs_paths.h"

/* Whatever is not a run alone; the lock held. */
static int add_locked(struct bgs_group *group, uint32_t start, uint32_t sectors)
{
	group_settle(group);
	if (__builtin_expect(group->lends, 0))
		bgs_group_recall_locked(group);
	return __atomic_load_n(&bgs_paths_chosen, __ATOMIC_RELAXED)->add(group, start, sectors);
}

int bgs_group_add_rest(struct bgs_group *group, uint64_t logical, uint64_t length)
{
	uint64_t start, sectors;
	int ret;

	if (!bgs_group_range(group, logical, length, &start, &sectors))
		return -EINVAL;
	bgs_spin_lock(&group->lock);
	ret = add_locked(group, (uint32_t)start, (uint32_t)sectors);
	group_unlock_trim(group);
	return ret;
}

int bgs_group_add(struct bgs_group *group, uint64_t logical, uint64_t length)
{
	return bgs_group_add_alone(group, logical, length)
		       ? 0
		       : bgs_group_add_rest(group, logical, length);
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
			if (!bgs_group_range(group, ranges[i].logical, ranges[i].length, &start,
					     &sectors))
				break;
			ret = 0;
			if (bgs_group_add_alone_locked(group, (uint32_t)start, sectors))
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
