/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_directory.h - which block group of a space info has a free run of which
 * size class, read and written with atomics, without a lock.
 *
 * Shape. A block covers 16 groups: for each size class a 16-bit word with one bit
 * a group. A node covers 64 blocks: for each class a word with one bit a block, and
 * a summary with one bit a class. Blocks are small so that threads that keep to different groups
 * write different cache lines.
 *
 * Steps. A class from 16 sectors on is cut into 8 steps, each one length as far as
 * 127 sectors: a byte for each class and group has a bit for each step that a run
 * is in. With them a claim finds a run of just its length, wherever it is, and not
 * only one of its class; that alone halves the number of free runs that an aged
 * allocator is left with.
 *
 * Truth. The directory is a hint; the truth is in a group's index under its
 * free-space lock. What holds:
 *   1. A group's bits in its block are exact whenever its lock is free: they are
 *      changed under that lock (bgs_group.c), by the group's holder only.
 *   2. A node's bit or summary bit may be set with nothing below it, for as long
 *      as nobody searched there: a search that finds it empty clears it.
 *   3. A step bit is set with every run that comes and cleared with every run that
 *      goes, although another one may be there still: it may lie both ways.
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

#define BGS_BLOCK_GROUPS  16
#define BGS_NODE_BLOCKS	  64
#define BGS_SUMMARY_WORDS (BGS_INDEX_CLASSES / 64)

struct bgs_block {
	/* Number of this block in its directory; never changes. */
	uint32_t number;
	/* Slots given up and free to be used again; under BGS_MUTEX_GROUPS. */
	uint16_t vacant;
	uint16_t pad0;
	/* The node above; never changes. */
	struct bgs_node *node;
	char pad[BGS_CACHE_LINE - 16];
	/* Bit s of bits[c]: the group in slot s has a run of class c. */
	uint16_t bits[BGS_INDEX_CLASSES];
	/* RCU: written under BGS_MUTEX_GROUPS. NULL: no group. */
	struct bgs_group *groups[BGS_BLOCK_GROUPS];
	/* Bit t of steps[c][s]: the group in slot s may have a run in step t of class c. */
	uint8_t steps[BGS_INDEX_CLASSES][BGS_BLOCK_GROUPS];
};

struct bgs_node {
	uint64_t summary[BGS_SUMMARY_WORDS];
	char pad[BGS_CACHE_LINE - 8 * BGS_SUMMARY_WORDS];
	uint64_t bits[BGS_INDEX_CLASSES];
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

/* Lengths from here on have steps, sectors; shorter ones have a class of their own. */
#define BGS_STEPS_FROM 16
#define BGS_STEPS      8

/* The step of a length in its class; 0 where the class is one length or open-ended. */
static inline unsigned bgs_step_of(uint32_t sectors)
{
	unsigned shift;

	if (sectors < BGS_STEPS_FROM || sectors >= BGS_INDEX_OPEN_CLASS)
		return 0;
	/* The class is 1 << shift lengths wide. */
	shift = 28u - (unsigned)__builtin_clz(sectors);
	sectors &= (1u << shift) - 1;
	return shift <= 3 ? sectors : sectors >> (shift - 3);
}

/* Note that a run of this length came or went. The group's free-space lock held. */
static inline void bgs_block_note(struct bgs_block *block, unsigned slot, uint32_t sectors,
				  bool came)
{
	uint8_t *steps, bit, now;

	/* One comparison: shorter than any step, or in the open-ended class. */
	if (sectors - BGS_STEPS_FROM >= BGS_INDEX_OPEN_CLASS - BGS_STEPS_FROM)
		return;
	steps = &block->steps[bgs_class_of(sectors)][slot];
	bit = (uint8_t)(1u << bgs_step_of(sectors));
	/* Atomic for searches, and for the slot's last owner, which may still be referenced. */
	now = __atomic_load_n(steps, __ATOMIC_RELAXED);
	__atomic_store_n(steps, (uint8_t)(came ? now | bit : now & ~bit), __ATOMIC_RELAXED);
}

void bgs_node_set(struct bgs_node *node, const struct bgs_block *block, unsigned size_class);

/* Set or clear a group's bit for a class. The group's free-space lock held. */
static inline void bgs_block_set(struct bgs_block *block, unsigned slot, unsigned size_class)
{
	struct bgs_node *node = block->node;

	/* The group's own bit is known to be clear, so adding sets it. */
	__atomic_fetch_add(&block->bits[size_class], (uint16_t)(1u << slot), __ATOMIC_SEQ_CST);
	/* Already said above, as nearly always? Invariant 4: both are read after the write. */
	if (!(__atomic_load_n(&node->bits[size_class], __ATOMIC_SEQ_CST) >>
		      (block->number % BGS_NODE_BLOCKS) &
	      1) ||
	    !(__atomic_load_n(&node->summary[size_class / 64], __ATOMIC_SEQ_CST) >>
		      (size_class % 64) &
	      1))
		bgs_node_set(node, block, size_class);
}

static inline void bgs_block_clear(struct bgs_block *block, unsigned slot, unsigned size_class)
{
	/* What is above is cleared by a search that finds it empty. */
	__atomic_fetch_sub(&block->bits[size_class], (uint16_t)(1u << slot), __ATOMIC_SEQ_CST);
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

/* Where in the order of lengths a search is: a class, and a step in it. */
struct bgs_fit {
	unsigned size_class;
	unsigned step;
	/* The class that the request is in: there only what has the step counts. */
	unsigned floor_class;
};

static inline struct bgs_fit bgs_fit_of(uint32_t need)
{
	struct bgs_fit fit;

	fit.size_class = bgs_class_of(need);
	fit.step = bgs_step_of(need);
	/* A class of one length holds what is in it; so does the open-ended one as far as we know.
	 */
	fit.floor_class = need < BGS_STEPS_FROM ? BGS_INDEX_CLASSES : fit.size_class;
	return fit;
}

bool bgs_directory_home_slow(struct bgs_directory *directory, struct bgs_lanes *lanes,
			     struct bgs_range *range_out);

/* Claims of a thread between two looks at the clock, a power of two. */
#define BGS_LANE_TICKS 1024

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
