/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_allocator.h - the shared state of one allocator: space infos, the table of
 * groups by address, magazines, and the claim that has no wish of its own.
 *
 * Policy (hints, bounds, exclusions, caching, chunks, retries) is Swift's, in
 * BGAllocation; it calls down here. What is here is the path that nearly every
 * claim and give-back takes, without a lock but the one group's.
 */
#ifndef BGS_ALLOCATOR_H
#define BGS_ALLOCATOR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bgs_cluster.h"
#include "bgs_directory.h"
#include "bgs_group.h"
#include "bgs_lock.h"
#include "bgs_magazine.h"
#include "bgs_paths.h"
#include "bgs_rcu.h"
#include "bgs_table.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Groups of one type and profile. Made when the first such group comes; stays. */
struct bgs_space {
	/* Type and profile bits; never change. */
	uint64_t flags;
	struct bgs_directory directory;
	struct bgs_lanes lanes;
};

/* Pairs of type and profile that there can be: 4 types, 9 profiles. */
#define BGS_SPACES_MAX 40

/* One thread asks for a chunk while others of the same type wait; under the state mutex. */
struct bgs_chunk_state {
	/* Counts the requests that ended; atomic for those who only look. */
	uint64_t generation;
	/* What the last one returned, 0 or a negative errno, and what it asked for. */
	int32_t result;
	uint32_t sectors;
	uint64_t flags;
	bool in_progress;
};

struct bgs_allocator {
	/* By the low three bits of a claim's flags: the only space it may come from, if there is
	 * one. */
	struct bgs_space *only_space[8];
	/* Never change: all of this line but the last. */
	struct bgs_magazine *magazines;
	uint32_t cpu_mask;
	/* Largest claim and give-back that goes through magazines, sectors; 0: they are not used.
	 */
	uint16_t magazine_max;
	uint8_t sector_shift;
	uint8_t pad0;
	/* bgs_window_type_of() of each type. */
	uint8_t window_type[8];
	/* How groups are claimed from and given back to on this CPU. */
	struct bgs_paths paths;
	/* RCU. */
	struct bgs_table *table;

	/* The Swift object around this; never changes. */
	void *owner;
	/* Append-only; entries below the count never change. Release store, acquire load. */
	uint32_t space_count;
	struct bgs_space *spaces[BGS_SPACES_MAX];

	/* Changes to the table, the spaces, the directories. */
	struct bgs_mutex groups_mutex;
	/* Caching states of all groups and chunk states; state_changed tells of every change. */
	struct bgs_mutex state_mutex;
	pthread_cond_t state_changed;
	/* By the low three bits of the flags. */
	struct bgs_chunk_state chunk[8];
};

#define BGS_FLAGS_TYPE	  UINT64_C(0x7)
#define BGS_FLAGS_PROFILE UINT64_C(0x7f8)
#define BGS_FLAGS_SINGLE  (UINT64_C(1) << 48)

/* Return: 0 or a negative errno. magazines: whether small claims use them. */
int bgs_allocator_create(uint32_t sector_shift, bool magazines,
			 struct bgs_allocator **allocator_out);
/* No other call under way; frees the groups whose last reference the lists hold. */
void bgs_allocator_destroy(struct bgs_allocator *allocator);

/*
 * Add a group; bounds and flags checked by the caller. cached: nothing in it is
 * free until told, but what is told is all there is. group_out: NULL, or receives
 * the group with a reference; looking it up afterwards might find another one.
 * Return: 0, -EEXIST, -ENOMEM.
 */
int bgs_allocator_add_group(struct bgs_allocator *allocator, uint64_t logical, uint64_t length,
			    uint64_t flags, bool cached, bool read_only, uint64_t super_bytes,
			    struct bgs_group **group_out);
/* Return: 0, -ENOENT, -EBUSY or -ENOMEM. Waits for a grace period; no lock held. */
int bgs_allocator_remove_group(struct bgs_allocator *allocator, uint64_t logical);

/* The group that holds an address, with a reference; NULL: none. */
struct bgs_group *bgs_allocator_get_group(struct bgs_allocator *allocator, uint64_t logical);
/* The first group that ends above an address, with a reference; NULL: none. */
struct bgs_group *bgs_allocator_get_next_group(struct bgs_allocator *allocator, uint64_t logical);

/* Whether a claim that asks for `wanted` may come from a group with `flags`. */
static inline bool bgs_flags_match(uint64_t flags, uint64_t wanted)
{
	uint64_t bits = wanted & ~BGS_FLAGS_SINGLE;

	return (flags & bits) == bits &&
	       !((wanted & BGS_FLAGS_SINGLE) && (flags & BGS_FLAGS_PROFILE));
}

/* The window that a claim of these flags uses. */
static inline unsigned bgs_window_type_of(uint64_t flags)
{
	/* A digit for each type: data is 1, system 2, metadata 4. */
	const uint32_t windows = BGS_WINDOW_MIXED * 0x11101001u + BGS_WINDOW_METADATA * 0x10000u +
				 BGS_WINDOW_SYSTEM * 0x100u + BGS_WINDOW_DATA * 0x10u;

	return windows >> 4 * (flags & BGS_FLAGS_TYPE) & 0xf;
}

static inline struct bgs_magazine *bgs_magazine_here(struct bgs_allocator *allocator)
{
	return &allocator->magazines[bgs_cpu() & allocator->cpu_mask];
}

/*
 * Claim without a wish, magazines first, then through the directories: the tightest
 * run near the thread's home. Return: 0, or -ENOSPC: the directories know of nothing.
 */
int bgs_allocator_claim(struct bgs_allocator *allocator, uint64_t flags, uint32_t sectors,
			uint32_t need, uint64_t *sector_out);

/* A claim of the usual kind: no wish, no profile, one space that can serve it. */
struct bgs_usual {
	/* NULL: it is none; whoever checks and searches more thoroughly must decide. */
	struct bgs_space *space;
	uint32_t sectors;
	/* The type that was asked for. */
	uint32_t flags;
};

/* By value, here and below: a local whose address Swift takes costs a stack protector. */
static __attribute__((always_inline)) inline struct bgs_usual
bgs_allocator_usual(struct bgs_allocator *allocator, uint64_t flags, uint64_t length)
{
	const struct bgs_usual none = {NULL, 0, 0};
	unsigned shift = allocator->sector_shift;
	uint64_t sectors = bgs_turned_sectors(length, shift);
	struct bgs_space *space;

	if (__builtin_expect(flags > BGS_FLAGS_TYPE, 0))
		return none;
	/* No group has bad flags, so a space that matches says that these are not. */
	space = bgs_dereference(allocator->only_space[flags]);
	if (__builtin_expect(!space || sectors - 1 >= BGS_USUAL_MAX, 0))
		return none;
	return (struct bgs_usual){space, (uint32_t)sectors, (uint32_t)flags};
}

/*
 * Serve it from this processor's window, in one try, or through a group's lock. Return: 0 or
 * -ENOSPC: a whole search must decide.
 */
static inline int bgs_allocator_claim_usual(struct bgs_allocator *allocator, struct bgs_usual usual,
					    struct bgs_extent *extent_out)
{
	if (usual.sectors <= allocator->magazine_max) {
		struct bgs_magazine *magazine = bgs_magazine_here(allocator);
		unsigned type = allocator->window_type[usual.flags];

		/* One look, so that nobody calls for an empty window. */
		if (bgs_word_bits(__atomic_load_n(&magazine->word[type], __ATOMIC_RELAXED))) {
			uint64_t sector = bgs_magazine_claim(magazine, type, 0, usual.sectors, 1);

			if (sector != BGS_SECTOR_NONE) {
				extent_out->logical = sector << allocator->sector_shift;
				extent_out->length = (uint64_t)usual.sectors
						     << allocator->sector_shift;
				return 0;
			}
		}
	}
	return allocator->paths.claim(allocator, usual.space, usual.sectors, extent_out);
}

/*
 * The same for a struct bg_claim_options of blockgroups.h, seen as words: its size with the
 * reserved bytes, flags, length, and wishes that are 0 where there are none.
 */
#define BGS_CLAIM_WORDS 11

enum bgs_plain_claim {
	BGS_PLAIN_SERVED,
	/* Left to bgs_allocator_claim_plain_rest(). */
	BGS_PLAIN_REST,
	/* A claim with wishes, or a bad one. */
	BGS_PLAIN_NOT,
};

/* Serves one sector from this processor's window, and nothing else: no call, no register saved. */
static __attribute__((always_inline)) inline enum bgs_plain_claim
bgs_allocator_claim_plain(struct bgs_allocator *allocator, const uint64_t *words,
			  struct bgs_extent *extent_out)
{
	uint64_t flags, length, sector;

	/* The size first: a caller's struct may be a smaller one. */
	if (__builtin_expect(words[0] != 8 * BGS_CLAIM_WORDS, 0))
		return BGS_PLAIN_NOT;
	if (__builtin_expect((words[3] | words[4] | words[5] | words[6] | words[7] | words[8] |
			      words[9] | words[10]) != 0,
			     0))
		return BGS_PLAIN_NOT;
	/* Each read once: what was checked is what is used. */
	flags = __atomic_load_n(&words[1], __ATOMIC_RELAXED);
	length = __atomic_load_n(&words[2], __ATOMIC_RELAXED);
	/* A space that matches says that the flags are good. */
	if (bgs_turned_sectors(length, allocator->sector_shift) != 1 ||
	    __builtin_expect(flags > BGS_FLAGS_TYPE, 0) ||
	    __builtin_expect(!bgs_dereference(allocator->only_space[flags]), 0) ||
	    !bgs_magazine_claim_one(bgs_magazine_here(allocator), allocator->window_type[flags],
				    &sector))
		return BGS_PLAIN_REST;
	extent_out->logical = sector << allocator->sector_shift;
	extent_out->length = length;
	return BGS_PLAIN_SERVED;
}

/* Return: 0 or -ENOSPC: a whole search must decide, also whether the claim is a good one. */
static inline int bgs_allocator_claim_plain_rest(struct bgs_allocator *allocator,
						 const uint64_t *words,
						 struct bgs_extent *extent_out)
{
	struct bgs_usual usual =
		bgs_allocator_usual(allocator, __atomic_load_n(&words[1], __ATOMIC_RELAXED),
				    __atomic_load_n(&words[2], __ATOMIC_RELAXED));

	return usual.space ? bgs_allocator_claim_usual(allocator, usual, extent_out) : -ENOSPC;
}

/* The same as bgs_allocator_give_back(), through the lock. */
int bgs_allocator_give_back_locked(struct bgs_allocator *allocator, uint64_t logical,
				   uint64_t length);

/*
 * Bytes. Return: 0, -EINVAL (not whole sectors, in no group, across its end, more than is claimed)
 * or -EEXIST.
 */
static __attribute__((always_inline)) inline int
bgs_allocator_give_back(struct bgs_allocator *allocator, uint64_t logical, uint64_t length)
{
	unsigned shift = allocator->sector_shift;
	uint64_t sector = bgs_turned_sectors(logical, shift);
	uint64_t sectors = bgs_turned_sectors(length, shift);

	if (sectors - 1 < allocator->magazine_max) {
		int ret = bgs_magazine_give_back(bgs_magazine_here(allocator), sector,
						 (uint32_t)sectors);

		if (ret != -EAGAIN)
			return ret;
	}
	return bgs_allocator_give_back_locked(allocator, logical, length);
}

/* Space infos: those below the count stay. */
static inline uint32_t bgs_allocator_space_count(const struct bgs_allocator *allocator)
{
	return __atomic_load_n(&allocator->space_count, __ATOMIC_ACQUIRE);
}

static inline struct bgs_space *bgs_allocator_space(const struct bgs_allocator *allocator,
						    uint32_t index)
{
	return allocator->spaces[index];
}

/*
 * Groups of one space in list order, each with a reference: position starts at 0.
 * NULL at the end.
 */
struct bgs_group *bgs_space_get_next(struct bgs_space *space, uint32_t *position);

/*
 * Caching: true when this thread is to read the group's free space and end with
 * bgs_caching_end(); false: it has been done, here or by the thread waited for, or
 * it is this very thread that is doing it (a hook that looks at its own group).
 */
bool bgs_caching_begin(struct bgs_allocator *allocator, struct bgs_group *group);
void bgs_caching_end(struct bgs_allocator *allocator, struct bgs_group *group, int error);

/* What a search must have seen before it may ask for a chunk. */
uint64_t bgs_chunk_generation(struct bgs_allocator *allocator, uint64_t flags);
/*
 * true: this thread calls the hook and ends with bgs_chunk_end(). false: somebody
 * else did since `generation`, with *result_out, which answers this request too: a
 * chunk came, or was refused to a request of the same flags for no more sectors.
 */
bool bgs_chunk_begin(struct bgs_allocator *allocator, uint64_t flags, uint32_t sectors,
		     uint64_t generation, int *result_out);
void bgs_chunk_end(struct bgs_allocator *allocator, uint64_t flags, int result);

/* Times that free-space locks were taken, and found taken, in all groups. */
void bgs_allocator_lock_counts(struct bgs_allocator *allocator, uint64_t *taken_out,
			       uint64_t *contended_out);

/* Memory of all groups and their indexes, bytes. */
uint64_t bgs_allocator_bytes(struct bgs_allocator *allocator);

#ifdef __cplusplus
}
#endif

#endif
