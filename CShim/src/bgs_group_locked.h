/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_locked.h - what happens between taking and leaving a group's
 * free-space lock, inline for the paths that every claim and give-back takes.
 *
 * Whoever changes the index does so between group_lock() and group_unlock(): the
 * second brings the directory up to what changed since the first (bgs_group.h,
 * invariant 3).
 */
#ifndef BGS_GROUP_LOCKED_H
#define BGS_GROUP_LOCKED_H

#include "bgs_group.h"
#include "bgs_index_call.h"

/* What the directory says of a group when its lock is taken. */
struct group_snapshot {
	uint64_t present[BGS_SUMMARY_WORDS];
};

/* Set and clear the bits that differ. */
void bgs_group_publish(struct bgs_group *group, const struct group_snapshot *before);
/* Give pages back: takes the lock twice more. Called without any spin lock. */
void bgs_group_trim(struct bgs_group *group);

static inline uint32_t group_relative(const struct bgs_group *group, uint64_t sector)
{
	return (uint32_t)(sector - group->first_sector);
}

static inline void group_lock(struct bgs_group *group, struct group_snapshot *before)
{
	uint64_t mask;

	bgs_spin_lock(&group->lock);
	mask = -(uint64_t)group->claimable;
	before->present[0] = group->index.present[0] & mask;
	before->present[1] = group->index.present[1] & mask;
}

static inline void group_unlock(struct bgs_group *group, const struct group_snapshot *before)
{
	uint64_t mask = -(uint64_t)group->claimable;

	if (((group->index.present[0] & mask) ^ before->present[0]) |
	    ((group->index.present[1] & mask) ^ before->present[1]))
		bgs_group_publish(group, before);
	bgs_spin_unlock(&group->lock);
}

/*
 * The same where no other spin lock is held: pages that the index no longer needs go
 * back to the system, which takes a system call.
 */
static inline void group_unlock_trim(struct bgs_group *group, const struct group_snapshot *before)
{
	bool trim = group->index.trim_wanted != 0;

	group_unlock(group, before);
	if (__builtin_expect(trim, 0))
		bgs_group_trim(group);
}

/* Add to the index what is known not to be free, and tell the steps: neighbours went, one run came.
 */
static inline int group_index_add(struct bgs_group *group, uint32_t start, uint32_t length)
{
	uint32_t run, run_length;
	int ret = bgs_index_call_add(&group->index, start, length, &run, &run_length);

	if (__builtin_expect(ret, 0))
		return ret;
	/* Short runs have no steps, and most are short. */
	if (run_length >= BGS_STEPS_FROM) {
		bgs_block_note(group->block, group->slot, start - run, false);
		bgs_block_note(group->block, group->slot, run + run_length - (start + length),
			       false);
		bgs_block_note(group->block, group->slot, run_length, true);
	}
	return 0;
}

/* Claim from a run of at most a class, and tell the steps. */
static inline bool group_index_claim(struct bgs_group *group, uint32_t sectors, uint32_t need,
				     unsigned class_limit, uint32_t *start_out)
{
	uint32_t run_length;

	if (!bgs_index_call_claim(&group->index, sectors, need, class_limit, start_out,
				  &run_length))
		return false;
	if (run_length >= BGS_STEPS_FROM) {
		bgs_block_note(group->block, group->slot, run_length, false);
		bgs_block_note(group->block, group->slot, run_length - sectors, true);
	}
	return true;
}

#endif
