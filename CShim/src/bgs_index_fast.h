/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_fast.h - the runs form: adds and claims in trees of up to two levels.
 *
 * What nearly every call does, and nothing else: a free that touches no free run or one, a claim
 * that takes a run whole or from its start. Heights are constants, each level a few compares,
 * leaves move by whole vectors. Everything else (no room, both neighbours, a neighbour in the next
 * leaf, errors) is left, before anything has changed, to the general code in bgs_index_tree.h.
 */
#ifndef BGS_INDEX_FAST_H
#define BGS_INDEX_FAST_H

#include "bgs_index_shape.h"

/* The leaf's arrays and the way to them; level 1 is right above it. */
struct fast_way {
	struct bgs_index_node *node[3];
	unsigned slot[3];
	uint32_t *starts, *lens;
};

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
VEC bool fast_add(struct bgs_index *ix, unsigned height, uint32_t start, uint32_t len,
		  struct bgs_run *run_out)
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
		run_out->start = way.starts[pos - left];
		run_out->len = before + len;
		fast_class_move(ix, &way, height, before, before + len);
		return true;
	}
	if (__builtin_expect(way.starts[n - 1] != BGS_INDEX_PAD, 0))
		return false;
	vec_insert(way.starts, n, pos, start);
	vec_insert(way.lens, n, pos, len);
added:
	run_out->start = start;
	run_out->len = len;
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

/* Takes the first @len sectors of run @at, which has @run. */
VEC uint32_t fast_take(struct bgs_index *ix, const struct fast_way *way, unsigned height,
		       unsigned at, uint32_t run, uint32_t len)
{
	const unsigned n = height ? BGS_LEAF_RUNS : BGS_INDEX_SLOTS;
	uint32_t start = way->starts[at];

	ix->free_sectors -= len;
	if (run != len) {
		way->starts[at] = start + len;
		way->lens[at] = run - len;
		if (height && at == 0)
			fast_keys(way, height);
		fast_class_move(ix, way, height, run, run - len);
		return start;
	}
	ix->run_count--;
	vec_delete(way->starts, n, at, BGS_INDEX_PAD);
	vec_delete(way->lens, n, at, 0);
	fast_class_clear(ix, way, height, bgs_class_of(run), !vec_has_class(way->lens, n, run));
	if (height) {
		if (__builtin_expect(at == 0, 0))
			fast_keys(way, height);
		if (__builtin_expect(way->starts[TREE_SMALL] == BGS_INDEX_PAD, 0))
			fast_shrink(ix, way, height);
	}
	return start;
}

/* Takes from the first run of @low to @high, which are of one class, that is found. */
VEC bool fast_claim_within(struct bgs_index *ix, unsigned height, uint32_t len, uint32_t low,
			   uint32_t high, uint32_t *start_out, uint32_t *run_out)
{
	const unsigned n = height ? BGS_LEAF_RUNS : BGS_INDEX_SLOTS;
	unsigned c = bgs_class_of(low), upper, lower;
	struct fast_way way = {.starts = ix->root.key, .lens = ix->root.child};

	way.node[height] = &ix->root;
	for (upper = height > 1 ? ix->root.where[c] : 1u; upper; upper &= upper - 1) {
		if (height > 1) {
			way.slot[2] = (unsigned)__builtin_ctz(upper);
			way.node[1] = bgs_node_at(ix, ix->root.child[way.slot[2]]);
		}
		for (lower = height ? way.node[1]->where[c] : 1u; lower; lower &= lower - 1) {
			uint32_t hits;
			unsigned at;

			if (height) {
				way.slot[1] = (unsigned)__builtin_ctz(lower);
				fast_leaf(ix, &way);
			}
			hits = vec_mask_within(way.lens, n, low, high);
			if (__builtin_expect(!hits, 0))
				continue;
			at = (unsigned)__builtin_ctz(hits);
			*run_out = way.lens[at];
			*start_out = fast_take(ix, &way, height, at, way.lens[at], len);
			return true;
		}
	}
	return false;
}

#endif
