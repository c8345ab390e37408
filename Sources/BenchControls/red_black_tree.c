/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* red_black_tree.c - see red_black_tree.h. Both sides share one code: child[side]. */
#include "red_black_tree.h"

#include <stdbool.h>

#define RB_BLACK ((uintptr_t)1)

static inline struct rb_node *rb_parent(const struct rb_node *node)
{
	return (struct rb_node *)(node->parent_and_color & ~RB_BLACK);
}

static inline bool rb_is_red(const struct rb_node *node)
{
	return node && !(node->parent_and_color & RB_BLACK);
}

static inline void rb_set_parent(struct rb_node *node, struct rb_node *parent)
{
	node->parent_and_color = (uintptr_t)parent | (node->parent_and_color & RB_BLACK);
}

static inline void rb_set_black(struct rb_node *node)
{
	node->parent_and_color |= RB_BLACK;
}

static inline void rb_set_red(struct rb_node *node)
{
	node->parent_and_color &= ~RB_BLACK;
}

static void rb_replace_child(struct rb_root *root, struct rb_node *parent, struct rb_node *old,
			     struct rb_node *new_child)
{
	if (!parent)
		root->node = new_child;
	else
		parent->child[parent->child[1] == old] = new_child;
}

/* Moves node one step down to the given side; the child of the other side takes its place. */
static void rb_rotate(struct rb_root *root, struct rb_node *node, int side)
{
	struct rb_node *parent = rb_parent(node);
	struct rb_node *pivot = node->child[!side];
	struct rb_node *inner = pivot->child[side];

	node->child[!side] = inner;
	if (inner)
		rb_set_parent(inner, node);
	pivot->child[side] = node;
	rb_set_parent(node, pivot);
	rb_set_parent(pivot, parent);
	rb_replace_child(root, parent, node, pivot);
}

void rb_insert(struct rb_root *root, struct rb_node *node, struct rb_node *parent,
	       struct rb_node **link)
{
	node->parent_and_color = (uintptr_t)parent;
	node->child[0] = NULL;
	node->child[1] = NULL;
	*link = node;

	while (rb_is_red(parent)) {
		/* A red node is never the root, so it has a parent. */
		struct rb_node *grand = rb_parent(parent);
		int side = parent == grand->child[1];
		struct rb_node *uncle = grand->child[!side];

		if (rb_is_red(uncle)) {
			rb_set_black(parent);
			rb_set_black(uncle);
			rb_set_red(grand);
			node = grand;
			parent = rb_parent(node);
			continue;
		}
		if (node == parent->child[!side]) {
			rb_rotate(root, parent, side);
			parent = node;
		}
		rb_set_black(parent);
		rb_set_red(grand);
		rb_rotate(root, grand, !side);
		break;
	}
	rb_set_black(root->node);
}

/* The paths through node, below parent, lack one black node. */
static void rb_repair_erase(struct rb_root *root, struct rb_node *node, struct rb_node *parent)
{
	while (parent && !rb_is_red(node)) {
		int side = parent->child[0] != node;
		struct rb_node *sibling = parent->child[!side];

		if (rb_is_red(sibling)) {
			rb_set_black(sibling);
			rb_set_red(parent);
			rb_rotate(root, parent, side);
			sibling = parent->child[!side];
		}
		if (!rb_is_red(sibling->child[0]) && !rb_is_red(sibling->child[1])) {
			rb_set_red(sibling);
			node = parent;
			parent = rb_parent(node);
			continue;
		}
		if (!rb_is_red(sibling->child[!side])) {
			rb_set_black(sibling->child[side]);
			rb_set_red(sibling);
			rb_rotate(root, sibling, !side);
			sibling = parent->child[!side];
		}
		if (rb_is_red(parent))
			rb_set_red(sibling);
		else
			rb_set_black(sibling);
		rb_set_black(parent);
		rb_set_black(sibling->child[!side]);
		rb_rotate(root, parent, side);
		return;
	}
	if (node)
		rb_set_black(node);
}

void rb_erase(struct rb_root *root, struct rb_node *node)
{
	struct rb_node *parent = rb_parent(node);
	struct rb_node *orphan;
	bool was_black;

	if (!node->child[0] || !node->child[1]) {
		orphan = node->child[node->child[0] == NULL];
		was_black = !rb_is_red(node);
		rb_replace_child(root, parent, node, orphan);
		if (orphan)
			rb_set_parent(orphan, parent);
	} else {
		struct rb_node *heir = node->child[1];
		struct rb_node *heir_parent;

		while (heir->child[0])
			heir = heir->child[0];
		heir_parent = rb_parent(heir);
		orphan = heir->child[1];
		was_black = !rb_is_red(heir);
		if (heir_parent == node) {
			heir_parent = heir;
		} else {
			heir_parent->child[0] = orphan;
			if (orphan)
				rb_set_parent(orphan, heir_parent);
			heir->child[1] = node->child[1];
			rb_set_parent(heir->child[1], heir);
		}
		heir->child[0] = node->child[0];
		rb_set_parent(heir->child[0], heir);
		heir->parent_and_color = node->parent_and_color;
		rb_replace_child(root, parent, node, heir);
		parent = heir_parent;
	}
	if (was_black)
		rb_repair_erase(root, orphan, parent);
}

static struct rb_node *rb_outermost(struct rb_node *node, int side)
{
	while (node && node->child[side])
		node = node->child[side];
	return node;
}

struct rb_node *rb_first(const struct rb_root *root)
{
	return rb_outermost(root->node, 0);
}

struct rb_node *rb_last(const struct rb_root *root)
{
	return rb_outermost(root->node, 1);
}

struct rb_node *rb_next(const struct rb_node *node)
{
	struct rb_node *parent;

	if (node->child[1])
		return rb_outermost(node->child[1], 0);
	parent = rb_parent(node);
	while (parent && node == parent->child[1]) {
		node = parent;
		parent = rb_parent(node);
	}
	return parent;
}
