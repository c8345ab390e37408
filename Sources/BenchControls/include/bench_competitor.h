/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench_competitor.h - what every allocator looks like to the benchmark.
 *
 * A competitor is a table of functions, so that all of them run under the same
 * driver and pay the same indirect call.
 *
 * Invariants:
 *   1. Addresses and lengths are bytes and multiples of BENCH_SECTOR; addresses
 *      run from 0 to total_bytes. No claim crosses the end of a group, unless
 *      the competitor has no groups.
 *   2. A claim returns the whole length asked for, or fails and changes nothing.
 *   3. claim and give_back may be called from any thread; everything else is
 *      called by one thread while no other is inside.
 *
 * Errors: functions that can fail return 0 or a negative errno.
 */
#ifndef BENCH_COMPETITOR_H
#define BENCH_COMPETITOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_SECTOR UINT64_C(4096)

/* The space that an allocator is made over. */
struct bench_space {
	/* A multiple of group_bytes. */
	uint64_t total_bytes;
	uint64_t group_bytes;
	/* 1: all of it is free; 0: nothing is, until add_free(). */
	uint32_t all_free;
	uint32_t reserved;
};

struct bench_free_space {
	uint64_t free_extents;
	uint64_t free_bytes;
	uint64_t largest_run_bytes;
	/* 1 when the competitor counts its locks. */
	uint32_t counts_locks;
	uint32_t reserved;
	uint64_t lock_taken;
	/* How many of these found the lock held. */
	uint64_t lock_contended;
};

struct bench_range {
	uint64_t address;
	uint64_t bytes;
};

/* bench_competitor::traits */
/* Hands out no real space: measures the driver. */
#define BENCH_TRAIT_NULL (1u << 0)
/* Too slow for a terabyte unless asked for by name. */
#define BENCH_TRAIT_SMALL_ONLY (1u << 1)
/* One flat space: a claim may cross what would be a group's end. */
#define BENCH_TRAIT_FLAT (1u << 2)
/* Runs only when asked for by name. */
#define BENCH_TRAIT_BY_NAME (1u << 3)
/* Keeps its free space as another one does: W4 would say the same twice. */
#define BENCH_TRAIT_TREES_OF_OTHER (1u << 4)
/* A heap node for each free extent: ten million in random order take minutes. */
#define BENCH_TRAIT_NODE_PER_EXTENT (1u << 5)

struct bench_competitor {
	const char *name;
	const char *summary;
	uint32_t traits;
	/* Runs 1/work_divisor of the operations of a counted workload. */
	uint32_t work_divisor;
	/* For the functions below; not touched by the driver. */
	const void *context;
	/* NULL when it can run, otherwise why not, in a few words. */
	const char *(*unavailable)(const struct bench_competitor *self);
	/* Returns NULL when it fails. */
	void *(*create)(const struct bench_competitor *self, const struct bench_space *space);
	void (*destroy)(void *state);
	int (*claim)(void *state, uint64_t bytes, uint64_t *address_out);
	int (*give_back)(void *state, uint64_t address, uint64_t bytes);
	/* group: address / group_bytes, worked out by the driver for all alike. */
	int (*add_free)(void *state, size_t group, uint64_t address, uint64_t bytes);
	void (*describe)(void *state, struct bench_free_space *out);
	/* Many in one call, which may reorder them; NULL: it has no such call. */
	int (*add_free_many)(void *state, struct bench_range *ranges, size_t count);
};

/**
 * bench_competitor_at() - the competitors written in C, in the order of the table.
 * @index:	from 0.
 *
 * Return: a static table, or NULL past the last.
 */
const struct bench_competitor *bench_competitor_at(size_t index);

/**
 * bench_use_library() - take the functions of blockgroups.h from a shared library.
 * @path:	libblockgroups.so.
 *
 * Without this call they are those linked into the program, if there are any.
 *
 * Return: NULL, or what went wrong, in words that stay valid until the next call.
 */
const char *bench_use_library(const char *path);

/**
 * bench_verified() - wrap a competitor so that every claim is checked.
 * @inner:	whom to check; must outlive the result.
 *
 * A bitmap with one bit a sector knows what is owned: a claim that is out of
 * range, unaligned, across a group's end or owned already, and a give-back that
 * is refused, are counted. Thread-safe.
 *
 * Return: a competitor to be ended with bench_verified_free(), or NULL.
 */
struct bench_competitor *bench_verified(const struct bench_competitor *inner);
void bench_verified_free(struct bench_competitor *verified);

/* Faults seen by every verified competitor since the program began. */
uint64_t bench_verify_faults(void);
/* Words for the first fault; empty when there was none. */
const char *bench_verify_first_fault(void);

#ifdef __cplusplus
}
#endif

#endif
