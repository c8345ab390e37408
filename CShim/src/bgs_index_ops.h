/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_ops.h - the operations over both forms.
 *
 * Included by bgs_index_avx512.c, _avx2.c and _scalar.c; defines BGS_OPERATIONS, a table of them.
 * Arguments were checked by bgs_index.c: ranges are not empty and lie inside the group.
 */
#include "bgs_index_fast.h"
#include "bgs_index_form.h"

static __attribute__((noinline)) void runs_make_room(struct bgs_index *ix, struct tree_path *path,
						     unsigned at)
{
	if (ix->height == 0) {
		/* The area may be under trim, or have been left: choose anew. */
		area_use(ix, area_pick(ix, 0));
	}
	tree_make_room(ix, path, at);
	area_touched(ix, ix->unit_next);
}

/* The run after the gap that was just filled is the first of the next leaf: take it out, and it
 * joins. */
static __attribute__((noinline)) uint32_t runs_take(struct bgs_index *ix, uint32_t start)
{
	struct tree_path path;
	struct bgs_leaf *leaf;
	uint32_t len;

	tree_descend(ix, start, &path, &leaf);
	len = leaf->len[0];
	tree_cut_at(ix, &path, ix->height, leaf->start, leaf->len, BGS_LEAF_RUNS, 0, start, len);
	return len;
}

/* One try of an add; @height is a constant where it is usual. */
VEC int runs_add_try(struct bgs_index *ix, unsigned height, uint32_t start, uint32_t len,
		     struct tree_path *path, unsigned *at, struct bgs_run *run_out)
{
	struct bgs_leaf *leaf;
	uint32_t bound;

	if (height == 0)
		return tree_add_at(ix, path, 0, ix->root.key, ix->root.child, BGS_INDEX_SLOTS,
				   BGS_INDEX_PAD, start, len, at, run_out);
	bound = tree_descend_from(ix, height, start, path, &leaf);
	return tree_add_at(ix, path, height, leaf->start, leaf->len, BGS_LEAF_RUNS, bound, start,
			   len, at, run_out);
}

static bool index_wants_map(const struct bgs_index *ix, uint32_t start)
{
	uint32_t first = ix->root.key[0], last_start, last_len;

	if (ix->run_count < INDEX_EARLY_RUNS || ix->level_count < 3 ||
	    ix->sectors > INDEX_EARLY_SECTORS || start < first ||
	    (uint64_t)ix->run_count * INDEX_EARLY_SPACING < start - first)
		return false;
	return !tree_next(ix, start, &last_start, &last_len);
}

/* Everything but the usual case. INDEX_EARLY, with nothing changed, when the group should be a
 * bitmap. */
static inline int runs_add_loop(struct bgs_index *ix, uint32_t start, uint32_t len,
				bool may_be_early, struct bgs_run *run_out)
{
	for (;;) {
		struct tree_path path;
		unsigned at;
		int result = ix->height
				     ? runs_add_try(ix, ix->height, start, len, &path, &at, run_out)
				     : runs_add_try(ix, 0, start, len, &path, &at, run_out);

		if (result == 0 || result == -EEXIST)
			return result;
		if (result == -EXDEV) {
			len += runs_take(ix, start + len);
			may_be_early = false;
		} else if (may_be_early && index_wants_map(ix, start)) {
			return INDEX_EARLY;
		} else {
			runs_make_room(ix, &path, at);
		}
	}
}

static __attribute__((noinline)) int runs_add_slow(struct bgs_index *ix, uint32_t start,
						   uint32_t len, struct bgs_run *run_out)
{
	return runs_add_loop(ix, start, len, true, run_out);
}

/* A run of a bitmap that becomes a tree: not to come back at once. */
static __attribute__((noinline)) void runs_append(struct bgs_index *ix, uint32_t start,
						  uint32_t len)
{
	struct bgs_run run;

	runs_add_loop(ix, start, len, false, &run);
}

/* Once the quick ways have declined. */
static __attribute__((noinline)) int runs_add_rest(struct bgs_index *ix, uint32_t start,
						   uint32_t len, struct bgs_run *run_out)
{
	int result = runs_add_slow(ix, start, len, run_out);

	if (__builtin_expect(result == INDEX_EARLY, 0)) {
		run_out->len = 0;
		index_to_bitmap(ix);
		return map_add(ix, start, len);
	}
	/* Only the slow way adds nodes. */
	if (__builtin_expect(ix->tree_bytes > ix->tree_bytes_max, 0))
		index_to_bitmap(ix);
	return result;
}

static __attribute__((noinline)) int runs_add_0(struct bgs_index *ix, uint32_t start, uint32_t len,
						struct bgs_run *run_out)
{
	if (fast_add(ix, 0, start, len, run_out))
		return 0;
	return runs_add_rest(ix, start, len, run_out);
}

static __attribute__((noinline)) int runs_add_1(struct bgs_index *ix, uint32_t start, uint32_t len,
						struct bgs_run *run_out)
{
	if (__builtin_expect(fast_add(ix, 1, start, len, run_out), 1))
		return 0;
	return runs_add_rest(ix, start, len, run_out);
}

static __attribute__((noinline)) int runs_add_2(struct bgs_index *ix, uint32_t start, uint32_t len,
						struct bgs_run *run_out)
{
	if (__builtin_expect(fast_add(ix, 2, start, len, run_out), 1))
		return 0;
	return runs_add_rest(ix, start, len, run_out);
}

static __attribute__((noinline)) int bitmap_add(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	int result = map_add(ix, start, len);

	index_after_map(ix);
	if (__builtin_expect(ix->runs_min < ix->runs_min_usual, 0) && ix->form == BGS_FORM_BITMAP)
		index_early_map(ix);
	return result;
}

static __attribute__((noinline)) int bitmap_add_usual(struct bgs_index *ix, uint32_t start,
						      uint32_t len, struct bgs_run *run_out)
{
	if (__builtin_expect(ix->takes_alone && len < 64, 1) &&
	    bgs_index_add_alone(ix, start, len, bgs_class_of(len), false)) {
		run_out->start = start;
		run_out->len = len;
		return 0;
	}
	run_out->len = 0;
	return bitmap_add(ix, start, len);
}

/* Form and height in one look. */
static inline unsigned index_shape(const struct bgs_index *ix)
{
	return (unsigned)ix->height << 8 | ix->form;
}

/* Tail calls only, so that each way saves no registers but its own. */
static int op_add(struct bgs_index *ix, uint32_t start, uint32_t len, struct bgs_run *run_out)
{
	switch (index_shape(ix)) {
	case 0:
		return runs_add_0(ix, start, len, run_out);
	case 1u << 8:
		return runs_add_1(ix, start, len, run_out);
	case 2u << 8:
		return runs_add_2(ix, start, len, run_out);
	default:
		if (ix->form == BGS_FORM_RUNS)
			return runs_add_rest(ix, start, len, run_out);
		return bitmap_add_usual(ix, start, len, run_out);
	}
}

static int runs_remove(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	for (;;) {
		struct tree_path path;
		struct bgs_leaf *leaf;
		uint32_t *starts = ix->root.key, *lens = ix->root.child;
		unsigned n = BGS_INDEX_SLOTS, at;
		int result;

		if (ix->height) {
			tree_descend(ix, start, &path, &leaf);
			starts = leaf->start;
			lens = leaf->len;
			n = BGS_LEAF_RUNS;
		}
		at = vec_count_le(starts, n, start);
		if (!at || starts[at - 1] + lens[at - 1] < start + len)
			return -ENOENT;
		if (ix->height)
			result = tree_cut_at(ix, &path, ix->height, starts, lens, BGS_LEAF_RUNS,
					     at - 1, start, len);
		else
			result = tree_cut_at(ix, &path, 0, starts, lens, BGS_INDEX_SLOTS, at - 1,
					     start, len);
		if (result == 0)
			return 0;
		runs_make_room(ix, &path, at);
	}
}

static int op_remove(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	int result;

	if (ix->form == BGS_FORM_BITMAP) {
		result = map_remove(ix, start, len);
		index_after_map(ix);
		return result;
	}
	result = runs_remove(ix, start, len);
	if (__builtin_expect(ix->tree_bytes > ix->tree_bytes_max, 0))
		index_to_bitmap(ix);
	return result;
}

/* The tightest run of @need or more, if it has no more than @limit. */
static __attribute__((noinline)) bool bitmap_claim(struct bgs_index *ix, uint32_t len,
						   uint32_t need, uint32_t limit,
						   uint32_t *start_out, uint32_t *run_out)
{
	struct index_wish wish = {0, ix->sectors, len, need, 1, 0, bgs_class_of(limit)};
	struct index_found found;
	uint32_t run;

	if (!map_find_best(ix, &wish, &run, &found) || found.len > limit)
		return false;
	map_cut(ix, run, run + found.len, found.at, len);
	*start_out = found.at;
	*run_out = found.len;
	index_after_map(ix);
	return true;
}

/* There are @need free sectors. */
static bool op_claim_best(struct bgs_index *ix, uint32_t len, uint32_t need, uint32_t *start_out,
			  uint32_t *run_out)
{
	if (ix->form == BGS_FORM_BITMAP)
		return bitmap_claim(ix, len, need, UINT32_MAX, start_out, run_out);
	if (ix->height)
		return tree_claim_deep(ix, len, need, UINT32_MAX, start_out, run_out);
	return tree_claim_root(ix, len, need, start_out, run_out);
}

static inline bool claim_within(struct bgs_index *ix, uint32_t len, uint32_t low, uint32_t high,
				uint32_t *start_out, uint32_t *run_out)
{
	switch (index_shape(ix)) {
	case 0:
		return fast_claim_within(ix, 0, len, low, high, start_out, run_out);
	case 1u << 8:
		return fast_claim_within(ix, 1, len, low, high, start_out, run_out);
	case 2u << 8:
		return fast_claim_within(ix, 2, len, low, high, start_out, run_out);
	default:
		if (ix->form == BGS_FORM_RUNS)
			return tree_claim_deep(ix, len, low, high, start_out, run_out);
		return bitmap_claim(ix, len, low, high, start_out, run_out);
	}
}

static bool op_claim_within(struct bgs_index *ix, uint32_t len, uint32_t low, uint32_t high,
			    uint32_t *start_out, uint32_t *run_out)
{
	return claim_within(ix, len, low, high, start_out, run_out);
}

static bool op_may_have(const struct bgs_index *ix, uint32_t low, uint32_t high)
{
	return ix->form == BGS_FORM_BITMAP || tree_may_have(ix, low, high);
}

static bool op_claim_from(struct bgs_index *ix, uint32_t from, uint32_t end, uint32_t len,
			  uint32_t need, uint64_t align, uint64_t phase, uint32_t *start_out)
{
	struct index_wish wish = {from, end, len, need, align, phase, BGS_INDEX_CLASSES - 1};
	uint32_t at;

	if (ix->form == BGS_FORM_BITMAP ? !map_find_from(ix, &wish, &at)
					: !tree_find_from(ix, &wish, &at))
		return false;
	op_remove(ix, at, len);
	*start_out = at;
	return true;
}

static bool op_claim_best_aligned(struct bgs_index *ix, uint32_t len, uint32_t need, uint64_t align,
				  uint64_t phase, uint32_t *start_out)
{
	struct index_wish wish = {0, ix->sectors, len, need, align, phase, BGS_INDEX_CLASSES - 1};
	uint32_t at;

	if (ix->form == BGS_FORM_BITMAP) {
		bool claimed = map_claim_wish(ix, &wish, start_out);

		index_after_map(ix);
		return claimed;
	}
	if (!tree_find_aligned(ix, &wish, &at))
		return false;
	op_remove(ix, at, len);
	*start_out = at;
	return true;
}

static uint32_t op_largest(const struct bgs_index *ix)
{
	return ix->form == BGS_FORM_BITMAP ? map_largest(ix) : tree_largest(ix);
}

static bool op_next(const struct bgs_index *ix, uint32_t from, uint32_t *start_out,
		    uint32_t *len_out)
{
	return ix->form == BGS_FORM_BITMAP ? map_next(ix, from, start_out, len_out)
					   : tree_next(ix, from, start_out, len_out);
}

#include "bgs_paths_locked.h"

const struct bgs_index_operations BGS_OPERATIONS = {
	.add = op_add,
	.remove = op_remove,
	.claim_best = op_claim_best,
	.claim_within = op_claim_within,
	.may_have = op_may_have,
	.claim_from = op_claim_from,
	.claim_best_aligned = op_claim_best_aligned,
	.largest = op_largest,
	.next = op_next,
	.convert = op_convert,
	.paths = {.claim = path_claim,
		  .claim_roomy = path_claim_roomy,
		  .give_back = path_give_back,
		  .add = path_add},
};
