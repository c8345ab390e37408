/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_search.h - the runs form: searches by address and by alignment.
 *
 * Only leaves that hold a run of the wanted class or above are looked at, in address order.
 */
#ifndef BGS_INDEX_SEARCH_H
#define BGS_INDEX_SEARCH_H

#include "bgs_index_shape.h"

/* What a search by address or alignment wants; see bgs_index_claim_from(). */
struct index_wish {
	uint32_t from, end, len, need;
	uint64_t align, phase;
	/* The best fit is sought in no class above this one. */
	unsigned class_limit;
};

/* Whether the run fulfils the wish, and at which address. */
static inline bool wish_fits(const struct index_wish *wish, uint32_t start, uint32_t len,
			     uint32_t *at_out)
{
	uint64_t run_end = (uint64_t)start + len;
	uint64_t at = start > wish->from ? start : wish->from;

	if (at >= run_end || run_end - at < wish->need)
		return false;
	if (wish->align > 1) {
		/* phase < align, so the sum may only pass 2^64 with an alignment no group can meet
		 * but once. */
		uint64_t over = (at % wish->align + wish->phase);

		over = over >= wish->align || over < wish->phase ? over - wish->align : over;
		if (over) {
			uint64_t up = wish->align - over;

			if (up >= run_end - at)
				return false;
			at += up;
		}
	}
	if (at + wish->len > run_end || at + wish->len > wish->end)
		return false;
	*at_out = (uint32_t)at;
	return true;
}

/* Lowest fitting address in the subtree of @node. */
static bool tree_from_below(const struct bgs_index *ix, const struct bgs_index_node *node,
			    unsigned level, const struct index_wish *wish, uint32_t *at_out)
{
	unsigned upto = vec_count_le(node->key, BGS_INDEX_SLOTS, wish->from);
	unsigned slots = vec_where_from(node, bgs_class_of(wish->need));

	slots &= ~0u << (upto ? upto - 1 : 0);
	for (; slots; slots &= slots - 1) {
		unsigned slot = (unsigned)__builtin_ctz(slots);
		const struct bgs_leaf *leaf;

		if (node->key[slot] >= wish->end)
			return false;
		if (level > 1) {
			if (tree_from_below(ix, bgs_node_at(ix, node->child[slot]), level - 1, wish,
					    at_out))
				return true;
			continue;
		}
		leaf = bgs_leaf_at(ix, node->child[slot]);
		for (uint32_t runs = vec_mask_ge(leaf->len, BGS_LEAF_RUNS, wish->need); runs;
		     runs &= runs - 1) {
			unsigned j = (unsigned)__builtin_ctz(runs);

			if (wish_fits(wish, leaf->start[j], leaf->len[j], at_out))
				return true;
		}
	}
	return false;
}

static bool tree_find_from(const struct bgs_index *ix, const struct index_wish *wish,
			   uint32_t *at_out)
{
	if (ix->height)
		return tree_from_below(ix, &ix->root, ix->height, wish, at_out);
	for (uint32_t runs = vec_mask_ge(ix->root.child, BGS_INDEX_SLOTS, wish->need); runs;
	     runs &= runs - 1) {
		unsigned j = (unsigned)__builtin_ctz(runs);

		if (wish_fits(wish, ix->root.key[j], ix->root.child[j], at_out))
			return true;
	}
	return false;
}

/* The tightest run that fulfils the wish: its length, and the address inside it. */
struct index_found {
	uint32_t len;
	uint32_t at;
};

/* Only runs of class @c count (any, from BGS_INDEX_CLASSES on): so that equals are met in address
 * order. */
static void tree_fit_leaf(const uint32_t *starts, const uint32_t *lens, unsigned n, unsigned c,
			  const struct index_wish *wish, struct index_found *found)
{
	for (uint32_t runs = vec_mask_ge(lens, n, wish->need); runs; runs &= runs - 1) {
		unsigned j = (unsigned)__builtin_ctz(runs);

		if (c < BGS_INDEX_CLASSES && bgs_class_of(lens[j]) != c)
			continue;
		if (lens[j] < found->len && wish_fits(wish, starts[j], lens[j], &found->at))
			found->len = lens[j];
	}
}

static void tree_fit_below(const struct bgs_index *ix, const struct bgs_index_node *node,
			   unsigned level, unsigned c, const struct index_wish *wish,
			   struct index_found *found)
{
	for (unsigned slots = node->where[c]; slots; slots &= slots - 1) {
		uint32_t child = node->child[__builtin_ctz(slots)];

		if (level > 1)
			tree_fit_below(ix, bgs_node_at(ix, child), level - 1, c, wish, found);
		else
			tree_fit_leaf(bgs_leaf_at(ix, child)->start, bgs_leaf_at(ix, child)->len,
				      BGS_LEAF_RUNS, c, wish, found);
	}
}

static bool tree_find_aligned(const struct bgs_index *ix, const struct index_wish *wish,
			      uint32_t *at_out)
{
	struct index_found found = {UINT32_MAX, 0};

	if (ix->height == 0) {
		tree_fit_leaf(ix->root.key, ix->root.child, BGS_INDEX_SLOTS, BGS_INDEX_CLASSES,
			      wish, &found);
	} else {
		for (unsigned c = index_class_next(ix, bgs_class_of(wish->need));
		     c < BGS_INDEX_CLASSES && found.len == UINT32_MAX;
		     c = index_class_next(ix, c + 1))
			tree_fit_below(ix, &ix->root, ix->height, c, wish, &found);
	}
	*at_out = found.at;
	return found.len != UINT32_MAX;
}

static uint32_t tree_longest_below(const struct bgs_index *ix, const struct bgs_index_node *node,
				   unsigned level, unsigned c)
{
	uint32_t longest = 0;

	for (unsigned slots = node->where[c]; slots; slots &= slots - 1) {
		uint32_t child = node->child[__builtin_ctz(slots)], here = 0;

		if (level > 1)
			here = tree_longest_below(ix, bgs_node_at(ix, child), level - 1, c);
		else
			for (unsigned j = 0; j < BGS_LEAF_RUNS; j++)
				here = bgs_leaf_at(ix, child)->len[j] > here
					       ? bgs_leaf_at(ix, child)->len[j]
					       : here;
		longest = here > longest ? here : longest;
	}
	return longest;
}

/* The class of the longest run; there is one. */
static inline unsigned index_class_last(const struct bgs_index *ix)
{
	return ix->present[1] ? 127u - (unsigned)__builtin_clzll(ix->present[1])
			      : 63u - (unsigned)__builtin_clzll(ix->present[0]);
}

static uint32_t tree_largest(const struct bgs_index *ix)
{
	uint32_t longest = 0;

	if (ix->height)
		return tree_longest_below(ix, &ix->root, ix->height, index_class_last(ix));
	for (unsigned j = 0; j < BGS_INDEX_SLOTS; j++)
		longest = ix->root.child[j] > longest ? ix->root.child[j] : longest;
	return longest;
}

#endif
