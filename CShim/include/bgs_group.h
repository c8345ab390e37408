/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group.h - one block group: its free space, its state, its references.
 *
 * This is the seed's block group: the free-space lock is held only while the
 * index is touched, finding space claims it, and what is not used must be given
 * back.
 *
 * Life: made by bgs_allocator_add_group(); reachable under RCU through the table
 * and a directory; removed by bgs_allocator_remove_group(), which unlinks it,
 * waits for a grace period and drops the list's reference; freed with the last
 * reference.
 *
 * Invariants, with the free-space lock free:
 *   1. A sector is in at most one of: the index, an open window's bits, the unused
 *      part of a cluster, the last claim once it came back. Together they are what is free.
 *   2. added_sectors counts what add_free_space() has put in and
 *      remove_free_space() has not taken out. Claims move nothing of it, so
 *      claimed = added - free.
 *   3. The directory says of this group which bins its runs are in while it is
 *      claimable, that is cached, writable and not removed, else nothing
 *      (bgs_directory.h, Truth).
 *
 * Sectors here are absolute: logical address >> sector shift. The index counts
 * from the group's first.
 */
#ifndef BGS_GROUP_H
#define BGS_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bgs_directory.h"
#include "bgs_index.h"
#include "bgs_lock.h"
#include "bgs_magazine.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bgs_allocator;
struct bgs_space;
struct bgs_cluster;

enum bgs_caching {
	BGS_CACHING_NONE,
	BGS_CACHING_STARTED,
	BGS_CACHING_FINISHED,
	BGS_CACHING_ERROR,
};

#define BGS_GROUP_READ_ONLY (1u << 0)
#define BGS_GROUP_REMOVED   (1u << 1)

struct bgs_group {
	/* Guards everything down to `clusters`. Line 0 is what every call touches. */
	struct bgs_spin lock;
	/* Place in the directory; never changes. */
	struct bgs_block *block;
	/* Never changes. */
	uint64_t first_sector;
	/* Sectors that were said to be free, claimed or not. */
	uint32_t added_sectors;
	/*
	 * The last claim, or 0 when something else happened to the index since: see "The
	 * last claim" in bgs_group_locked.h. Read without the lock as a hint.
	 */
	uint32_t last;
	/* Where it begins, relative to the group. */
	uint32_t last_start;
	uint8_t slot;
	/* 1 when cached, writable and not removed. */
	uint8_t claimable;
	/* 0: `lent` and `clusters` are empty. */
	uint8_t lends;
	/* BGS_GROUP_*; relaxed atomic for readers without the lock. */
	uint8_t state;
	/* The allocator's; never changes. */
	uint8_t sector_shift;
	/* enum bgs_caching; changes under the allocator's state mutex and this lock. */
	uint8_t caching;
	/* What kept the group from being cached: a negative errno; with `caching`. */
	int32_t cache_error;

	/* From line 1 on. */
	struct bgs_index index;
	/* Open windows that this group lends. */
	struct bgs_window *lent;
	/* Its clusters. */
	struct bgs_cluster *clusters;

	/* Never change. */
	struct bgs_allocator *allocator;
	struct bgs_space *space;
	uint64_t logical;
	uint64_t length;
	uint64_t flags;
	/* Ordinal of the thread that reads the free space; under the state mutex. */
	uint32_t cacher;
	/* References; the lists hold one. Atomic. */
	uint32_t references;
	/* Bytes kept out of the free space for super block copies; for explanations. */
	uint64_t super_bytes;
} __attribute__((aligned(BGS_CACHE_LINE)));

/* Without the padding at the end, which is not allocated: with malloc's 8 bytes it is whole lines,
 * and groups then lie one behind the other with nothing in between. */
#define BGS_GROUP_BYTES (10 * BGS_CACHE_LINE - 8)

/* Number of sectors; never changes. */
static inline uint32_t bgs_group_sectors(const struct bgs_group *group)
{
	return group->index.sectors;
}

/*
 * Bytes as sectors. Turned, not shifted: what is not whole sectors is then more of them than
 * anything has, and one comparison finds that out too. shift: 9 to 16.
 */
static inline uint64_t bgs_turned_sectors(uint64_t bytes, unsigned shift)
{
	/* One instruction to both compilers. */
	return bytes >> (shift & 63) | bytes << (-shift & 63);
}

/* What a claim in one group asks for. Sectors. */
struct bgs_wish {
	uint32_t sectors;
	/* The run must have this many, at least `sectors`. */
	uint32_t need;
	/* 0 or 1: none. Of the absolute sector. */
	uint64_t alignment;
	/* Absolute bounds; from 0 to UINT64_MAX: none. */
	uint64_t from;
	uint64_t end;
};

/*
 * All of these take the free-space lock themselves. Ranges lie inside the group.
 * Errors: negative errno; a refused call changes nothing.
 */
/* 0 or -ENOENT. */
int bgs_group_remove(struct bgs_group *group, uint64_t sector, uint64_t sectors);
/*
 * Claimed sectors now belong to somebody who will say bgs_group_add() when they are
 * free again: they no longer count as claimed. 0, or -EINVAL: more than is claimed.
 */
int bgs_group_own(struct bgs_group *group, uint64_t sectors);
/* 0, -EEXIST, or -EINVAL: more than is claimed. */
int bgs_group_give_back(struct bgs_group *group, uint64_t sector, uint64_t sectors);
/* find_space_for_alloc: 0, -ENOSPC, -EROFS, or -EAGAIN: not cached. */
int bgs_group_claim(struct bgs_group *group, const struct bgs_wish *wish, uint64_t *sector_out);
void bgs_group_set_read_only(struct bgs_group *group, bool read_only);
bool bgs_group_is_read_only(const struct bgs_group *group);

/*
 * Fields for Swift, which does not import a type of this alignment. The first five
 * never change; caching is a snapshot, cache_error counts once that is ERROR.
 */
static inline uint64_t bgs_group_logical(const struct bgs_group *group)
{
	return group->logical;
}

static inline uint64_t bgs_group_length(const struct bgs_group *group)
{
	return group->length;
}

static inline uint64_t bgs_group_flags(const struct bgs_group *group)
{
	return group->flags;
}

static inline uint64_t bgs_group_super_bytes(const struct bgs_group *group)
{
	return group->super_bytes;
}

static inline struct bgs_allocator *bgs_group_allocator(const struct bgs_group *group)
{
	return group->allocator;
}

static inline bool bgs_group_is_removed(const struct bgs_group *group)
{
	return __atomic_load_n(&group->state, __ATOMIC_RELAXED) & BGS_GROUP_REMOVED;
}

static inline uint32_t bgs_group_caching(const struct bgs_group *group)
{
	return __atomic_load_n(&group->caching, __ATOMIC_ACQUIRE);
}

static inline int bgs_group_cache_error(const struct bgs_group *group)
{
	return bgs_group_caching(group) == BGS_CACHING_ERROR ? group->cache_error : 0;
}

struct bgs_group_numbers {
	uint64_t free_sectors, added_sectors, run_count;
	uint32_t largest_run;
	uint32_t state;
	uint32_t caching;
	/* Memory of the index, bytes. */
	uint64_t index_bytes;
	uint64_t lock_taken, lock_contended;
};
/* Calls windows back, so that runs are whole. */
void bgs_group_numbers(struct bgs_group *group, struct bgs_group_numbers *numbers_out);
/* Free sectors, lent ones included, which it leaves where they are. */
uint64_t bgs_group_free_sectors(struct bgs_group *group);
/* Whether any of a range is free, lent or not; leaves windows where they are. */
bool bgs_group_has_free(struct bgs_group *group, uint64_t sector, uint64_t sectors);
/* First free run that ends above an absolute sector, whole; false: none. Calls windows back. */
bool bgs_group_next_free(struct bgs_group *group, uint64_t from, uint64_t *sector_out,
			 uint64_t *sectors_out);

/* Take back every window and cluster. Return: whether anything came back. */
bool bgs_group_recall(struct bgs_group *group);
/* The same with the free-space lock held, taken by group_lock(). */
bool bgs_group_recall_locked(struct bgs_group *group);

/* Take back one window, unless the group has none such any more. */
void bgs_group_recall_window(struct bgs_group *group, struct bgs_window *window);

/*
 * Mark removed, so that nothing is claimed any more. Return: 0, or -EBUSY when
 * claims are out, or it is just being cached, and force is not set.
 */
int bgs_group_freeze(struct bgs_group *group, bool force);
/* Undo it. */
void bgs_group_thaw(struct bgs_group *group);

/* References. try: false when the last is gone. put frees with the last. */
bool bgs_group_try_get(struct bgs_group *group);
void bgs_group_get(struct bgs_group *group);
void bgs_group_put(struct bgs_group *group);

/* Caching ended with 0 or a negative errno: publish, or pass the group by. State mutex held. */
void bgs_group_finish_caching(struct bgs_group *group, int error);

#ifdef __cplusplus
}
#endif

#endif
