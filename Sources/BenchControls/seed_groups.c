/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* seed_groups.c - see seed_groups.h. */
#include "seed_groups.h"

#include <stdlib.h>
#include <string.h>

#define ENTRY_BY_OFFSET(node)                                                                      \
	((struct seed_entry *)((char *)(node)-offsetof(struct seed_entry, by_offset)))
#define ENTRY_BY_BYTES(node)                                                                       \
	((struct seed_entry *)((char *)(node)-offsetof(struct seed_entry, by_bytes)))

static void seed_tree_link(struct seed_group *group, struct seed_entry *entry)
{
	struct rb_node **link = &group->by_offset.node;
	struct rb_node *parent = NULL;

	while (*link) {
		parent = *link;
		link = &parent->child[entry->offset > ENTRY_BY_OFFSET(parent)->offset];
	}
	rb_insert(&group->by_offset, &entry->by_offset, parent, link);

	link = &group->by_bytes.node;
	parent = NULL;
	while (*link) {
		parent = *link;
		/* Equals go right: the oldest of one size comes first. */
		link = &parent->child[entry->bytes >= ENTRY_BY_BYTES(parent)->bytes];
	}
	rb_insert(&group->by_bytes, &entry->by_bytes, parent, link);
}

static void seed_tree_unlink(struct seed_group *group, struct seed_entry *entry)
{
	rb_erase(&group->by_offset, &entry->by_offset);
	rb_erase(&group->by_bytes, &entry->by_bytes);
}

static struct seed_entry *search_by_offset(struct seed_group *group, uint64_t offset,
					   uint64_t bytes)
{
	struct rb_node *node = group->by_offset.node;
	struct seed_entry *best = NULL;

	while (node) {
		struct seed_entry *entry = ENTRY_BY_OFFSET(node);
		bool fits = entry->bytes >= bytes;

		if (offset < entry->offset) {
			/* The path only goes down in address from here, so this is the lowest yet.
			 */
			if (fits)
				best = entry;
			node = node->child[0];
		} else if (fits && offset < entry->offset + entry->bytes) {
			return entry;
		} else {
			node = node->child[1];
		}
	}
	return best;
}

static struct seed_entry *search_by_bytes(struct seed_group *group, uint64_t offset, uint64_t bytes)
{
	struct rb_node *node = group->by_bytes.node;
	struct seed_entry *best = NULL;

	while (node) {
		struct seed_entry *entry = ENTRY_BY_BYTES(node);

		if (entry->bytes < bytes) {
			node = node->child[1];
			continue;
		}
		if (entry->offset >= offset &&
		    (!best || entry->bytes < best->bytes ||
		     (entry->bytes == best->bytes && entry->offset < best->offset)))
			best = entry;
		/* More of exactly this size may follow on the right, nearer to the offset. */
		node = node->child[entry->bytes == bytes];
	}
	return best;
}

struct seed_entry *seed_tree_search(struct seed_group *group, uint64_t offset, uint64_t bytes)
{
	struct seed_entry *entry = search_by_offset(group, offset, bytes);

	return entry ? entry : search_by_bytes(group, offset, bytes);
}

struct seed_entry *seed_tree_take(struct seed_group *group, struct seed_entry *entry,
				  uint64_t bytes)
{
	seed_tree_unlink(group, entry);
	if (entry->bytes == bytes)
		return entry;
	entry->offset += bytes;
	entry->bytes -= bytes;
	seed_tree_link(group, entry);
	return NULL;
}

void seed_tree_add(struct seed_group *group, struct seed_entry *spare, uint64_t offset,
		   uint64_t bytes, struct seed_entry *gone[2])
{
	struct rb_node *node = group->by_offset.node;
	struct seed_entry *left = NULL;
	struct seed_entry *right = NULL;

	while (node) {
		struct seed_entry *entry = ENTRY_BY_OFFSET(node);

		if (offset < entry->offset) {
			right = entry;
			node = node->child[0];
		} else {
			left = entry;
			node = node->child[1];
		}
	}
	gone[0] = NULL;
	gone[1] = NULL;
	spare->offset = offset;
	spare->bytes = bytes;
	if (left && left->offset + left->bytes == offset) {
		seed_tree_unlink(group, left);
		spare->offset = left->offset;
		spare->bytes += left->bytes;
		gone[0] = left;
	}
	if (right && right->offset == offset + bytes) {
		seed_tree_unlink(group, right);
		spare->bytes += right->bytes;
		gone[1] = right;
	}
	seed_tree_link(group, spare);
}

const uint64_t seed_empty_cluster = UINT64_C(2) << 20;

struct seed_groups *seed_groups_create(const struct bench_competitor *self,
				       const struct bench_space *space,
				       int (*add)(void *, size_t, uint64_t, uint64_t))
{
	size_t count = space->total_bytes / space->group_bytes;
	struct seed_groups *all = aligned_alloc(64, sizeof(*all));

	if (!all)
		return NULL;
	memset(all, 0, sizeof(*all));
	all->group_bytes = space->group_bytes;
	all->empty_cluster = self->context ? *(const uint64_t *)self->context : 0;
	all->groups = aligned_alloc(64, count * sizeof(struct seed_group));
	if (!all->groups) {
		free(all);
		return NULL;
	}
	memset(all->groups, 0, count * sizeof(struct seed_group));
	for (size_t i = 0; i < count; i++) {
		struct seed_group *group = &all->groups[i];

		pthread_mutex_init(&group->mutex, NULL);
		group->start = i * space->group_bytes;
		group->end = group->start + space->group_bytes;
		all->group_count = i + 1;
		if (space->all_free && add(all, i, group->start, space->group_bytes)) {
			seed_groups_destroy(all);
			return NULL;
		}
	}
	return all;
}

void seed_groups_destroy(void *state)
{
	struct seed_groups *all = state;

	for (size_t i = 0; i < all->group_count; i++) {
		struct seed_group *group = &all->groups[i];
		struct rb_node *node;

		while ((node = rb_first(&group->by_offset))) {
			rb_erase(&group->by_offset, node);
			free(ENTRY_BY_OFFSET(node));
		}
		pthread_mutex_destroy(&group->mutex);
	}
	free(all->groups);
	free(all);
}

void seed_groups_describe(void *state, struct bench_free_space *out)
{
	struct seed_groups *all = state;

	memset(out, 0, sizeof(*out));
	out->counts_locks = 1;
	for (size_t i = 0; i < all->group_count; i++) {
		struct seed_group *group = &all->groups[i];
		struct rb_node *node = rb_last(&group->by_bytes);

		if (node && ENTRY_BY_BYTES(node)->bytes > out->largest_run_bytes)
			out->largest_run_bytes = ENTRY_BY_BYTES(node)->bytes;
		for (node = rb_first(&group->by_offset); node; node = rb_next(node)) {
			out->free_extents++;
			out->free_bytes += ENTRY_BY_OFFSET(node)->bytes;
		}
		out->lock_taken += group->lock_taken;
		out->lock_contended += group->lock_contended;
	}
}
