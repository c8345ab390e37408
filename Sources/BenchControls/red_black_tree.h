/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * red_black_tree.h - intrusive red-black tree for the seed's controls.
 *
 * The caller walks to the place itself, as the seed did, then links the node.
 *
 * Invariants: a red node has no red child; every path down from a node passes
 * the same number of black nodes. Missing children count as black.
 * Locks: the caller's.
 */
#ifndef BENCH_RED_BLACK_TREE_H
#define BENCH_RED_BLACK_TREE_H

#include <stddef.h>
#include <stdint.h>

struct rb_node {
	/* The parent's address; bit 0 is set while the node is black. */
	uintptr_t parent_and_color;
	struct rb_node *child[2];
};

struct rb_root {
	struct rb_node *node;
};

/* Put node at *link, below parent, and restore the balance. */
void rb_insert(struct rb_root *root, struct rb_node *node, struct rb_node *parent,
	       struct rb_node **link);
void rb_erase(struct rb_root *root, struct rb_node *node);
/* The node after this one in order, or NULL. */
struct rb_node *rb_next(const struct rb_node *node);
struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_last(const struct rb_root *root);

#endif
