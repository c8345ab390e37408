/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_locked.h - what happens between taking and leaving a group's free-space
 * lock: the index changes, and the directory learns which runs came and went.
 *
 * The last claim. Space that is given back right after it was claimed, before anything else
 * happened in its group, would leave the index as it was before the claim, and the next claim
 * of the same length would take the same range again. So the index need not be touched for
 * either: `last` has the claim, and says whether it came back since.
 *   1. It is of the group's last change to the index, made by a claim of the usual kind
 *      (bgs_paths.h).
 *   2. Once it came back, the directory has the bin of the run that it was taken from, as if
 *      that were whole again, and nothing of the group is lent.
 *   3. Whoever takes the lock for anything else makes the index whole first, with group_lock()
 *      or group_settle(). Only a claim that the directory led to the same bin for the same
 *      length, to which the index would answer the same again, gets the range as it is.
 */
#ifndef BGS_GROUP_LOCKED_H
#define BGS_GROUP_LOCKED_H

#include "bgs_group_add.h"
#include "bgs_paths.h"

/* Give pages back: takes the lock twice more. Called without any spin lock. */
void bgs_group_trim(struct bgs_group *group);

/* Makes the index whole: what came back is added to it. The lock held. */
void bgs_group_settle(struct bgs_group *group);

#define BGS_LAST_CLAIMED 1u
/* Claimed, and came back. */
#define BGS_LAST_BACK	2u
#define BGS_LAST_STATES 3u
/* The bin is 10 bits; sectors are the rest. */
#define BGS_LAST_BIN_AT	    2
#define BGS_LAST_SECTORS_AT 12
#define BGS_LAST_BINS	    (0x3ffu << BGS_LAST_BIN_AT)

_Static_assert(BGS_BINS <= 0x400, "a bin has 10 bits");
_Static_assert(BGS_USUAL_MAX == UINT32_MAX >> BGS_LAST_SECTORS_AT, "the rest has the sectors");

static inline uint32_t group_last_word(uint32_t state, unsigned bin, uint32_t sectors)
{
	return state | bin << BGS_LAST_BIN_AT | sectors << BGS_LAST_SECTORS_AT;
}

/* Atomic for those who look without the lock. */
static inline void group_last_set(struct bgs_group *group, uint32_t word)
{
	__atomic_store_n(&group->last, word, __ATOMIC_RELAXED);
}

/* The index is about to change, or to be read. The lock held. */
static inline void group_settle(struct bgs_group *group)
{
	if (__builtin_expect(group->last & BGS_LAST_BACK, 0))
		bgs_group_settle(group);
	group_last_set(group, 0);
}

/* Take the lock for anything but the two usual paths, which look at the last claim themselves. */
static inline void group_lock(struct bgs_group *group)
{
	bgs_spin_lock(&group->lock);
	group_settle(group);
}

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
