/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_paths_locked.h - the paths of bgs_paths.h.
 *
 * Included after bgs_index_ops.h, whose operations are inlined here; defines BGS_PATHS.
 * Each is one function from the directory or the table to the group's unlock.
 */
#include "bgs_claim.h"
#include "bgs_directory_find.h"
#include "bgs_group_locked.h"
#include "bgs_index_one.h"
#include "bgs_probe.h"

/* Directory hints that may prove stale before a search goes by the groups themselves. */
#define STALE_MAX 8

/* The number of runs alone decides where there are many: one branch. */
VEC bool one_run_only(const struct bgs_index *ix)
{
	return __builtin_expect(ix->run_count == 1, 0) && has_one_run(ix);
}

/* Whether a run of this bin is left in the index; may say so wrongly. */
VEC bool bin_left(const struct bgs_index *ix, uint32_t sectors, unsigned bin)
{
	unsigned c = bgs_class_of(sectors);

	if (!(ix->present[c >> 6] >> (c & 63) & 1))
		return false;
	/* Short lengths have a class of their own. */
	return bin < 15 || bin == BGS_BINS - 1 ||
	       op_may_have(ix, bgs_bin_first(bin), bgs_bin_last(bin));
}

VEC void note_gone(struct bgs_group *group, uint32_t sectors, unsigned bin)
{
	if (!bin_left(&group->index, sectors, bin))
		bgs_block_clear(group->block, group->slot, bin);
}

/* Lengths of a bin, the request's need at least. */
struct bin_span {
	uint32_t low, high;
};

VEC struct bin_span span_of(unsigned bin, uint32_t need)
{
	struct bin_span span = {bin + 1, bin + 1};

	if (__builtin_expect(bin >= 126, 0)) {
		span.low = bgs_bin_first(bin);
		span.high = bgs_bin_last(bin);
	}
	span.low = span.low > need ? span.low : need;
	return span;
}

static __attribute__((noinline)) bool claim_within_rest(struct bgs_index *ix, uint32_t len,
							uint32_t low, uint32_t high,
							uint32_t *start_out, uint32_t *run_out)
{
	/* The last bin holds runs of very many lengths: the tightest. */
	if (high >= BGS_BIN_OPEN)
		return op_claim_best(ix, len, low, start_out, run_out);
	return op_claim_within(ix, len, low, high, start_out, run_out);
}

/* Claim because of a hint, from a claimable group. false: there was no such run. */
VEC bool claim_hinted(struct bgs_group *group, uint32_t sectors, struct bin_span span, unsigned bin,
		      uint32_t *start_out)
{
	struct bgs_index *ix = &group->index;
	uint32_t run, rest;
	bool claimed;

	if (one_run_only(ix)) {
		run = ix->free_sectors;
		if (run < span.low || run > span.high)
			return false;
		*start_out = one_run_take(ix, sectors);
	} else {
		if (index_shape(ix) == 1u << 8 && bin != BGS_BINS - 1)
			claimed = fast_claim_within(ix, 1, sectors, span.low, span.high, start_out,
						    &run);
		else
			claimed = claim_within_rest(ix, sectors, span.low, span.high, start_out,
						    &run);
		if (__builtin_expect(!claimed, 0))
			return false;
	}
	rest = run - sectors;
	if (rest) {
		unsigned rest_bin = bgs_bin_of(rest);

		if (rest_bin == bin)
			return true;
		bgs_block_set(group->block, group->slot, rest_bin);
	}
	note_gone(group, run, bin);
	return true;
}

/* What the group's last claim took and got back, to the same claim again. */
VEC bool claim_last(struct bgs_group *group, uint32_t back, uint64_t *sector_out)
{
	bool claimed;

	if (__builtin_expect(__atomic_load_n(&group->last, __ATOMIC_RELAXED) != back, 1))
		return false;
	bgs_spin_lock(&group->lock);
	claimed = group->last == back;
	if (__builtin_expect(claimed, 1)) {
		group_last_set(group, back ^ BGS_LAST_STATES);
		*sector_out = group->first_sector + group->last_start;
	}
	bgs_spin_unlock(&group->lock);
	return claimed;
}

/*
 * The step after a directory named a group: false says that the hint was stale. back: 0, or what
 * the group's last claim is noted as once it came back.
 */
VEC bool claim_in_group(struct bgs_group *group, uint32_t sectors, uint32_t need, unsigned bin,
			uint32_t back, uint64_t *sector_out)
{
	struct bin_span span;
	uint32_t start;
	bool claimed, trim;

	BGS_PROBE3(group_chosen, group->first_sector, sectors, bin);
	if (back && claim_last(group, back, sector_out))
		return true;
	span = span_of(bin, need);
	__builtin_prefetch(&group->index, 1);
	__builtin_prefetch(&group->index.root.where[bgs_class_of(span.low)], 1);
	__builtin_prefetch(group->index.root.child, 1);
	__builtin_prefetch(&group->lock, 1);
	bgs_spin_lock(&group->lock);
	if (__builtin_expect(group->last & BGS_LAST_BACK, 0))
		bgs_group_settle(group);
	claimed = group->claimable && claim_hinted(group, sectors, span, bin, &start);
	trim = group->index.trim_wanted != 0;
	if (__builtin_expect(claimed, 1)) {
		group->last_start = start;
		group_last_set(group, back ^ (back ? BGS_LAST_STATES : 0));
	}
	/* Unless the group has runs of the bin that are only too short. */
	if (__builtin_expect(!claimed, 0) && bgs_bin_first(bin) >= need)
		bgs_block_clear(group->block, group->slot, bin);
	bgs_spin_unlock(&group->lock);
	if (__builtin_expect(trim, 0))
		bgs_group_trim(group);
	if (__builtin_expect(!claimed, 0))
		return false;
	*sector_out = group->first_sector + start;
	return true;
}

/* Claim from the group of the lowest bin at or above *bin, in a range. */
static struct bgs_group *claim_in_range(struct bgs_space *space, const struct bgs_range *range,
					uint32_t sectors, uint32_t need, unsigned *bin,
					uint64_t *sector_out)
{
	unsigned turn;

	for (turn = 0; turn < STALE_MAX; turn++) {
		struct bgs_group *group = bgs_directory_find(&space->directory, range, bin);

		if (!group)
			return NULL;
		if (__builtin_expect(claim_in_group(group, sectors, need, *bin, 0, sector_out), 1))
			return group;
		if (bgs_bin_first(*bin) < need)
			++*bin;
	}
	return NULL;
}

static bool whole(const struct bgs_range *range, const struct bgs_directory *directory)
{
	return range->first == 0 && range->slots == 0xffff &&
	       range->last + 1 >= __atomic_load_n(&directory->block_count, __ATOMIC_RELAXED);
}

/* With lanes, over more than one node, or after a stale hint. */
static __attribute__((noinline)) struct bgs_group *claim_in_space(struct bgs_space *space,
								  uint32_t sectors, uint32_t need,
								  unsigned *bin,
								  uint64_t *sector_out)
{
	struct bgs_group *group;
	struct bgs_range range;

	*bin = bgs_bin_of(need);
	if (!bgs_directory_home(&space->directory, &space->lanes, &range))
		return NULL;
	group = claim_in_range(space, &range, sectors, need, bin, sector_out);
	/* The home has nothing: look everywhere, unless that was everywhere. */
	if (group || whole(&range, &space->directory) ||
	    !bgs_directory_all(&space->directory, &range))
		return group;
	*bin = bgs_bin_of(need);
	return claim_in_range(space, &range, sectors, need, bin, sector_out);
}

static int path_claim_roomy(struct bgs_allocator *allocator, struct bgs_space *space,
			    uint32_t sectors, uint32_t need, uint64_t *sector_out)
{
	struct bgs_group *group;
	unsigned bin;

	bgs_rcu_read_lock();
	group = claim_in_space(space, sectors, need, &bin, sector_out);
	if (group) {
		BGS_PROBE3(claim, group->first_sector, *sector_out, sectors);
		if (sectors <= allocator->magazine_max && need == sectors)
			bgs_claim_note_small(allocator, space, group, bin, *sector_out);
	}
	bgs_rcu_read_unlock();
	return group ? 0 : -ENOSPC;
}

static int path_claim(struct bgs_allocator *allocator, struct bgs_space *space, uint32_t sectors,
		      struct bgs_extent *extent_out)
{
	unsigned bin = bgs_bin_of(sectors);
	struct bgs_group *group = NULL;
	struct bgs_node *node;
	uint64_t sector;

	bgs_rcu_read_lock();
	node = bgs_directory_home_node(&space->directory, &space->lanes);
	if (__builtin_expect(node != NULL, 1)) {
		group = find_in_node(node, ~UINT64_C(0), 0xffff, &bin, BGS_BINS);
		if (__builtin_expect(
			    group && !claim_in_group(group, sectors, sectors, bin,
						     group_last_word(BGS_LAST_BACK, bin, sectors),
						     &sector),
			    0))
			group = NULL;
	}
	if (__builtin_expect(!group, 0)) {
		/* Of its own, so that the usual ones need not be in memory. */
		uint64_t found;
		unsigned found_bin;

		group = claim_in_space(space, sectors, sectors, &found_bin, &found);
		if (!group) {
			bgs_rcu_read_unlock();
			return -ENOSPC;
		}
		sector = found;
		bin = found_bin;
	}
	BGS_PROBE3(claim, group->first_sector, sector, sectors);
	if (sectors <= allocator->magazine_max)
		bgs_claim_note_small(allocator, space, group, bin, sector);
	bgs_rcu_read_unlock();
	extent_out->logical = sector << allocator->sector_shift;
	extent_out->length = (uint64_t)sectors << allocator->sector_shift;
	return 0;
}

/* bgs_index_add() of a range inside the group, and what the directory is to know of it. */
VEC int add_noted(struct bgs_group *group, uint32_t start, uint32_t sectors)
{
	struct bgs_index *ix = &group->index;
	struct bgs_run run;
	uint32_t left, right;
	unsigned bin;

	if (!one_run_only(ix) || !one_run_add(ix, start, sectors, &run)) {
		int ret;

		switch (index_shape(ix)) {
		case 0:
			ret = fast_add(ix, 0, start, sectors, &run)
				      ? 0
				      : runs_add_rest(ix, start, sectors, &run);
			break;
		case 1u << 8:
			ret = fast_add(ix, 1, start, sectors, &run)
				      ? 0
				      : runs_add_rest(ix, start, sectors, &run);
			break;
		default:
			ret = op_add(ix, start, sectors, &run);
			break;
		}
		if (__builtin_expect(ret, 0))
			return ret;
		if (__builtin_expect(run.len == 0, 0))
			op_next(ix, start, &run.start, &run.len);
	}
	if (__builtin_expect(!group->claimable, 0))
		return 0;
	bin = bgs_bin_of(run.len);
	bgs_block_set(group->block, group->slot, bin);
	if (run.len == sectors)
		return 0;
	left = start - run.start;
	right = run.len - sectors - left;
	if (left && bgs_bin_of(left) != bin)
		note_gone(group, left, bgs_bin_of(left));
	if (right && bgs_bin_of(right) != bin)
		note_gone(group, right, bgs_bin_of(right));
	return 0;
}

/* Says that a range is free; the lock held, and the group lends nothing. */
static int path_add(struct bgs_group *group, uint32_t start, uint32_t sectors)
{
	int ret = add_noted(group, start, sectors);

	if (ret == 0)
		bgs_group_note_added(group, sectors);
	return ret;
}

/* Whether the range is the group's last claim; then it is given back. The lock held. */
VEC bool give_back_last(struct bgs_group *group, uint32_t start, uint64_t sectors)
{
	uint32_t last = group->last;

	if ((last & ~BGS_LAST_BINS) != (BGS_LAST_CLAIMED | sectors << BGS_LAST_SECTORS_AT) ||
	    group->last_start != start || group->lends)
		return false;
	group_last_set(group, last ^ BGS_LAST_STATES);
	bgs_block_set(group->block, group->slot, (last & BGS_LAST_BINS) >> BGS_LAST_BIN_AT);
	return true;
}

static int path_give_back(struct bgs_allocator *allocator, uint64_t sector, uint64_t sectors)
{
	uint64_t logical = sector << allocator->sector_shift;
	struct bgs_group *group;
	int ret = -EINVAL;

	bgs_rcu_read_lock();
	group = bgs_table_find(bgs_dereference(allocator->table), logical);
	if (group && sectors <= group->first_sector + bgs_group_sectors(group) - sector) {
		uint32_t start = group_relative(group, sector);
		bool trim = false;

		ret = -EAGAIN;
		__builtin_prefetch(&group->index, 1);
		__builtin_prefetch(group->index.root.key, 1);
		__builtin_prefetch(group->index.root.child, 1);
		__builtin_prefetch(&group->lock, 1);
		bgs_spin_lock(&group->lock);
		if (give_back_last(group, start, sectors)) {
			ret = 0;
		} else {
			group_settle(group);
			/* A group that lends nothing and has as much claimed: the usual case. */
			if (__builtin_expect(!group->lends && group->index.free_sectors + sectors <=
								      group->added_sectors,
					     1)) {
				ret = add_noted(group, start, (uint32_t)sectors);
				trim = group->index.trim_wanted != 0;
			}
		}
		bgs_spin_unlock(&group->lock);
		if (__builtin_expect(trim, 0))
			bgs_group_trim(group);
		if (__builtin_expect(ret == -EAGAIN, 0))
			ret = bgs_group_give_back(group, sector, sectors);
	}
	bgs_rcu_read_unlock();
	BGS_PROBE3(give_back, sector, sectors, ret);
	return ret;
}
