/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_add_many.h - free space of many ranges, of any groups, in any order.
 *
 * In order of address a group's lines and its lock are touched once for many ranges; in
 * any other order each range waits for memory of its own. So the ranges are sorted, in the
 * caller's array, since this must not fail for want of memory.
 */
#ifndef BGS_ADD_MANY_H
#define BGS_ADD_MANY_H

#include "bgs_allocator.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes; the same layout as struct bg_extent of blockgroups.h. */
struct bgs_byte_range {
	uint64_t logical;
	uint64_t length;
};

/* Sort by address; in place, in time proportional to @count, and no more than look when sorted. */
void bgs_byte_ranges_sort(struct bgs_byte_range *ranges, size_t count);

/*
 * bgs_group_add() for each in order of address, until one is refused: *added_out is how many
 * are free now, the first ones of the sorted array. No spin lock held.
 *
 * Return: 0, -EINVAL or -EEXIST.
 */
int bgs_add_many(struct bgs_allocator *allocator, struct bgs_byte_range *ranges, size_t count,
		 size_t *added_out);

#ifdef __cplusplus
}
#endif
#endif
