/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_notes.c - what the directory learns of a group's runs where that is not done
 * by the paths themselves (bgs_paths_locked.h); see bgs_group_locked.h.
 */
#include "bgs_group_locked.h"

void bgs_group_gone(struct bgs_group *group, uint32_t sectors)
{
	unsigned c = bgs_class_of(sectors), bin = bgs_bin_of(sectors);
	const uint64_t *present = group->index.present;

	BGS_ASSERT_HELD(&group->lock);
	if (present[c >> 6] >> (c & 63) & 1 &&
	    bgs_index_may_have(&group->index, bgs_bin_first(bin), bgs_bin_last(bin))) {
		return;
	}
	bgs_block_clear(group->block, group->slot, bin);
}

int bgs_group_index_add(struct bgs_group *group, uint32_t start, uint32_t sectors)
{
	uint32_t run, length, left, right;
	int ret = bgs_index_add(&group->index, start, sectors);

	if (ret || !group->claimable)
		return ret;
	bgs_index_next(&group->index, start, &run, &length);
	left = start - run;
	right = length - left - sectors;
	group_came(group, length);
	if (left)
		bgs_group_gone(group, left);
	if (right)
		bgs_group_gone(group, right);
	return 0;
}

void bgs_group_note_cut(struct bgs_group *group, uint32_t start, uint32_t sectors)
{
	uint32_t run, length, head = 0, tail = 0;

	if (!group->claimable)
		return;
	/* The run that ends above the sector before: it is the head when it begins there or below.
	 */
	if (start && bgs_index_next(&group->index, start - 1, &run, &length) && run < start)
		head = start - run;
	if (bgs_index_next(&group->index, start + sectors, &run, &length) && run == start + sectors)
		tail = length;
	if (head)
		group_came(group, head);
	if (tail)
		group_came(group, tail);
	bgs_group_gone(group, head + sectors + tail);
}

void bgs_group_settle(struct bgs_group *group)
{
	uint32_t sectors = group->last >> BGS_LAST_SECTORS_AT;

	BGS_ASSERT_HELD(&group->lock);
	/* First, for what follows looks at it. It cannot fail: the range was claimed until now. */
	group_last_set(group, 0);
	bgs_group_index_add(group, group->last_start, sectors);
}

int bgs_group_index_remove(struct bgs_group *group, uint32_t start, uint32_t sectors)
{
	int ret = bgs_index_remove(&group->index, start, sectors);

	if (ret == 0)
		bgs_group_note_cut(group, start, sectors);
	return ret;
}

/* Runs that one turn under the lock announces. */
#define ANNOUNCE_RUNS 256

/*
 * Lengths with a bin of their own, all at once: from now on whoever adds another run of such a
 * length to those that are there need not tell (bgs_group_add_alone_locked()).
 */
static void announce_short(struct bgs_group *group)
{
	uint64_t short_runs =
		group->index.present[0] & ((UINT64_C(1) << (BGS_CLASS_OCTAVES - 1)) - 1);

	for (; short_runs; short_runs &= short_runs - 1)
		group_came(group, (uint32_t)__builtin_ctzll(short_runs) + 1);
}

/* Tell the directory of some more of the runs. Return: false when it knows all, or is not to. */
static bool announce_some(struct bgs_group *group, uint32_t *from)
{
	uint32_t start, length;
	unsigned turn;
	bool more = false;

	group_lock(group);
	if (*from == 0 && group->claimable)
		announce_short(group);
	for (turn = 0; turn < ANNOUNCE_RUNS && group->claimable; turn++) {
		more = bgs_index_next(&group->index, *from, &start, &length);
		if (!more)
			break;
		group_came(group, length);
		*from = start + length;
	}
	more = more && group->claimable;
	bgs_spin_unlock(&group->lock);
	return more;
}

void bgs_group_announce(struct bgs_group *group)
{
	uint32_t from = 0;

	/* Ends: every turn begins where the one before ended. */
	while (announce_some(group, &from))
		;
}

void bgs_group_withdraw(struct bgs_group *group)
{
	unsigned bin;

	BGS_ASSERT_HELD(&group->lock);
	for (bin = 0; bin < BGS_BINS; bin++)
		bgs_block_clear(group->block, group->slot, bin);
}
