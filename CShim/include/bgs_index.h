/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index.h - the free space of one block group, in memory.
 *
 * Holds every free sector of a group exactly once, as maximal runs. Units are sectors relative to
 * the group's start. Adding, removing and claiming allocate nothing and never fail for memory:
 * address space is reserved by bgs_index_init(), pages come at first touch.
 *
 * Two forms with one interface, switched by the index itself:
 *   runs    up to 16 runs lie in the struct; beyond that a B+-tree of leaves of 32 runs, its root
 * of 16 slots in the struct. Every interior node says exactly, per size class, which of its slots
 * hold a run of the class. bitmap  one bit a sector with any/full summaries over it, 64 to 1;
 * chosen once the tree's nodes are nearly as large, or early when adds in address order are so
 * dense that they will be; left when the runs would cost half of it (or, after an early change, are
 * half as many or half as dense).
 *
 * Invariants (bgs_index_check() verifies all of them):
 *   1. Runs are disjoint, lie inside the group, and no two touch.
 *   2. free_sectors and run_count are exact; present bit c is set if and only if there is a run of
 * class c.
 *   3. Tree: keys are the first start below their slot; where[c] is exact; pads are
 *      BGS_INDEX_PAD (start) and 0 (length).
 *   4. Bitmap: counts are exact; a where bit may be stale (set without a run), never missing.
 *
 * Locks: none here. The caller holds the group's tree lock around every call, except for
 * init, destroy and bgs_index_trim_run(). No function but those makes a system call.
 *
 * Cache lines: line 0 is counters, form and addresses; line 1 the root's keys; line 2 its children
 * (or, with 16 runs or fewer, lengths); lines 3-6 the root's class table, 32 classes a line; the
 * rest is touched only when the tree changes shape or in the bitmap form.
 */
#ifndef BGS_INDEX_H
#define BGS_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BGS_INDEX_CLASSES     120
#define BGS_INDEX_SLOTS	      16
#define BGS_INDEX_PAD	      0x7fffffffu
#define BGS_INDEX_SECTORS_MAX 0x7fffffffu
/* Every run this long or longer is in the last class. */
#define BGS_INDEX_OPEN_CLASS 131072u

/* The shortest length that shares its class, and its bin, with others. */
#define BGS_CLASS_OCTAVES 16u

/* The class of a run: lengths 1..15 are classes 0..14, then 8 classes an octave. @sectors > 0. */
static inline unsigned bgs_class_of(uint32_t sectors)
{
	uint32_t clamped = sectors < BGS_INDEX_OPEN_CLASS ? sectors : BGS_INDEX_OPEN_CLASS;
	unsigned shift = 28u - (unsigned)__builtin_clz(clamped | 8u);

	return 8u * shift + (clamped >> shift) - 1u;
}

/* The first class all of whose runs hold @sectors; BGS_INDEX_CLASSES if there is none. */
static inline unsigned bgs_class_fit(uint32_t sectors)
{
	return sectors <= 1u ? 0u : bgs_class_of(sectors - 1u) + 1u;
}

/* An interior node, also the root. With 16 runs or fewer the root is the only leaf: key, child =
 * start, length. */
struct bgs_index_node {
	uint32_t key[BGS_INDEX_SLOTS];
	uint32_t child[BGS_INDEX_SLOTS];
	/* bit s of where[c]: below slot s is a run of class c */
	uint16_t where[BGS_INDEX_CLASSES];
};

#define BGS_INDEX_LEVELS 6
#define BGS_INDEX_TABLES 4

struct bgs_index {
	/* bit c: at least one run of class c; exact after every call */
	uint64_t present[2];
	/* the node area, or the bitmap area, in use */
	unsigned char *area;
	uint32_t free_sectors;
	uint32_t run_count;
	uint32_t sectors;
	/* 0: runs, 1: bitmap */
	uint8_t form;
	/* runs: interior levels; 0: the runs lie in the root */
	uint8_t height;
	/* bit a: area a has pages no longer used; see bgs_index_trim_begin() */
	uint8_t trim_wanted;
	/* which of the four areas is in use, and which one is being trimmed (+1) */
	uint8_t area_used;
	uint8_t area_trimmed;
	uint8_t color;
	uint8_t level_count;
	uint8_t table_count;
	/* bitmap: where its lowest tables and first summary lie in the area, in bytes; its words
	 * are at the start */
	uint32_t tables_at;
	uint32_t summary_at;
	/* a bitmap becomes a tree below this many runs */
	uint32_t runs_min;
	/* leaves of the first page that were handed out */
	uint8_t leaves_near;
	/* bit a: bitmap area a has pages */
	uint8_t map_touched;
	/* 1: a bitmap with one class table, see bgs_index_alone.h; relaxed atomic as a hint */
	uint8_t takes_alone;
	uint8_t reserved[5];

	struct bgs_index_node root;

	/* node allocation, in units of 128 bytes: next fresh unit, free lists, bytes of nodes in
	 * use */
	uint32_t unit_next;
	uint32_t leaf_free;
	uint32_t node_free;
	uint32_t tree_bytes;
	/* the tree becomes a bitmap above this many bytes of nodes; the size of an area follows */
	uint32_t tree_bytes_max;
	/* runs_min of a bitmap that did not come early */
	uint32_t runs_min_usual;
	/* bitmap: the levels from 2 on and the tables from 1 on, in bytes */
	uint32_t level_far[BGS_INDEX_LEVELS - 2];
	uint32_t table_far[BGS_INDEX_TABLES - 1];
	uint32_t map_pages;
	/* pages touched in each node area; 0 after a trim */
	uint32_t tree_touched[2];
};

/**
 * bgs_index_init() - make an index without any free sector.
 * @ix:		uninitialised memory; best aligned to 64 bytes (which Swift could not import).
 * @sectors:	size of the group, 1 to BGS_INDEX_SECTORS_MAX.
 *
 * Reserves address space: may make a system call, takes a process-wide mutex.
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int bgs_index_init(struct bgs_index *ix, uint32_t sectors);

/* Gives the address space back. Not to be called under a spin lock; no other call may be under way.
 */
void bgs_index_destroy(struct bgs_index *ix);

/**
 * bgs_index_add() - make [start, start + len) free, merging it with its neighbours.
 *
 * Return: 0, -EEXIST when any of the sectors is free already, or -EINVAL when the range is empty or
 * passes the group's end; on an error nothing changes.
 */
int bgs_index_add(struct bgs_index *ix, uint32_t start, uint32_t len);

/**
 * bgs_index_remove() - take [start, start + len) out of free space.
 *
 * Return: 0, -ENOENT when any of the sectors is not free, or -EINVAL as above; on an error nothing
 * changes.
 */
int bgs_index_remove(struct bgs_index *ix, uint32_t start, uint32_t len);

/**
 * bgs_index_claim_best() - take @len sectors from the start of the tightest run that has @need.
 * @len:	sectors to take, at least 1.
 * @need:	sectors the run must have; less than @len counts as @len.
 * @start_out:	set on success only.
 *
 * Tightest means shortest, lowest address first among equals. Exact for groups up to 2^18 sectors;
 * in larger ones, where more than 256 leaves (or 64 chunks of a bitmap) hold runs of the right
 * class, the shortest of the first so many is taken, so that the time under the lock stays bounded.
 *
 * Return: true if a run was found.
 */
bool bgs_index_claim_best(struct bgs_index *ix, uint32_t len, uint32_t need, uint32_t *start_out);

/**
 * bgs_index_claim_within() - take @len sectors from the start of some run of @low to @high.
 * @low:	at least @len; of one class with @high.
 * @run_out:	the length that the run had.
 *
 * Return: true if there was such a run; then *start_out and *run_out are set.
 */
bool bgs_index_claim_within(struct bgs_index *ix, uint32_t len, uint32_t low, uint32_t high,
			    uint32_t *start_out, uint32_t *run_out);

/*
 * Whether there is a run of @low to @high sectors, which are of one class; true as well
 * where too many leaves, or a bitmap, would have to be searched to tell.
 */
bool bgs_index_may_have(const struct bgs_index *ix, uint32_t low, uint32_t high);

/**
 * bgs_index_claim_from() - take @len sectors at the lowest fitting address at or above @from.
 * @end:	the claim must end at or below it; clipped to the group.
 * @align:	0 and 1 mean none; any other number, also no power of two.
 * @phase:	(address + phase) must be a multiple of @align.
 *
 * A run qualifies when the part of it at or above @from (up to the run's own end, which may lie
 * beyond
 * @end) has at least max(@need, @len) sectors, and an aligned address in that part leaves @len
 * sectors both inside the run and below @end. The first aligned address of the first such run is
 * taken.
 *
 * Return: true if there was one.
 */
bool bgs_index_claim_from(struct bgs_index *ix, uint32_t from, uint32_t end, uint32_t len,
			  uint32_t need, uint64_t align, uint64_t phase, uint32_t *start_out);

/* Like claim_best, over the runs that hold @need in total and @len at an aligned address, which is
 * taken. */
bool bgs_index_claim_best_aligned(struct bgs_index *ix, uint32_t len, uint32_t need, uint64_t align,
				  uint64_t phase, uint32_t *start_out);

/* Sectors of the longest run; 0 if there is none. */
uint32_t bgs_index_largest(const struct bgs_index *ix);

/* The first run that ends above @from, whole. Return: false if there is none. */
bool bgs_index_next(const struct bgs_index *ix, uint32_t from, uint32_t *start_out,
		    uint32_t *len_out);

/* Whether all of the range is free; an empty range is. */
bool bgs_index_is_free(const struct bgs_index *ix, uint32_t start, uint32_t len);

/* Whether any sector of the range is free. */
bool bgs_index_any_free(const struct bgs_index *ix, uint32_t start, uint32_t len);

/* Memory in use: the struct and the pages touched and not given back; an upper bound in large
 * groups. */
size_t bgs_index_bytes(const struct bgs_index *ix);

/*
 * Giving pages back takes a system call, which must not happen under the spin lock. So:
 *   lock;  again = bgs_index_trim_begin(ix, &trim);  unlock;
 *   if (again) { bgs_index_trim_run(&trim);  lock;  bgs_index_trim_end(ix, &trim);  unlock; }
 * whenever trim_wanted is not 0 (a plain read as a hint will do). Between begin and end the index
 * may be used freely; it keeps off the area that is being trimmed. One trim at a time: begin
 * refuses a second.
 */
struct bgs_index_trim {
	void *address;
	size_t bytes;
	/* set by run: the pages are gone (locked memory keeps them) */
	bool done;
};
bool bgs_index_trim_begin(struct bgs_index *ix, struct bgs_index_trim *trim_out);
void bgs_index_trim_run(struct bgs_index_trim *trim);
void bgs_index_trim_end(struct bgs_index *ix, const struct bgs_index_trim *trim);
/* All of the above until nothing is left to trim, where no spin lock is involved. */
void bgs_index_trim(struct bgs_index *ix);

/* Checks every invariant; aborts with a message on the first that does not hold. For tests. */
void bgs_index_check(const struct bgs_index *ix);

enum bgs_index_code {
	BGS_CODE_PLAIN,
	BGS_CODE_AVX2,
	BGS_CODE_AVX512,
};

/* The best code that this CPU can run, which is used. */
enum bgs_index_code bgs_index_best_code(void);
/*
 * For tests and measurements: use this code, which the CPU must be able to run, for indexes from
 * now on and for allocators that are made from now on.
 */
void bgs_index_use_code(enum bgs_index_code code);
/* For tests: change over to the bitmap (1) or to runs (0) now, until the index itself changes its
 * mind. */
void bgs_index_convert(struct bgs_index *ix, int form);

#ifdef __cplusplus
}
#endif
#endif
