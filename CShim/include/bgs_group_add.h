/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_add.h - saying that one range is free.
 *
 * The free space of a shattered group comes run by run, so what nearly every call does then is
 * inline for Swift as well: a short run that comes alone, into a bitmap. Everything else is
 * bgs_group_add_rest(). Builds that check locks call bgs_group_add(), which has both, from C.
 */
#ifndef BGS_GROUP_ADD_H
#define BGS_GROUP_ADD_H

#include "bgs_group.h"
#include "bgs_index_alone.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Space was said to be free. The lock held. */
static inline void bgs_group_note_added(struct bgs_group *group, uint32_t sectors)
{
	uint32_t added = group->added_sectors + sectors;

	/*
	 * Past the group's size some of the range must have been claimed: whoever gives a
	 * claim back this way, as the seed does, ends the claim.
	 */
	group->added_sectors = added > bgs_group_sectors(group) ? bgs_group_sectors(group) : added;
}

/* A range in bytes as sectors from the group's first; false: it is not whole sectors of the group.
 */
static inline bool bgs_group_range(const struct bgs_group *group, uint64_t logical, uint64_t length,
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
 * A short run that comes alone, to others of its length, of which the directory knows. The lock
 * held. false: nothing has changed.
 */
static __attribute__((always_inline)) inline bool
bgs_group_add_alone_locked(struct bgs_group *group, uint32_t start, uint64_t sectors)
{
	if (__builtin_expect(group->lends || group->last || !group->index.takes_alone ||
				     sectors >= BGS_CLASS_OCTAVES,
			     0) ||
	    __builtin_expect(!bgs_index_add_alone(&group->index, start, (uint32_t)sectors,
						  (unsigned)sectors - 1, true),
			     0))
		return false;
	bgs_group_note_added(group, (uint32_t)sectors);
	return true;
}

/* false: nothing has changed, bgs_group_add_rest() decides. */
static __attribute__((always_inline)) inline bool
bgs_group_add_alone(struct bgs_group *group, uint64_t logical, uint64_t length)
{
	uint64_t start, sectors;
	bool added;

	if (!bgs_group_range(group, logical, length, &start, &sectors) ||
	    !bgs_index_prefetch_alone(&group->index, (uint32_t)start) ||
	    !bgs_spin_trylock(&group->lock))
		return false;
	added = bgs_group_add_alone_locked(group, (uint32_t)start, sectors);
	bgs_spin_unlock(&group->lock);
	return added;
}

/* Bytes, which need not be whole sectors of the group. 0, -EEXIST, or -EINVAL. */
int bgs_group_add_rest(struct bgs_group *group, uint64_t logical, uint64_t length);

/* Either of them. */
int bgs_group_add(struct bgs_group *group, uint64_t logical, uint64_t length);

#ifdef __cplusplus
}
#endif

#endif
