/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seed_groups.h - block groups and their free-space trees as btrfs had them in 2008.
 *
 * Each group keeps its free extents twice: by offset and by size. seed_before.c
 * and seed_after.c differ only in how they lock around these.
 *
 * Invariants:
 *   1. Every entry is in both trees of its group.
 *   2. Entries of a group are disjoint and never touch: touching ones are merged.
 * Locks: seed_tree_*() need the lock of the group.
 * The hint of a claim is where the last claim ended, by whatever thread: what the
 * kernel's last_alloc did for trees, and the nearest thing to a file that grows.
 * A result beyond the hint is refused, so the hint serves what continues the last
 * claim; everything else goes through the groups in list order.
 *
 * Not here: caching from disk, chunk allocation, stripes (alignment is one
 * sector), read-only groups; the list of groups never changes.
 */
#ifndef BENCH_SEED_GROUPS_H
#define BENCH_SEED_GROUPS_H

#include "bench_competitor.h"
#include "red_black_tree.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct seed_entry {
	struct rb_node by_offset;
	struct rb_node by_bytes;
	uint64_t offset;
	uint64_t bytes;
};

struct seed_group {
	uint64_t start;
	uint64_t end; /* exclusive */
	struct rb_root by_offset;
	struct rb_root by_bytes;
	/* Guarded by the lock of the group. */
	uint64_t lock_taken;
	uint64_t lock_contended;
	/* References: written by every search that passes by. */
	_Alignas(64) atomic_int count;
	_Alignas(64) pthread_mutex_t mutex; /* seed-before */
	atomic_bool spin;		    /* seed-after */
};

struct seed_groups {
	struct seed_group *groups;
	size_t group_count;
	uint64_t group_bytes;
	/*
	 * How much more room a search away from the hint asks for at first. The
	 * kernel asked for 2 MiB; that visits every group twice once no group has
	 * that much in one piece, so the controls of the table ask for none and
	 * seed-before-cluster and seed-after-cluster follow it to the letter.
	 */
	uint64_t empty_cluster;
	/* Stands for groups_sem, which every search takes for reading. */
	_Alignas(64) atomic_long readers;
	/* Where the last claim ended: the next one's hint. Racy on purpose, as it was. */
	_Alignas(64) _Atomic uint64_t last_alloc;
};

/*
 * Find an entry of at least so many bytes: first along one path of the offset
 * tree, the lowest at or above offset or the one that holds it; then the tightest
 * along one path of the size tree. It may begin below offset. NULL: none.
 */
struct seed_entry *seed_tree_search(struct seed_group *group, uint64_t offset, uint64_t bytes);
/* Take bytes from the front. Returns the entry when it is used up, to be freed by the caller. */
struct seed_entry *seed_tree_take(struct seed_group *group, struct seed_entry *entry,
				  uint64_t bytes);
/*
 * Add a range, merging it with what it touches. spare becomes the entry.
 * Up to two entries that were merged away come back in gone[], to be freed.
 */
void seed_tree_add(struct seed_group *group, struct seed_entry *spare, uint64_t offset,
		   uint64_t bytes, struct seed_entry *gone[2]);

/* The kernel's empty_cluster. */
extern const uint64_t seed_empty_cluster;

/* add() is the competitor's own add_free(), with its lock; self->context: empty_cluster. */
struct seed_groups *seed_groups_create(const struct bench_competitor *self,
				       const struct bench_space *space,
				       int (*add)(void *, size_t, uint64_t, uint64_t));
void seed_groups_destroy(void *state);
void seed_groups_describe(void *state, struct bench_free_space *out);

/* One attempt to claim inside a group; a result above hint_limit is refused. */
typedef bool (*seed_find)(struct seed_group *group, uint64_t search_start, uint64_t bytes,
			  uint64_t empty_size, uint64_t hint_limit, uint64_t *address_out);

/*
 * find_free_extent() in the seed's order: the hint's group; every group in list
 * order with empty_cluster to spare, where that is not 0; every group without. Inline, so that find
 * is a direct call in each of the two files.
 */
static inline int seed_find_free_extent(struct seed_groups *all, uint64_t bytes,
					uint64_t *address_out, seed_find find)
{
	uint64_t hint = atomic_load_explicit(&all->last_alloc, memory_order_relaxed);
	size_t hint_group = hint / all->group_bytes;
	uint64_t empty_size = all->empty_cluster;
	bool found = false;

	atomic_fetch_add_explicit(&all->readers, 1, memory_order_acquire);
	if (hint_group < all->group_count) {
		struct seed_group *group = &all->groups[hint_group];

		atomic_fetch_add_explicit(&group->count, 1, memory_order_relaxed);
		found = find(group, hint, bytes, 0, hint, address_out);
		atomic_fetch_sub_explicit(&group->count, 1, memory_order_release);
	}
	for (int round = empty_size == 0; !found && round < 2; round++, empty_size = 0) {
		for (size_t i = 0; !found && i < all->group_count; i++) {
			struct seed_group *group = &all->groups[i];

			atomic_fetch_add_explicit(&group->count, 1, memory_order_relaxed);
			found = find(group, group->start, bytes, empty_size, UINT64_MAX,
				     address_out);
			atomic_fetch_sub_explicit(&group->count, 1, memory_order_release);
		}
	}
	atomic_fetch_sub_explicit(&all->readers, 1, memory_order_release);
	if (!found)
		return -1;
	atomic_store_explicit(&all->last_alloc, *address_out + bytes, memory_order_relaxed);
	return 0;
}

#endif
