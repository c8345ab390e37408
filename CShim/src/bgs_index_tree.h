/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_tree.h - the runs form: finding, adding and cutting runs.
 *
 * A path names, per level, the node and the slot taken; level 1 is right above the leaves, level
 * `height` the root. A call that would need another node returns TREE_AGAIN before it has changed
 * anything; the caller lets bgs_index_shape.h make room (one step) and starts over. Each step
 * either splits or spreads, so at most height + 3 rounds are needed.
 *
 * The functions on hot paths take the height as an argument, so that the usual heights 0 and 1 are
 * compiled as such. Their branches on the merge case are worth it: in an aged group nine frees of
 * ten touch no free run.
 */
#ifndef BGS_INDEX_TREE_H
#define BGS_INDEX_TREE_H

#include "bgs_index_vec.h"

#define TREE_AGAIN 1
/* A leaf of so few runs looks for a neighbour to join. */
#define TREE_SMALL	 8
#define TREE_BEST_LEAVES 256
#define TREE_HAS_LEAVES	 8

struct tree_path {
	struct bgs_index_node *node[BGS_PATH_MAX];
	unsigned slot[BGS_PATH_MAX];
};

/* A run: its place in its leaf's arrays, and the way there. */
struct tree_spot {
	struct tree_path path;
	uint32_t *starts, *lens;
	unsigned at;
};

static void tree_shrink(struct bgs_index *ix, struct tree_path *path);

static inline unsigned node_count(const struct bgs_index_node *node)
{
	return vec_count_le(node->key, BGS_INDEX_SLOTS, BGS_INDEX_PAD - 1);
}

/* Down to the leaf whose keys embrace @x; returns the first start of the leaf after it, or the pad.
 */
VEC uint32_t tree_descend_from(const struct bgs_index *ix, unsigned height, uint32_t x,
			       struct tree_path *path, struct bgs_leaf **leaf)
{
	struct bgs_index_node *node = (struct bgs_index_node *)&ix->root;
	uint32_t bound = BGS_INDEX_PAD;

	for (unsigned level = height;; level--) {
		unsigned upto = vec_count_le(node->key, BGS_INDEX_SLOTS, x);
		unsigned slot = upto ? upto - 1 : 0;
		uint32_t after = node->key[(slot + 1) & 15];

		after = slot == 15 ? BGS_INDEX_PAD : after;
		bound = after < bound ? after : bound;
		path->node[level] = node;
		path->slot[level] = slot;
		if (level == 1) {
			*leaf = bgs_leaf_at(ix, node->child[slot]);
			return bound;
		}
		node = bgs_node_at(ix, node->child[slot]);
	}
}

static inline uint32_t tree_descend(const struct bgs_index *ix, uint32_t x, struct tree_path *path,
				    struct bgs_leaf **leaf)
{
	return tree_descend_from(ix, ix->height, x, path, leaf);
}

/* There is now a run of @len in the leaf at the end of @path. */
VEC void tree_class_set(struct bgs_index *ix, struct tree_path *path, unsigned height, uint32_t len)
{
	unsigned c = bgs_class_of(len);

	for (unsigned level = 1; level <= height; level++)
		path->node[level]->where[c] |= (uint16_t)(1u << path->slot[level]);
	ix->present[c >> 6] |= (uint64_t)1 << (c & 63);
}

/* A run of @len (not 0) may have gone from the leaf: make the tables above it exact again. */
VEC void tree_class_refresh(struct bgs_index *ix, struct tree_path *path, unsigned height,
			    const uint32_t *lens, unsigned n, uint32_t len)
{
	unsigned c = bgs_class_of(len);
	unsigned bit = vec_has_class(lens, n, len);

	for (unsigned level = 1; level <= height; level++) {
		unsigned slot = path->slot[level];
		unsigned where = path->node[level]->where[c];

		where = (where & ~(1u << slot)) | bit << slot;
		path->node[level]->where[c] = (uint16_t)where;
		bit = where != 0;
	}
	ix->present[c >> 6] =
		(ix->present[c >> 6] & ~((uint64_t)1 << (c & 63))) | (uint64_t)bit << (c & 63);
}

/* The leaf's first start may have changed: so may the keys above it. */
VEC void tree_keys(struct tree_path *path, unsigned height, uint32_t first)
{
	for (unsigned level = 1; level <= height; level++) {
		path->node[level]->key[path->slot[level]] = first;
		first = path->node[level]->key[0];
	}
}

/*
 * What one add may do in one leaf (n = 32), or in the root (n = 16, height = 0). *run_out: what the
 * range became part of.
 */
VEC int tree_add_at(struct bgs_index *ix, struct tree_path *path, unsigned height, uint32_t *starts,
		    uint32_t *lens, unsigned n, uint32_t bound, uint32_t start, uint32_t len,
		    unsigned *at_out, struct bgs_run *run_out)
{
	uint32_t end = start + len;
	unsigned pos = vec_count_le(starts, n, start);
	unsigned before = pos ? pos - 1 : 0, here = pos < n ? pos : n - 1;
	uint32_t prev_start = starts[before], prev_len = lens[before];
	uint32_t next = pos < n ? starts[here] : BGS_INDEX_PAD;
	uint32_t next_len = lens[here];
	uint32_t first_after = next < bound ? next : bound;
	bool left, right;
	int delta;
	struct bgs_run run;

	*at_out = pos;
	if ((pos && prev_start + prev_len > start) || first_after < end)
		return -EEXIST;
	left = pos && prev_start + prev_len == start;
	/* A run that starts at the group's end does not exist, but the pad may equal it. */
	right = first_after == end && end < ix->sectors;
	if (right && next != end)
		return -EXDEV;
	delta = 1 - (int)left - (int)right;
	if (delta > 0 && starts[n - 1] != BGS_INDEX_PAD)
		return TREE_AGAIN;
	prev_len = left ? prev_len : 0;
	next_len = right ? next_len : 0;
	run.start = left ? prev_start : start;
	run.len = len + prev_len + next_len;
	*run_out = run;
	pos -= left;
	if (delta > 0) {
		vec_replace(starts, lens, n, pos, pos, run.start, run.len, 1);
	} else {
		if (delta < 0)
			vec_replace(starts, lens, n, pos + 1, BGS_NONE, 0, 0, -1);
		starts[pos] = run.start;
		lens[pos] = run.len;
	}
	ix->run_count += (uint32_t)delta;
	ix->free_sectors += len;
	if (height)
		tree_keys(path, height, starts[0]);
	tree_class_set(ix, path, height, run.len);
	if (left)
		tree_class_refresh(ix, path, height, lens, n, prev_len);
	if (right)
		tree_class_refresh(ix, path, height, lens, n, next_len);
	/* So that a group that becomes whole again returns to the root alone. */
	if (height && delta < 0 && starts[TREE_SMALL] == BGS_INDEX_PAD)
		tree_shrink(ix, path);
	return 0;
}

/* Takes [start, start + len) out of run @at, which holds it. TREE_AGAIN when the leaf has no room
 * for two parts. */
VEC int tree_cut_at(struct bgs_index *ix, struct tree_path *path, unsigned height, uint32_t *starts,
		    uint32_t *lens, unsigned n, unsigned at, uint32_t start, uint32_t len)
{
	uint32_t run_start = starts[at], run_len = lens[at];
	uint32_t head = start - run_start, tail = run_len - head - len;
	int delta = (head != 0) + (tail != 0) - 1;

	if (delta > 0) {
		if (starts[n - 1] != BGS_INDEX_PAD)
			return TREE_AGAIN;
		lens[at] = head;
		vec_replace(starts, lens, n, at + 1, at + 1, start + len, tail, 1);
		tree_class_set(ix, path, height, head);
		tree_class_set(ix, path, height, tail);
	} else if (delta < 0) {
		vec_replace(starts, lens, n, at, BGS_NONE, 0, 0, -1);
	} else {
		/* One part stays; the other one is empty. */
		starts[at] = head ? run_start : start + len;
		lens[at] = head | tail;
		tree_class_set(ix, path, height, head | tail);
	}
	ix->run_count += (uint32_t)delta;
	ix->free_sectors -= len;
	tree_class_refresh(ix, path, height, lens, n, run_len);
	if (height) {
		tree_keys(path, height, starts[0]);
		if (delta < 0 && starts[TREE_SMALL] == BGS_INDEX_PAD)
			tree_shrink(ix, path);
	}
	return 0;
}

/* The tightest run of class >= @c below @node, among the leaves that have class @c. */
struct tree_best {
	uint32_t excess;
	uint32_t start;
	unsigned leaves;
};

static void tree_best_below(const struct bgs_index *ix, const struct bgs_index_node *node,
			    unsigned level, unsigned c, uint32_t need, struct tree_best *best)
{
	for (unsigned slots = node->where[c]; slots; slots &= slots - 1) {
		unsigned slot = (unsigned)__builtin_ctz(slots), at;
		const struct bgs_leaf *leaf;
		uint32_t excess;

		if (best->leaves >= TREE_BEST_LEAVES && best->excess < BGS_INDEX_PAD)
			return;
		if (level > 1) {
			tree_best_below(ix, bgs_node_at(ix, node->child[slot]), level - 1, c, need,
					best);
		} else {
			leaf = bgs_leaf_at(ix, node->child[slot]);
			excess = vec_min_excess(leaf->len, BGS_LEAF_RUNS, need, &at);
			best->leaves++;
			if (excess < best->excess) {
				best->excess = excess;
				best->start = leaf->start[at];
			}
		}
		if (!best->excess)
			return;
	}
}

/* The first present class at or above @c; BGS_INDEX_CLASSES if there is none. */
static inline unsigned index_class_next(const struct bgs_index *ix, unsigned c)
{
	uint64_t bits;

	if (c < 64) {
		bits = ix->present[0] >> c << c;
		if (bits)
			return (unsigned)__builtin_ctzll(bits);
		c = 64;
	}
	if (c >= BGS_INDEX_CLASSES)
		return BGS_INDEX_CLASSES;
	bits = ix->present[1] >> (c & 63) << (c & 63);
	return bits ? 64u + (unsigned)__builtin_ctzll(bits) : BGS_INDEX_CLASSES;
}

static __attribute__((noinline)) bool tree_claim_deep(struct bgs_index *ix, uint32_t len,
						      uint32_t need, uint32_t limit,
						      uint32_t *start_out, uint32_t *run_out)
{
	for (unsigned c = index_class_next(ix, bgs_class_of(need)); c < BGS_INDEX_CLASSES;
	     c = index_class_next(ix, c + 1)) {
		struct tree_best best = {UINT32_MAX, 0, 0};
		struct tree_path path;
		struct bgs_leaf *leaf;

		tree_best_below(ix, &ix->root, ix->height, c, need, &best);
		/* In the first class there may be only shorter runs; what else was seen may not be
		 * tightest. */
		if (best.excess >= BGS_INDEX_PAD || bgs_class_of(best.excess + need) != c)
			continue;
		if (best.excess + need > limit)
			return false;
		tree_descend(ix, best.start, &path, &leaf);
		*start_out = best.start;
		*run_out = best.excess + need;
		tree_cut_at(ix, &path, ix->height, leaf->start, leaf->len, BGS_LEAF_RUNS,
			    vec_count_le(leaf->start, BGS_LEAF_RUNS, best.start) - 1, best.start,
			    len);
		return true;
	}
	return false;
}

/* Up to 16 runs, in the root. */
static __attribute__((noinline)) bool tree_claim_root(struct bgs_index *ix, uint32_t len,
						      uint32_t need, uint32_t *start_out,
						      uint32_t *run_out)
{
	struct tree_path path;
	unsigned at;
	uint32_t excess = vec_min_excess(ix->root.child, BGS_INDEX_SLOTS, need, &at);

	if (excess >= BGS_INDEX_PAD)
		return false;
	*start_out = ix->root.key[at];
	*run_out = need + excess;
	tree_cut_at(ix, &path, 0, ix->root.key, ix->root.child, BGS_INDEX_SLOTS, at,
		    ix->root.key[at], len);
	return true;
}

/* Whether a leaf has a run of @low to @high, of class @c; gives up, with true, after *leaves. */
static bool tree_has_below(const struct bgs_index *ix, const struct bgs_index_node *node,
			   unsigned level, unsigned c, uint32_t low, uint32_t high,
			   unsigned *leaves)
{
	for (unsigned slots = node->where[c]; slots; slots &= slots - 1) {
		uint32_t child = node->child[__builtin_ctz(slots)];

		if (level > 1) {
			if (tree_has_below(ix, bgs_node_at(ix, child), level - 1, c, low, high,
					   leaves))
				return true;
		} else if (!(*leaves)-- ||
			   vec_mask_within(bgs_leaf_at(ix, child)->len, BGS_LEAF_RUNS, low, high)) {
			return true;
		}
	}
	return false;
}

static inline bool tree_may_have(const struct bgs_index *ix, uint32_t low, uint32_t high)
{
	unsigned leaves = TREE_HAS_LEAVES;

	if (!ix->height)
		return vec_mask_within(ix->root.child, BGS_INDEX_SLOTS, low, high) != 0;
	return tree_has_below(ix, &ix->root, ix->height, bgs_class_of(low), low, high, &leaves);
}

/* The run that ends above @from first; false if there is none. */
static inline bool tree_next(const struct bgs_index *ix, uint32_t from, uint32_t *start_out,
			     uint32_t *len_out)
{
	const uint32_t *starts = ix->root.key, *lens = ix->root.child;
	unsigned n = BGS_INDEX_SLOTS, pos;
	uint32_t bound = BGS_INDEX_PAD;
	struct tree_path path;
	struct bgs_leaf *leaf;

	if (ix->height) {
		bound = tree_descend(ix, from, &path, &leaf);
		starts = leaf->start;
		lens = leaf->len;
		n = BGS_LEAF_RUNS;
	}
	pos = vec_count_le(starts, n, from);
	if (pos && starts[pos - 1] + lens[pos - 1] > from) {
		pos--;
	} else if (pos == n || starts[pos] == BGS_INDEX_PAD) {
		if (bound == BGS_INDEX_PAD)
			return false;
		tree_descend(ix, bound, &path, &leaf);
		*start_out = leaf->start[0];
		*len_out = leaf->len[0];
		return true;
	}
	*start_out = starts[pos];
	*len_out = lens[pos];
	return true;
}

#endif
