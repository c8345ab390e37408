/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_fast.h - the runs form with AVX2: adds and claims in trees of up to two levels.
 *
 * What nearly every call does, and nothing else: a free that touches no free run or one, a claim
 * that takes a run whole or from its start. Heights are constants, each level a few compares,
 * leaves move by whole vectors. Everything else (no room, both neighbours, a neighbour in the next
 * leaf, errors) is left, before anything has changed, to the general code in bgs_index_tree.h.
 */
#ifndef BGS_INDEX_FAST_H
#define BGS_INDEX_FAST_H

#include "bgs_index_shape.h"

#if BGS_AVX2

/* The leaf's arrays and the way to them; level 1 is right above it. */
struct fast_way {
	struct bgs_index_node *node[3];
	unsigned slot[3];
	uint32_t *starts, *lens;
};

VEC __m256i fast_lanes(unsigned k)
{
	return _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
				_mm256_set1_epi32((int)(8 * k)));
}

/* Bit j: entry j of @n equals @x. */
VEC uint32_t fast_mask_eq(const uint32_t *a, unsigned n, uint32_t x, unsigned shift)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m128i count = _mm_cvtsi32_si128((int)shift);
	__m256i want = _mm256_set1_epi32((int)x), hit[4];

	for (unsigned k = 0; k < n / 8; k++)
		hit[k] = _mm256_cmpeq_epi32(shift ? _mm256_srl_epi32(vec_load(a + 8 * k), count)
						  : vec_load(a + 8 * k),
					    want);
	if (n == 16)
		return vec_mask8(hit[0]) | vec_mask8(hit[1]) << 8;
	return (uint32_t)_mm256_movemask_epi8(
		_mm256_permutevar8x32_epi32(_mm256_packs_epi16(_mm256_packs_epi32(hit[0], hit[1]),
							       _mm256_packs_epi32(hit[2], hit[3])),
					    order));
}

/* Entries from @at on move one to the right; @at gets @value. From the back, so that each is read
 * before it goes. */
VEC void fast_insert(uint32_t *a, unsigned n, unsigned at, uint32_t value)
{
	const __m256i turn = _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6);
	__m256i first = _mm256_set1_epi32((int)at);

	for (unsigned k = n / 8; k-- > 0;) {
		__m256i old = vec_load(a + 8 * k);
		__m256i moved =
			k ? vec_load(a + 8 * k - 1) : _mm256_permutevar8x32_epi32(old, turn);

		vec_store(a + 8 * k,
			  _mm256_blendv_epi8(moved, old, _mm256_cmpgt_epi32(first, fast_lanes(k))));
	}
	a[at] = value;
}

/* Entry @at goes, those behind it move one to the left. */
VEC void fast_delete(uint32_t *a, unsigned n, unsigned at, uint32_t pad)
{
	const __m256i turn = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0);
	__m256i first = _mm256_set1_epi32((int)at);

	for (unsigned k = 0; k < n / 8; k++) {
		__m256i old = vec_load(a + 8 * k);
		__m256i moved = k + 1 < n / 8
					? vec_load(a + 8 * k + 1)
					: _mm256_blend_epi32(_mm256_permutevar8x32_epi32(old, turn),
							     _mm256_set1_epi32((int)pad), 128);

		vec_store(a + 8 * k,
			  _mm256_blendv_epi8(moved, old, _mm256_cmpgt_epi32(first, fast_lanes(k))));
	}
}

VEC void fast_leaf(const struct bgs_index *ix, struct fast_way *way)
{
	struct bgs_leaf *leaf = bgs_leaf_at(ix, way->node[1]->child[way->slot[1]]);

	way->starts = leaf->start;
	way->lens = leaf->len;
}

VEC void fast_class_set(struct bgs_index *ix, const struct fast_way *way, unsigned height,
			unsigned c)
{
	for (unsigned level = 1; level <= height; level++)
		way->node[level]->where[c] |= (uint16_t)(1u << way->slot[level]);
	ix->present[c >> 6] |= (uint64_t)1 << (c & 63);
}

/* The last run of class @c has left the leaf, where @gone is 1. */
VEC void fast_class_clear(struct bgs_index *ix, const struct fast_way *way, unsigned height,
			  unsigned c, unsigned gone)
{
	for (unsigned level = 1; level <= height; level++) {
		unsigned where = way->node[level]->where[c] & ~(gone << way->slot[level]);

		way->node[level]->where[c] = (uint16_t)where;
		gone = where == 0;
	}
	ix->present[c >> 6] &= ~((uint64_t)gone << (c & 63));
}

/* One run went from @before to @after sectors. */
VEC void fast_class_move(struct bgs_index *ix, const struct fast_way *way, unsigned height,
			 uint32_t before, uint32_t after)
{
	unsigned from = bgs_class_of(before), to = bgs_class_of(after);

	if (from == to)
		return;
	fast_class_set(ix, way, height, to);
	fast_class_clear(
		ix, way, height, from,
		!vec_has_class(way->lens, height ? BGS_LEAF_RUNS : BGS_INDEX_SLOTS, before));
}

/* The first start behind the leaf, where another leaf has it. */
VEC uint32_t fast_bound(const struct fast_way *way, unsigned height)
{
	for (unsigned level = 1; level <= height; level++)
		if (way->slot[level] < BGS_INDEX_SLOTS - 1 &&
		    way->node[level]->key[way->slot[level] + 1] != BGS_INDEX_PAD)
			return way->node[level]->key[way->slot[level] + 1];
	return BGS_INDEX_PAD;
}

/* False, with nothing changed, when the general code must do it. */
VEC bool fast_add(struct bgs_index *ix, unsigned height, uint32_t start, uint32_t len)
{
	const unsigned n = height ? BGS_LEAF_RUNS : BGS_INDEX_SLOTS;
	struct fast_way way = {.starts = ix->root.key, .lens = ix->root.child};
	uint32_t end = start + len, next, before_end;
	bool left, right;
	unsigned pos;

	unsigned c = bgs_class_of(len);

	/* The lines behind those that decide, before the decision waits for them. */
	way.node[height] = &ix->root;
	for (unsigned level = height; level; level--) {
		unsigned upto = vec_count_le(way.node[level]->key, BGS_INDEX_SLOTS, start);

		way.slot[level] = upto ? upto - 1 : 0;
		if (level > 1) {
			way.node[level - 1] =
				bgs_node_at(ix, way.node[level]->child[way.slot[level]]);
			__builtin_prefetch(way.node[level - 1]->child, 1);
			__builtin_prefetch(&way.node[level - 1]->where[c], 1);
		}
	}
	if (height) {
		fast_leaf(ix, &way);
		__builtin_prefetch(way.starts + 16, 1);
		__builtin_prefetch(way.lens, 1);
		__builtin_prefetch(way.lens + 16, 1);
	}
	pos = vec_count_le(way.starts, n, start);
	/* Keys change only with a new first run. */
	if (__builtin_expect(pos == 0 || pos == n, 0))
		return false;
	before_end = way.starts[pos - 1] + way.lens[pos - 1];
	next = way.starts[pos];
	left = before_end == start;
	if (__builtin_expect(before_end > start, 0))
		return false;
	if (next == BGS_INDEX_PAD) {
		if (height && end >= fast_bound(&way, height))
			return false;
		right = false;
		if (!left) {
			way.starts[pos] = start;
			way.lens[pos] = len;
			goto added;
		}
	} else {
		right = next == end;
		if (__builtin_expect(end > next || (left && right), 0))
			return false;
	}
	if (left || right) {
		uint32_t *grown = &way.lens[pos - left], before = *grown;

		*grown = before + len;
		if (right)
			way.starts[pos] = start;
		ix->free_sectors += len;
		ix->noted_start = way.starts[pos - left];
		ix->noted_len = before + len;
		fast_class_move(ix, &way, height, before, before + len);
		return true;
	}
	if (__builtin_expect(way.starts[n - 1] != BGS_INDEX_PAD, 0))
		return false;
	fast_insert(way.starts, n, pos, start);
	fast_insert(way.lens, n, pos, len);
added:
	ix->noted_start = start;
	ix->noted_len = len;
	ix->run_count++;
	ix->free_sectors += len;
	fast_class_set(ix, &way, height, c);
	return true;
}

static __attribute__((noinline)) void fast_shrink(struct bgs_index *ix, const struct fast_way *way,
						  unsigned height)
{
	struct tree_path path;

	for (unsigned level = 1; level <= height; level++) {
		path.node[level] = way->node[level];
		path.slot[level] = way->slot[level];
	}
	tree_shrink(ix, &path);
}

VEC void fast_keys(const struct fast_way *way, unsigned height)
{
	uint32_t first = way->starts[0];

	for (unsigned level = 1; level <= height; level++) {
		way->node[level]->key[way->slot[level]] = first;
		first = way->node[level]->key[0];
	}
}

/* Takes the first @len sectors of run @at, which has @run, of class @c. */
VEC uint32_t fast_take(struct bgs_index *ix, const struct fast_way *way, unsigned height,
		       unsigned at, uint32_t run, unsigned c, uint32_t len)
{
	const unsigned n = height ? BGS_LEAF_RUNS : BGS_INDEX_SLOTS;
	uint32_t start = way->starts[at];

	ix->noted_len = run;
	ix->free_sectors -= len;
	if (__builtin_expect(run != len, 0)) {
		way->starts[at] = start + len;
		way->lens[at] = run - len;
		if (height && at == 0)
			fast_keys(way, height);
		fast_class_move(ix, way, height, run, run - len);
		return start;
	}
	ix->run_count--;
	fast_delete(way->starts, n, at, BGS_INDEX_PAD);
	fast_delete(way->lens, n, at, 0);
	fast_class_clear(ix, way, height, c, !vec_has_class(way->lens, n, run));
	if (height) {
		if (__builtin_expect(at == 0, 0))
			fast_keys(way, height);
		if (__builtin_expect(way->starts[TREE_SMALL] == BGS_INDEX_PAD, 0))
			fast_shrink(ix, way, height);
	}
	return start;
}

/* The tightest run among all leaves of a class, for each class in turn. */
VEC bool fast_claim_search(struct bgs_index *ix, unsigned height, uint32_t len, uint32_t need,
			   unsigned class_limit, uint32_t *start_out)
{
	for (unsigned c = index_class_next(ix, bgs_class_of(need)); c <= class_limit;
	     c = index_class_next(ix, c + 1)) {
		struct fast_way way, best;
		uint32_t least = UINT32_MAX;
		unsigned best_at = 0;

		way.node[height] = &ix->root;
		for (unsigned upper = height > 1 ? ix->root.where[c] : 1u; upper && least;
		     upper &= upper - 1) {
			if (height > 1) {
				way.slot[2] = (unsigned)__builtin_ctz(upper);
				way.node[1] = bgs_node_at(ix, ix->root.child[way.slot[2]]);
			}
			for (unsigned lower = way.node[1]->where[c]; lower && least;
			     lower &= lower - 1) {
				uint32_t excess;
				unsigned at;

				way.slot[1] = (unsigned)__builtin_ctz(lower);
				fast_leaf(ix, &way);
				excess = vec_min_excess(way.lens, BGS_LEAF_RUNS, need, &at);
				if (excess < least) {
					least = excess;
					best = way;
					best_at = at;
				}
			}
		}
		/* In the first class there may be only shorter runs; what else was seen may not be
		 * tightest. */
		if (least >= BGS_INDEX_PAD || bgs_class_of(least + need) != c)
			continue;
		*start_out = fast_take(ix, &best, height, best_at, need + least, c, len);
		return true;
	}
	return false;
}

static __attribute__((noinline)) bool fast_claim_search_1(struct bgs_index *ix, uint32_t len,
							  uint32_t need, unsigned class_limit,
							  uint32_t *start_out)
{
	return fast_claim_search(ix, 1, len, need, class_limit, start_out);
}

static __attribute__((noinline)) bool fast_claim_search_2(struct bgs_index *ix, uint32_t len,
							  uint32_t need, unsigned class_limit,
							  uint32_t *start_out)
{
	return fast_claim_search(ix, 2, len, need, class_limit, start_out);
}

/* The first leaf that has the class nearly always has the very length. */
VEC bool fast_claim(struct bgs_index *ix, unsigned height, uint32_t len, uint32_t need,
		    unsigned class_limit, uint32_t *start_out)
{
	unsigned c = bgs_class_of(need);
	struct fast_way way;
	uint32_t hits;

	if (__builtin_expect(ix->root.where[c] != 0 && c <= class_limit, 1)) {
		way.node[height] = &ix->root;
		for (unsigned level = height; level; level--) {
			way.slot[level] = (unsigned)__builtin_ctz(way.node[level]->where[c]);
			if (level > 1)
				way.node[level - 1] =
					bgs_node_at(ix, way.node[level]->child[way.slot[level]]);
		}
		fast_leaf(ix, &way);
		hits = fast_mask_eq(way.lens, BGS_LEAF_RUNS, need, 0);
		if (__builtin_expect(hits != 0, 1)) {
			*start_out = fast_take(ix, &way, height, (unsigned)__builtin_ctz(hits),
					       need, c, len);
			return true;
		}
	}
	return height == 1 ? fast_claim_search_1(ix, len, need, class_limit, start_out)
			   : fast_claim_search_2(ix, len, need, class_limit, start_out);
}

/* Up to 16 runs, in the root. */
VEC bool fast_claim_root(struct bgs_index *ix, uint32_t len, uint32_t need, unsigned class_limit,
			 uint32_t *start_out)
{
	struct fast_way way = {.starts = ix->root.key, .lens = ix->root.child};
	unsigned at, c;
	uint32_t excess = vec_min_excess(way.lens, BGS_INDEX_SLOTS, need, &at);

	if (excess >= BGS_INDEX_PAD)
		return false;
	c = bgs_class_of(need + excess);
	if (c > class_limit)
		return false;
	*start_out = fast_take(ix, &way, 0, at, need + excess, c, len);
	return true;
}

#endif
#endif
