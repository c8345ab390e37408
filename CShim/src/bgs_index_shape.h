/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_shape.h - the runs form: splitting, spreading, joining and collapsing nodes.
 *
 * A full leaf first gives runs to a neighbour; two full neighbours become three; at the right
 * (left) end of its node a leaf gives up only its last (first) run, so that adds in order leave
 * full leaves behind. All of it is rare next to adds and claims, and plain loops.
 */
#ifndef BGS_INDEX_SHAPE_H
#define BGS_INDEX_SHAPE_H

#include "bgs_index_tree.h"

static uint32_t tree_leaf_new(struct bgs_index *ix)
{
	uint32_t unit = ix->leaf_free;
	struct bgs_leaf *leaf;

	if (unit != BGS_NONE) {
		ix->leaf_free = bgs_leaf_at(ix, unit)->start[0];
	} else if (ix->leaves_near < BGS_NEAR_LEAVES) {
		/* Rotated, or the first leaves of all groups would compete for the same cache sets.
		 */
		unit = ((ix->leaves_near++ + ix->color) % BGS_NEAR_LEAVES) * BGS_LEAF_UNITS;
	} else {
		unit = ix->unit_next;
		ix->unit_next += BGS_LEAF_UNITS;
	}
	leaf = bgs_leaf_at(ix, unit);
	for (unsigned j = 0; j < BGS_LEAF_RUNS; j++) {
		leaf->start[j] = BGS_INDEX_PAD;
		leaf->len[j] = 0;
	}
	ix->tree_bytes += BGS_LEAF_UNITS * BGS_UNIT;
	return unit;
}

static void tree_leaf_free(struct bgs_index *ix, uint32_t unit)
{
	bgs_leaf_at(ix, unit)->start[0] = ix->leaf_free;
	ix->leaf_free = unit;
	ix->tree_bytes -= BGS_LEAF_UNITS * BGS_UNIT;
}

static uint32_t tree_node_new(struct bgs_index *ix)
{
	uint32_t unit = ix->node_free;

	if (unit != BGS_NONE) {
		ix->node_free = bgs_node_at(ix, unit)->key[0];
	} else {
		unit = ix->unit_next;
		ix->unit_next += BGS_NODE_UNITS;
	}
	ix->tree_bytes += BGS_NODE_UNITS * BGS_UNIT;
	return unit;
}

static void tree_node_free(struct bgs_index *ix, uint32_t unit)
{
	bgs_node_at(ix, unit)->key[0] = ix->node_free;
	ix->node_free = unit;
	ix->tree_bytes -= BGS_NODE_UNITS * BGS_UNIT;
}

static void node_clear(struct bgs_index_node *node)
{
	for (unsigned j = 0; j < BGS_INDEX_SLOTS; j++) {
		node->key[j] = BGS_INDEX_PAD;
		node->child[j] = 0;
	}
	memset(node->where, 0, sizeof(node->where));
}

/* Makes an empty slot @slot; the node has room. */
static void node_insert(struct bgs_index_node *node, unsigned slot, uint32_t key, uint32_t child)
{
	unsigned below = (1u << slot) - 1;

	bool last = node->key[slot] == BGS_INDEX_PAD;

	vec_replace(node->key, node->child, BGS_INDEX_SLOTS, slot, slot, key, child, 1);
	if (last)
		return;
	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++) {
		unsigned where = node->where[c];

		node->where[c] = (uint16_t)((where & below) | (where & ~below) << 1);
	}
}

static void node_delete(struct bgs_index_node *node, unsigned slot)
{
	unsigned below = (1u << slot) - 1;

	vec_replace(node->key, node->child, BGS_INDEX_SLOTS, slot, BGS_NONE, 0, 0, -1);
	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++) {
		unsigned where = node->where[c];

		node->where[c] = (uint16_t)((where & below) | (where >> 1 & ~below));
	}
}

/* Slot @slot of @node leads to @leaf: note its first start and its classes. */
static void node_note_leaf(struct bgs_index_node *node, unsigned slot, const struct bgs_leaf *leaf)
{
	uint16_t bit = (uint16_t)(1u << slot);

	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++)
		node->where[c] &= (uint16_t)~bit;
	for (unsigned j = 0; j < BGS_LEAF_RUNS && leaf->len[j]; j++)
		node->where[bgs_class_of(leaf->len[j])] |= bit;
	node->key[slot] = leaf->start[0];
}

/* The same for an interior @child. */
static void node_note_node(struct bgs_index_node *node, unsigned slot,
			   const struct bgs_index_node *child)
{
	unsigned bit = 1u << slot;

	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++)
		node->where[c] = (uint16_t)((node->where[c] & ~bit) | (child->where[c] ? bit : 0));
	node->key[slot] = child->key[0];
}

/* Shares the runs of @count (at most 3) leaves at @slot evenly. */
static void tree_spread(struct bgs_index *ix, struct bgs_index_node *node, unsigned slot,
			unsigned count)
{
	uint32_t starts[3 * BGS_LEAF_RUNS], lens[3 * BGS_LEAF_RUNS];
	unsigned total = 0, from = 0;

	for (unsigned k = 0; k < count; k++) {
		struct bgs_leaf *leaf = bgs_leaf_at(ix, node->child[slot + k]);
		unsigned runs = vec_count_le(leaf->start, BGS_LEAF_RUNS, BGS_INDEX_PAD - 1);

		memcpy(starts + total, leaf->start, runs * sizeof(*starts));
		memcpy(lens + total, leaf->len, runs * sizeof(*lens));
		total += runs;
	}
	for (unsigned k = 0; k < count; k++) {
		struct bgs_leaf *leaf = bgs_leaf_at(ix, node->child[slot + k]);
		unsigned upto = total * (k + 1) / count;

		for (unsigned j = 0; j < BGS_LEAF_RUNS; j++) {
			bool used = from + j < upto;

			leaf->start[j] = used ? starts[from + j] : BGS_INDEX_PAD;
			leaf->len[j] = used ? lens[from + j] : 0;
		}
		from = upto;
		node_note_leaf(node, slot + k, leaf);
	}
}

/* The runs leave the root for a first leaf. */
static void tree_grow_leaf(struct bgs_index *ix)
{
	uint32_t unit = tree_leaf_new(ix);
	struct bgs_leaf *leaf = bgs_leaf_at(ix, unit);

	memcpy(leaf->start, ix->root.key, sizeof(ix->root.key));
	memcpy(leaf->len, ix->root.child, sizeof(ix->root.child));
	node_clear(&ix->root);
	ix->root.child[0] = unit;
	node_note_leaf(&ix->root, 0, leaf);
	ix->height = 1;
}

/* Splits a full node at @level; or its parent, or gives the root a level, when that must come
 * first. */
static void tree_split_node(struct bgs_index *ix, struct tree_path *path, unsigned level)
{
	struct bgs_index_node *node, *parent, *other;
	unsigned slot, keep;
	uint32_t unit;

	while (level < ix->height && node_count(path->node[level + 1]) == BGS_INDEX_SLOTS)
		level++;
	node = path->node[level];
	if (level == ix->height) {
		unit = tree_node_new(ix);
		other = bgs_node_at(ix, unit);
		memcpy(other, node, sizeof(*other));
		node_clear(node);
		node->child[0] = unit;
		node_note_node(node, 0, other);
		ix->height++;
		return;
	}
	parent = path->node[level + 1];
	slot = path->slot[level + 1];
	keep = path->slot[level] == 15 ? 15 : path->slot[level] == 0 ? 1 : 8;
	unit = tree_node_new(ix);
	other = bgs_node_at(ix, unit);
	node_clear(other);
	for (unsigned j = keep; j < BGS_INDEX_SLOTS; j++) {
		other->key[j - keep] = node->key[j];
		other->child[j - keep] = node->child[j];
		node->key[j] = BGS_INDEX_PAD;
		node->child[j] = 0;
	}
	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++) {
		other->where[c] = (uint16_t)(node->where[c] >> keep);
		node->where[c] &= (uint16_t)((1u << keep) - 1);
	}
	node_insert(parent, slot + 1, other->key[0], unit);
	node_note_node(parent, slot, node);
	node_note_node(parent, slot + 1, other);
}

/* One step towards room for a run at place @at of the full leaf at the end of @path. */
static void tree_make_room(struct bgs_index *ix, struct tree_path *path, unsigned at)
{
	const unsigned lend_max = BGS_LEAF_RUNS - 4;
	struct bgs_index_node *node;
	struct bgs_leaf *leaf, *other;
	unsigned slot, count, c;
	uint32_t unit;

	if (ix->height == 0) {
		tree_grow_leaf(ix);
		return;
	}
	node = path->node[1];
	slot = path->slot[1];
	count = node_count(node);
	if (slot + 1 < count &&
	    bgs_leaf_at(ix, node->child[slot + 1])->start[lend_max] == BGS_INDEX_PAD) {
		tree_spread(ix, node, slot, 2);
		return;
	}
	if (slot && bgs_leaf_at(ix, node->child[slot - 1])->start[lend_max] == BGS_INDEX_PAD) {
		tree_spread(ix, node, slot - 1, 2);
		return;
	}
	if (count == BGS_INDEX_SLOTS) {
		tree_split_node(ix, path, 1);
		return;
	}
	leaf = bgs_leaf_at(ix, node->child[slot]);
	unit = tree_leaf_new(ix);
	other = bgs_leaf_at(ix, unit);
	if (at >= BGS_LEAF_RUNS - 1 && slot + 1 == count) {
		other->start[0] = leaf->start[BGS_LEAF_RUNS - 1];
		other->len[0] = leaf->len[BGS_LEAF_RUNS - 1];
		leaf->start[BGS_LEAF_RUNS - 1] = BGS_INDEX_PAD;
		leaf->len[BGS_LEAF_RUNS - 1] = 0;
		node_insert(node, slot + 1, other->start[0], unit);
		c = bgs_class_of(other->len[0]);
		node->where[c] |= (uint16_t)(2u << slot);
		if (!vec_has_class(leaf->len, BGS_LEAF_RUNS, other->len[0]))
			node->where[c] &= (uint16_t) ~(1u << slot);
	} else if (at <= 1 && slot == 0) {
		other->start[0] = leaf->start[0];
		other->len[0] = leaf->len[0];
		vec_replace(leaf->start, leaf->len, BGS_LEAF_RUNS, 0, BGS_NONE, 0, 0, -1);
		node_insert(node, 0, other->start[0], unit);
		node_note_leaf(node, 0, other);
		node_note_leaf(node, 1, leaf);
	} else {
		unsigned first = slot && slot + 1 == count ? slot - 1 : slot;
		unsigned leaves = count > 1 ? 3 : 2;

		/* The empty leaf's key is a placeholder in order; spreading sets it. */
		node_insert(node, first + leaves - 1, node->key[first + leaves - 2], unit);
		tree_spread(ix, node, first, leaves);
	}
}

/* Few enough runs are left for the root to hold them. */
static void tree_collapse(struct bgs_index *ix)
{
	uint32_t starts[BGS_INDEX_SLOTS], lens[BGS_INDEX_SLOTS];
	unsigned total = 0, count = node_count(&ix->root);

	for (unsigned s = 0; s < count; s++) {
		struct bgs_leaf *leaf = bgs_leaf_at(ix, ix->root.child[s]);

		for (unsigned j = 0; j < BGS_LEAF_RUNS && leaf->len[j]; j++, total++) {
			starts[total] = leaf->start[j];
			lens[total] = leaf->len[j];
		}
	}
	node_clear(&ix->root);
	memcpy(ix->root.key, starts, total * sizeof(*starts));
	memcpy(ix->root.child, lens, total * sizeof(*lens));
	ix->height = 0;
	ix->leaf_free = BGS_NONE;
	ix->node_free = BGS_NONE;
	ix->leaves_near = 0;
	ix->unit_next = BGS_NEAR_UNITS;
	ix->tree_bytes = 0;
	ix->trim_wanted |= (uint8_t)(1u << ix->area_used);
}

/* A node at @level (below the root) with few slots joins a neighbour, where both fit with room to
 * spare. */
static bool tree_join_node(struct bgs_index *ix, struct tree_path *path, unsigned level)
{
	struct bgs_index_node *parent = path->node[level + 1], *a, *b;
	unsigned slot = path->slot[level + 1], a_count, b_count;
	uint32_t unit;

	if (slot + 1 >= node_count(parent)) {
		if (slot == 0)
			return false;
		slot--;
	}
	unit = parent->child[slot + 1];
	a = bgs_node_at(ix, parent->child[slot]);
	b = bgs_node_at(ix, unit);
	a_count = node_count(a);
	b_count = node_count(b);
	if (a_count + b_count > 12)
		return false;
	for (unsigned j = 0; j < b_count; j++) {
		a->key[a_count + j] = b->key[j];
		a->child[a_count + j] = b->child[j];
	}
	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++)
		a->where[c] |= (uint16_t)(b->where[c] << a_count);
	tree_node_free(ix, unit);
	node_delete(parent, slot + 1);
	node_note_node(parent, slot, a);
	return true;
}

/* Two leaves of @node, @slot's and a neighbour, become one where that leaves room. */
static void tree_join_leaf(struct bgs_index *ix, struct bgs_index_node *node, unsigned slot)
{
	unsigned count = node_count(node), first = slot + 1 < count ? slot : slot - 1, a, b;
	struct bgs_leaf *to, *from;
	uint32_t unit;

	if (count < 2)
		return;
	unit = node->child[first + 1];
	to = bgs_leaf_at(ix, node->child[first]);
	from = bgs_leaf_at(ix, unit);
	a = vec_count_le(to->start, BGS_LEAF_RUNS, BGS_INDEX_PAD - 1);
	b = vec_count_le(from->start, BGS_LEAF_RUNS, BGS_INDEX_PAD - 1);
	if (a + b > 24)
		return;
	memcpy(to->start + a, from->start, b * sizeof(uint32_t));
	memcpy(to->len + a, from->len, b * sizeof(uint32_t));
	tree_leaf_free(ix, unit);
	node_delete(node, first + 1);
	node_note_leaf(node, first, to);
}

/* After a run went from a leaf that is now small or empty: join, drop, pull up, collapse. */
static void tree_shrink(struct bgs_index *ix, struct tree_path *path)
{
	unsigned live = 1;

	if (bgs_leaf_at(ix, path->node[1]->child[path->slot[1]])->len[0]) {
		tree_join_leaf(ix, path->node[1], path->slot[1]);
	} else {
		/* Its classes are gone from the tables already; what is left of it is the slot. */
		tree_leaf_free(ix, path->node[1]->child[path->slot[1]]);
		node_delete(path->node[1], path->slot[1]);
		for (; live < ix->height && path->node[live]->key[0] == BGS_INDEX_PAD; live++) {
			tree_node_free(ix, path->node[live + 1]->child[path->slot[live + 1]]);
			node_delete(path->node[live + 1], path->slot[live + 1]);
		}
		for (unsigned level = live; level < ix->height; level++)
			path->node[level + 1]->key[path->slot[level + 1]] =
				path->node[level]->key[0];
	}
	if (ix->run_count == 0) {
		tree_collapse(ix);
		return;
	}
	for (; live < ix->height; live++)
		if (node_count(path->node[live]) > 4 || !tree_join_node(ix, path, live))
			break;
	while (ix->height > 1 && ix->root.key[1] == BGS_INDEX_PAD) {
		uint32_t unit = ix->root.child[0];

		memcpy(&ix->root, bgs_node_at(ix, unit), sizeof(ix->root));
		tree_node_free(ix, unit);
		ix->height--;
	}
	if (ix->height == 1 && ix->run_count <= TREE_SMALL)
		tree_collapse(ix);
}

#endif
