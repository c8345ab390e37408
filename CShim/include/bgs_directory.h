/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_directory.h - which block group of a space info has a free run of which
 * length, read and written with atomics, without a lock.
 *
 * Bins. Lengths are sorted into bins: one for each length up to 127 sectors, then 64
 * an octave (1.6 % wide) up to 8191, 8 an octave up to 131071, and one for all above.
 * So fine, a search finds a run of just its length, wherever it is; that alone
 * halves the number of free runs that an aged allocator is left with. The last one
 * is so wide that a group that is nearly whole does not change its bin all the time.
 *
 * Shape. A block covers 16 groups: for each bin a 16-bit word with one bit a group. A
 * node covers 64 blocks: for each bin a word with one bit a block, and a summary with
 * one bit a bin. Blocks are small so that threads that keep to different groups write
 * different cache lines.
 *
 * Truth. The directory is a hint; the truth is in a group's index under its
 * free-space lock. What holds:
 *   1. A claimable group's bit is set for every bin that it has a run in, whenever its
 *      lock is free: bits are set and cleared under that lock, by its holder only. While
 *      bgs_group_announce() is under way, some may still be missing.
 *   2. It may be set with no such run, for as long as nobody claims from the group
 *      because of it: a claim that is disappointed clears it.
 *   3. A node's bit or summary bit may be set with nothing below it, for as long as
 *      nobody searched there: a search that finds it empty clears it. (In a node of few
 *      blocks one that finds the bin in another block has not looked.)
 *   4. A set bit below is never missed above for longer than the call that set it.
 *      Setters write below, then read above; clearers write above, then read
 *      below and set it again if they must; all four are sequentially consistent.
 *
 * Lanes. Each thread has a home, a part of the groups; it looks there first. With
 * one active thread the home is everything. See bgs_directory_home().
 *
 * Growth. Blocks never move; the arrays of pointers to them are replaced under
 * BGS_MUTEX_GROUPS and the old ones kept until the directory goes (their sizes
 * double, so together they are no larger than the last).
 */
#ifndef BGS_DIRECTORY_H
#define BGS_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "bgs_index.h"
#include "bgs_percpu.h"
#include "bgs_rcu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bgs_group;

#define BGS_BLOCK_GROUPS 16
#define BGS_NODE_BLOCKS	 64

/* Lengths from which on bins are coarse, and from which on there is only one. */
#define BGS_BIN_COARSE 8192u
#define BGS_BIN_OPEN   131072u
#define BGS_BINS       544
#define BGS_BIN_WORDS  ((BGS_BINS + 63) / 64)

/* The bin of a length. sectors > 0. */
static inline unsigned bgs_bin_of(uint32_t sectors)
{
	unsigned shift;

	if (__builtin_expect(sectors >= BGS_BIN_COARSE, 0)) {
		if (sectors >= BGS_BIN_OPEN)
			return BGS_BINS - 1;
		shift = 28u - (unsigned)__builtin_clz(sectors);
		return 423u + 8u * shift + (sectors >> shift);
	}
	shift = 25u - (unsigned)__builtin_clz(sectors | 64u);
	return 64u * shift + (sectors >> shift) - 1u;
}

/* The shortest length of a bin; one past the last bin: more than any length. */
static inline uint32_t bgs_bin_first(unsigned bin)
{
	unsigned shift = (bin + 1u) / 64u;

	if (bin < 127u)
		return bin + 1u;
	if (__builtin_expect(bin < 511u, 1))
		return (bin + 1u - 64u * (shift - 1u)) << (shift - 1u);
	if (bin >= BGS_BINS)
		return UINT32_MAX;
	return (8u + (bin - 511u) % 8u) << (10u + (bin - 511u) / 8u);
}

/* The longest length of a bin. */
static inline uint32_t bgs_bin_last(unsigned bin)
{
	return bin < 126u ? bin + 1u : bgs_bin_first(bin + 1u) - 1u;
}

struct bgs_block {
	/* Number of this block in its directory; never changes. */
	uint32_t number;
	/* Slots given up and free to be used again; under BGS_MUTEX_GROUPS. */
	uint16_t vacant;
	uint16_t pad0;
	/* The node above; never changes. */
	struct bgs_node *node;
	char pad[BGS_CACHE_LINE - 16];
	/* RCU: written under BGS_MUTEX_GROUPS. NULL: no group. */
	struct bgs_group *groups[BGS_BLOCK_GROUPS];
	/* Bit s of bits[b]: the group in slot s has a run in bin b. */
	uint16_t bits[BGS_BINS];
};

/* A node of so few blocks is searched without its bits: see find_in_few(). */
#define BGS_FEW_BLOCKS 4

struct bgs_node {
	uint64_t summary[BGS_BIN_WORDS];
	/* The first blocks, those that are not there as one without any group; the first is NULL
	 * once the node has more. RCU: written under BGS_MUTEX_GROUPS. */
	struct bgs_block *few[BGS_FEW_BLOCKS];
	char pad[2 * BGS_CACHE_LINE - 8 * (BGS_BIN_WORDS + BGS_FEW_BLOCKS)];
	uint64_t bits[BGS_BINS];
	/* Written before the directory counts the block; never change then. */
	struct bgs_block *blocks[BGS_NODE_BLOCKS];
};

/* Threads seen lately, and how the groups are shared out between them. */
#define BGS_LANE_SLOTS 64
struct bgs_lanes {
	/* Lanes in use, at least 1; read by every claim, written rarely. */
	uint32_t count;
	/* Lane of the thread with this ordinal modulo BGS_LANE_SLOTS, plus one; 0: none yet. */
	uint8_t lane_of[BGS_LANE_SLOTS];
	/* When it last claimed, coarse milliseconds, never 0; 0: not seen. */
	uint32_t seen_ms[BGS_LANE_SLOTS];
};

struct bgs_directory {
	/* Block pointers and their number: readers load the count first, acquire. */
	struct bgs_block **blocks;
	uint32_t block_count;
	uint32_t block_capacity;
	struct bgs_node **nodes;
	uint32_t node_count;
	/* Groups in it now; under BGS_MUTEX_GROUPS. */
	uint32_t group_count;
	/* Slots ever used; written under BGS_MUTEX_GROUPS, release, once their block is there. */
	uint32_t slot_count;
	/* The first node while there is no other, else NULL. */
	struct bgs_node *only_node;
	/* Arrays that were replaced; freed with the directory. */
	void *retired[64];
	uint32_t retired_count;
};

int bgs_directory_init(struct bgs_directory *directory);
void bgs_directory_destroy(struct bgs_directory *directory);

/*
 * Take a slot for a group: the lowest that is free, so list order is the order of
 * adding. bgs_directory_link() makes the group reachable there, bgs_directory_unlink()
 * unreachable again; a slot that was linked may be used again only after a grace
 * period, which bgs_directory_slot_free() says is over. BGS_MUTEX_GROUPS held.
 *
 * Return: 0 or -ENOMEM.
 */
int bgs_directory_slot_take(struct bgs_directory *directory, struct bgs_block **block_out,
			    uint8_t *slot_out);
void bgs_directory_link(struct bgs_block *block, unsigned slot, struct bgs_group *group);
void bgs_directory_unlink(struct bgs_block *block, unsigned slot);
void bgs_directory_slot_free(struct bgs_directory *directory, struct bgs_block *block,
			     unsigned slot);

void bgs_node_set(struct bgs_node *node, const struct bgs_block *block, unsigned bin);

/* Whether the group in a slot is said to have a run in a bin. */
static inline bool bgs_block_has(const struct bgs_block *block, unsigned slot, unsigned bin)
{
	return __atomic_load_n(&block->bits[bin], __ATOMIC_RELAXED) >> slot & 1;
}

/* Say that it has, or that it has none any more. The group's free-space lock held. */
static inline void bgs_block_set(struct bgs_block *block, unsigned slot, unsigned bin)
{
	struct bgs_node *node = block->node;

	/* Only the holder of the group's lock changes its bit. */
	if (bgs_block_has(block, slot, bin))
		return;
	__atomic_fetch_or(&block->bits[bin], (uint16_t)(1u << slot), __ATOMIC_SEQ_CST);
	/* Already said above, as nearly always? Invariant 4: both are read after the write. */
	if (!(__atomic_load_n(&node->bits[bin], __ATOMIC_SEQ_CST) >>
		      (block->number % BGS_NODE_BLOCKS) &
	      1) ||
	    !(__atomic_load_n(&node->summary[bin / 64], __ATOMIC_SEQ_CST) >> (bin % 64) & 1))
		bgs_node_set(node, block, bin);
}

static inline void bgs_block_clear(struct bgs_block *block, unsigned slot, unsigned bin)
{
	/* What is above is cleared by a search that finds it empty. */
	if (bgs_block_has(block, slot, bin))
		__atomic_fetch_and(&block->bits[bin], (uint16_t) ~(1u << slot), __ATOMIC_SEQ_CST);
}

/* The part of a directory that a search looks at: blocks [first, last], some slots of each. */
struct bgs_range {
	uint32_t first, last;
	uint16_t slots;
};

/* All of it. false: the directory has no block. Inside a read section. */
static inline bool bgs_directory_all(const struct bgs_directory *directory,
				     struct bgs_range *range_out)
{
	uint32_t count = __atomic_load_n(&directory->block_count, __ATOMIC_ACQUIRE);

	range_out->first = 0;
	range_out->last = count - 1;
	range_out->slots = 0xffff;
	return count != 0;
}

bool bgs_directory_home_slow(struct bgs_directory *directory, struct bgs_lanes *lanes,
			     struct bgs_range *range_out);

/* Claims of a thread between two looks at the clock, a power of two. */
#define BGS_LANE_TICKS 1024

/* The node that is all of the calling thread's home; NULL: the home must be worked out. */
static inline struct bgs_node *bgs_directory_home_node(const struct bgs_directory *directory,
						       const struct bgs_lanes *lanes)
{
	uint32_t ticks = bgs_thread_self.ticks;

	if (__builtin_expect(__atomic_load_n(&lanes->count, __ATOMIC_RELAXED) != 1, 0))
		return NULL;
	if (__builtin_expect(ticks % BGS_LANE_TICKS == 0, 0))
		return NULL;
	bgs_thread_self.ticks = ticks + 1;
	return bgs_dereference(directory->only_node);
}

/* The home range of the calling thread. false: as bgs_directory_all(). */
static inline bool bgs_directory_home(struct bgs_directory *directory, struct bgs_lanes *lanes,
				      struct bgs_range *range_out)
{
	uint32_t tick = bgs_thread_self.ticks++;

	if (__builtin_expect(__atomic_load_n(&lanes->count, __ATOMIC_RELAXED) == 1 &&
				     tick % BGS_LANE_TICKS != 0,
			     1))
		return bgs_directory_all(directory, range_out);
	return bgs_directory_home_slow(directory, lanes, range_out);
}

/*
 * The group in list order at or after a position; *position becomes the one after
 * it. Inside a read section; NULL at the end.
 */
struct bgs_group *bgs_directory_next(struct bgs_directory *directory, uint32_t *position);

#ifdef __cplusplus
}
#endif

#endif
