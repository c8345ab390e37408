/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_ops.h - the operations over both forms, and changing over between them.
 *
 * Included by bgs_index_avx2.c and bgs_index_scalar.c; defines BGS_OPERATIONS, a table of them.
 * Arguments were checked by bgs_index.c: ranges are not empty and lie inside the group.
 */
#include "bgs_index_bits_search.h"
#include "bgs_index_fast.h"

/* Area 0 or 1 of a kind (@first = 0 nodes, 2 bitmaps): the one that is not being trimmed. */
static unsigned area_pick(struct bgs_index *ix, unsigned first)
{
	return ix->area_trimmed == first + 1 ? first + 1 : first;
}

static void area_touched(struct bgs_index *ix, size_t bytes)
{
	bytes = (bytes + 4095) & ~(size_t)4095;
	if (ix->touched[ix->area_used] < bytes)
		ix->touched[ix->area_used] = bytes;
}

/* An area with pages that is no longer used waits for a trim. */
static void area_leave(struct bgs_index *ix)
{
	if (ix->form == BGS_FORM_RUNS)
		area_touched(ix, ix->leaves_near ? (size_t)ix->unit_next * BGS_UNIT : 0);
	if (ix->touched[ix->area_used])
		ix->trim_wanted |= (uint8_t)(1u << ix->area_used);
}

static void runs_reset(struct bgs_index *ix)
{
	ix->form = BGS_FORM_RUNS;
	ix->area_used = (uint8_t)area_pick(ix, 0);
	ix->trim_wanted &= (uint8_t)~(1u << ix->area_used);
	ix->area = bgs_area_address(ix, ix->area_used);
	ix->height = 0;
	ix->leaf_free = BGS_NONE;
	ix->node_free = BGS_NONE;
	ix->leaves_near = 0;
	ix->unit_next = BGS_NEAR_UNITS;
	ix->tree_bytes = 0;
	ix->run_count = 0;
	ix->free_sectors = 0;
	ix->present[0] = 0;
	ix->present[1] = 0;
	node_clear(&ix->root);
}

static void runs_append(struct bgs_index *ix, uint32_t start, uint32_t len);

/*
 * Adds in address order that leave a run at least every so many sectors: a bitmap will be smaller in the end, and until
 * then only those of its pages are touched that are in use. Not before there are some runs to judge by.
 */
#define INDEX_EARLY_SPACING 60u
#define INDEX_EARLY_RUNS 64u
#define INDEX_EARLY 2
#define INDEX_EARLY_SECTORS (1u << 24)

static void map_put(struct bgs_index *ix, const uint32_t *starts, const uint32_t *lens, unsigned n)
{
	for (unsigned j = 0; j < n && lens[j]; j++) {
		map_write(ix, starts[j], lens[j], true);
		map_count(ix, starts[j], lens[j]);
	}
}

/* All runs below a node of the tree that @old was, in order. */
static void map_put_below(struct bgs_index *ix, const struct bgs_index *old,
			  const struct bgs_index_node *node, unsigned level)
{
	for (unsigned s = 0; s < BGS_INDEX_SLOTS && node->key[s] != BGS_INDEX_PAD; s++) {
		const struct bgs_leaf *leaf = bgs_leaf_at(old, node->child[s]);

		if (level > 1)
			map_put_below(ix, old, bgs_node_at(old, node->child[s]), level - 1);
		else
			map_put(ix, leaf->start, leaf->len, BGS_LEAF_RUNS);
	}
}

static void index_to_bitmap(struct bgs_index *ix)
{
	struct bgs_index old = *ix;

	area_leave(ix);
	ix->form = BGS_FORM_BITMAP;
	ix->area_used = (uint8_t)area_pick(ix, 2);
	ix->area = bgs_area_address(ix, ix->area_used);
	ix->trim_wanted &= (uint8_t)~(1u << ix->area_used);
	if (ix->touched[ix->area_used])
		memset(ix->area, 0, ix->map_area_bytes);
	area_touched(ix, ix->map_area_bytes);
	/* One that came early stays for as long as its runs do. */
	ix->runs_min = ix->run_count / 2 < ix->runs_min_usual ? ix->run_count / 2 :
								 ix->runs_min_usual;
	if (old.height)
		map_put_below(ix, &old, &old.root, old.height);
	else
		map_put(ix, old.root.key, old.root.child, BGS_INDEX_SLOTS);
}

static void index_to_runs(struct bgs_index *ix)
{
	struct bgs_index old = *ix;
	uint32_t from = 0, start, len;

	area_leave(ix);
	runs_reset(ix);
	while (from < old.sectors && map_next(&old, from, &start, &len)) {
		runs_append(ix, start, len);
		from = start + len;
	}
}

static void op_convert(struct bgs_index *ix, int form)
{
	if (form == BGS_FORM_BITMAP && ix->form == BGS_FORM_RUNS)
		index_to_bitmap(ix);
	/* More runs than the node area is made for cannot go back. */
	if (form == BGS_FORM_RUNS && ix->form == BGS_FORM_BITMAP && ix->run_count <= 2 * ix->runs_min_usual)
		index_to_runs(ix);
}

/* Chunks with any free sector. */
static uint32_t map_chunks(const struct bgs_index *ix)
{
	const struct bgs_level_word *level = bgs_map_level(ix, 2);
	uint32_t chunks = 0, words = (ix->sectors + (1u << 18) - 1) >> 18;

	for (uint32_t at = 0; at < words; at++)
		chunks += (uint32_t)__builtin_popcountll(level[at].any);
	return chunks;
}

/* A bitmap that came early stays if it fills up as expected, and goes if its runs turn out half as dense. */
static __attribute__((noinline)) void index_early_map(struct bgs_index *ix)
{
	if (ix->run_count >= 2 * ix->runs_min_usual)
		ix->runs_min = ix->runs_min_usual;
	/* A group of few sectors has no summary to count chunks in, and never came early. */
	else if (ix->level_count > 2 && (uint64_t)map_chunks(ix) << BGS_CHUNK_SHIFT >
		 (uint64_t)ix->run_count * 2 * INDEX_EARLY_SPACING)
		index_to_runs(ix);
}

static inline void index_after_map(struct bgs_index *ix)
{
	if (__builtin_expect(ix->run_count < ix->runs_min, 0))
		index_to_runs(ix);
}

static __attribute__((noinline)) void runs_make_room(struct bgs_index *ix, struct tree_path *path,
						     unsigned at)
{
	if (ix->height == 0) {
		/* The area may be under trim, or have been left: choose anew. */
		ix->area_used = (uint8_t)area_pick(ix, 0);
		ix->area = bgs_area_address(ix, ix->area_used);
		ix->trim_wanted &= (uint8_t)~(1u << ix->area_used);
	}
	tree_make_room(ix, path, at);
	area_touched(ix, (size_t)ix->unit_next * BGS_UNIT);
}

/* The run after the gap that was just filled is the first of the next leaf: take it out, and it joins. */
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
		     struct tree_path *path, unsigned *at)
{
	struct bgs_leaf *leaf;
	uint32_t bound;

	if (height == 0)
		return tree_add_at(ix, path, 0, ix->root.key, ix->root.child, BGS_INDEX_SLOTS,
				   BGS_INDEX_PAD, start, len, at);
	bound = tree_descend_from(ix, height, start, path, &leaf);
	return tree_add_at(ix, path, height, leaf->start, leaf->len, BGS_LEAF_RUNS, bound, start, len,
			   at);
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

/* Everything but the usual case. INDEX_EARLY, with nothing changed, when the group should be a bitmap. */
static inline int runs_add_loop(struct bgs_index *ix, uint32_t start, uint32_t len, bool may_be_early)
{
	for (;;) {
		struct tree_path path;
		unsigned at;
		int result = ix->height ? runs_add_try(ix, ix->height, start, len, &path, &at) :
					  runs_add_try(ix, 0, start, len, &path, &at);

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
						   uint32_t len)
{
	return runs_add_loop(ix, start, len, true);
}

/* A run of a bitmap that becomes a tree: not to come back at once. */
static __attribute__((noinline)) void runs_append(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	runs_add_loop(ix, start, len, false);
}

/* Once the quick ways have declined. */
static __attribute__((noinline)) int runs_add_rest(struct bgs_index *ix, uint32_t start,
						   uint32_t len)
{
	int result = runs_add_slow(ix, start, len);

	if (__builtin_expect(result == INDEX_EARLY, 0)) {
		index_to_bitmap(ix);
		return map_add(ix, start, len);
	}
	/* Only the slow way adds nodes. */
	if (__builtin_expect(ix->tree_bytes > ix->tree_bytes_max, 0))
		index_to_bitmap(ix);
	return result;
}

#if BGS_AVX2
#define TRY_ADD(height) fast_add(ix, height, start, len)
#else
#define TRY_ADD(height) (runs_add_try(ix, height, start, len, &path, &at) == 0)
#endif

static __attribute__((noinline)) int runs_add_0(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	struct tree_path path;
	unsigned at;

	(void)path;
	(void)at;
	if (TRY_ADD(0))
		return 0;
	return runs_add_rest(ix, start, len);
}

static __attribute__((noinline)) int runs_add_1(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	struct tree_path path;
	unsigned at;

	(void)path;
	(void)at;
	if (__builtin_expect(TRY_ADD(1), 1))
		return 0;
	return runs_add_rest(ix, start, len);
}

static __attribute__((noinline)) int runs_add_2(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	struct tree_path path;
	unsigned at;

	(void)path;
	(void)at;
	if (__builtin_expect(TRY_ADD(2), 1))
		return 0;
	return runs_add_rest(ix, start, len);
}

static __attribute__((noinline)) int bitmap_add(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	int result = map_add(ix, start, len);

	index_after_map(ix);
	if (__builtin_expect(ix->runs_min < ix->runs_min_usual, 0) && ix->form == BGS_FORM_BITMAP)
		index_early_map(ix);
	return result;
}

static __attribute__((noinline)) int bitmap_add_usual(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	if (__builtin_expect(map_add_alone(ix, start, len), 1))
		return 0;
	return bitmap_add(ix, start, len);
}

/* Form and height in one look. */
static inline unsigned index_shape(const struct bgs_index *ix)
{
	return (unsigned)ix->height << 8 | ix->form;
}

/* Tail calls only, so that each way saves no registers but its own. */
static int op_add(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	switch (index_shape(ix)) {
	case 0:
		return runs_add_0(ix, start, len);
	case 1u << 8:
		return runs_add_1(ix, start, len);
	case 2u << 8:
		return runs_add_2(ix, start, len);
	default:
		if (ix->form == BGS_FORM_RUNS)
			return runs_add_rest(ix, start, len);
		return bitmap_add_usual(ix, start, len);
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

static __attribute__((noinline)) bool bitmap_claim(struct bgs_index *ix, uint32_t len, uint32_t need,
						   unsigned class_limit, uint32_t *start_out)
{
	struct index_wish wish = { 0, ix->sectors, len, need, 1, 0, class_limit };
	bool claimed = map_claim_wish(ix, &wish, start_out);

	index_after_map(ix);
	return claimed;
}

static __attribute__((noinline)) bool runs_claim_0(struct bgs_index *ix, uint32_t len, uint32_t need,
						   unsigned class_limit, uint32_t *start_out)
{
#if BGS_AVX2
	return fast_claim_root(ix, len, need, class_limit, start_out);
#else
	return tree_claim_root(ix, len, need, class_limit, start_out);
#endif
}

static __attribute__((noinline)) bool runs_claim_1(struct bgs_index *ix, uint32_t len, uint32_t need,
						   unsigned class_limit, uint32_t *start_out)
{
#if BGS_AVX2
	return fast_claim(ix, 1, len, need, class_limit, start_out);
#else
	return tree_claim_one(ix, len, need, class_limit, start_out);
#endif
}

static __attribute__((noinline)) bool runs_claim_2(struct bgs_index *ix, uint32_t len, uint32_t need,
						   unsigned class_limit, uint32_t *start_out)
{
#if BGS_AVX2
	return fast_claim(ix, 2, len, need, class_limit, start_out);
#else
	return tree_claim_deep(ix, len, need, class_limit, start_out);
#endif
}

/* There are @need free sectors. */
static bool op_claim_best(struct bgs_index *ix, uint32_t len, uint32_t need, unsigned class_limit,
			  uint32_t *start_out)
{
	switch (index_shape(ix)) {
	case 0:
		return runs_claim_0(ix, len, need, class_limit, start_out);
	case 1u << 8:
		return runs_claim_1(ix, len, need, class_limit, start_out);
	case 2u << 8:
		return runs_claim_2(ix, len, need, class_limit, start_out);
	default:
		if (ix->form == BGS_FORM_RUNS)
			return tree_claim_deep(ix, len, need, class_limit, start_out);
		return bitmap_claim(ix, len, need, class_limit, start_out);
	}
}

static bool op_claim_from(struct bgs_index *ix, uint32_t from, uint32_t end, uint32_t len,
			  uint32_t need, uint64_t align, uint64_t phase, uint32_t *start_out)
{
	struct index_wish wish = { from, end, len, need, align, phase, BGS_INDEX_CLASSES - 1 };
	uint32_t at;

	if (ix->form == BGS_FORM_BITMAP ? !map_find_from(ix, &wish, &at) :
					  !tree_find_from(ix, &wish, &at))
		return false;
	op_remove(ix, at, len);
	*start_out = at;
	return true;
}

static bool op_claim_best_aligned(struct bgs_index *ix, uint32_t len, uint32_t need, uint64_t align,
				  uint64_t phase, uint32_t *start_out)
{
	struct index_wish wish = { 0, ix->sectors, len, need, align, phase,
				   BGS_INDEX_CLASSES - 1 };
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
	return ix->form == BGS_FORM_BITMAP ? map_next(ix, from, start_out, len_out) :
					     tree_next(ix, from, start_out, len_out);
}

const struct bgs_index_operations BGS_OPERATIONS = {
	.add = op_add,
	.remove = op_remove,
	.claim_best = op_claim_best,
	.claim_from = op_claim_from,
	.claim_best_aligned = op_claim_best_aligned,
	.largest = op_largest,
	.next = op_next,
	.convert = op_convert,
};
