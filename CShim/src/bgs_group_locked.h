/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_locked.h - what happens between taking and leaving a group's free-space
 * lock: the index changes, and the directory learns which runs came and went.
 */
#ifndef BGS_GROUP_LOCKED_H
#define BGS_GROUP_LOCKED_H

#include "bgs_group.h"

/* Give pages back: takes the lock twice more. Called without any spin lock. */
void bgs_group_trim(struct bgs_group *group);

static inline uint32_t group_relative(const struct bgs_group *group, uint64_t sector)
{
	return (uint32_t)(sector - group->first_sector);
}

/*
 * Leave the lock where no other spin lock is held: pages that the index no longer needs
 * go back to the system, which takes a system call.
 */
static inline void group_unlock_trim(struct bgs_group *group)
{
	bool trim = group->index.trim_wanted != 0;

	bgs_spin_unlock(&group->lock);
	if (__builtin_expect(trim, 0))
		bgs_group_trim(group);
}

/* Space was said to be free. */
static inline void group_note_added(struct bgs_group *group, uint32_t sectors)
{
	uint32_t added = group->added_sectors + sectors;

	/*
	 * Past the group's size some of the range must have been claimed: whoever gives a
	 * claim back this way, as the seed does, ends the claim.
	 */
	group->added_sectors = added > group->sector_count ? group->sector_count : added;
}

/* A run of this length came. The group is claimable. */
static inline void group_came(struct bgs_group *group, uint32_t sectors)
{
	bgs_block_set(group->block, group->slot, bgs_bin_of(sectors));
}

/* One went; others of its bin may be left. */
void bgs_group_gone(struct bgs_group *group, uint32_t sectors);

/* Changes of the index, with the directory: bgs_index_add() and bgs_index_remove(). */
int bgs_group_index_add(struct bgs_group *group, uint32_t start, uint32_t sectors);
int bgs_group_index_remove(struct bgs_group *group, uint32_t start, uint32_t sectors);
/* The directory, after some claim took a range out of a run. */
void bgs_group_note_cut(struct bgs_group *group, uint32_t start, uint32_t sectors);

/*
 * The group has become claimable: tell the directory of its runs, bit by bit, so that the
 * lock is not held for long. Whatever changes meanwhile is told as it changes. No spin lock
 * held.
 */
void bgs_group_announce(struct bgs_group *group);
/* It no longer is: nothing of it is left in the directory. The lock held. */
void bgs_group_withdraw(struct bgs_group *group);

/* What the group has lent; bgs_group_lent.c. The lock held for all of them. */

/* Free sectors that are lent out. */
uint64_t bgs_group_lent_sectors(struct bgs_group *group);
/* Take the windows back, not the clusters. */
void bgs_group_recall_windows(struct bgs_group *group);
/* Whether a lent window or a cluster has a free sector of the range. */
bool bgs_group_lent_overlaps(struct bgs_group *group, uint64_t sector, uint64_t sectors);
/*
 * Give back while some of the group is lent: into the window that has the range,
 * or to the index once what overlaps is taken back. 0 or -EEXIST: done; -EAGAIN:
 * the index may have it now.
 */
int bgs_group_give_back_lent(struct bgs_group *group, uint64_t sector, uint32_t sectors);

#endif
