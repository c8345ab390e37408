/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * worker.h - one thread's part of a steady state: its live extents and its luck.
 *
 * Made to cost little, since it is timed with the allocator: live extents are 8
 * bytes each in one table, sizes come from a table made beforehand, and the next
 * victims are chosen two steps ahead so that their lines are on the way in.
 *
 * Invariants:
 *   1. used is the sum of sectors over lives[0 .. count).
 *   2. used <= limit between operations.
 *   3. ahead[] holds the random numbers of the next two victims. Their places
 *      follow from count at the time of the free, so a line fetched ahead may
 *      rarely be the neighbour of the right one.
 * Locks: none, a worker belongs to one thread at a time.
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include "bench_competitor.h"

#include <stdbool.h>

#define SIZE_TABLE_LENGTH 65536u
#define SECTOR_SHIFT	  12

struct live_extent {
	/* In sectors: 2^32 of them are 16 TiB. */
	uint32_t start;
	uint32_t sectors;
};

struct worker {
	int (*claim)(void *state, uint64_t bytes, uint64_t *address_out);
	int (*give_back)(void *state, uint64_t address, uint64_t bytes);
	void *state;
	struct live_extent *lives;
	uint64_t count;
	uint64_t used;
	uint64_t limit;
	uint64_t random;
	uint64_t ahead[2];
	uint32_t size_index;
	/* Sizes of requests in sectors; 4096 at most. */
	uint16_t *sizes;
	/* Bytes mapped at lives. */
	uint64_t lives_bytes;
	/* Totals since the worker was made. */
	uint64_t operations;
	uint64_t split;
	uint64_t refused;
	/* Give-backs that failed: none, unless the allocator is wrong. */
	uint64_t faults;
};

static inline uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* A number below bound, which is below 2^32. */
static inline uint64_t scale_random(uint64_t random, uint64_t bound)
{
	return ((random >> 32) * bound) >> 32;
}

static inline void worker_free_one(struct worker *w)
{
	uint64_t victim = scale_random(w->ahead[0], w->count);
	struct live_extent extent = w->lives[victim];

	w->count--;
	w->lives[victim] = w->lives[w->count];
	w->used -= extent.sectors;
	w->ahead[0] = w->ahead[1];
	w->ahead[1] = splitmix64(&w->random);
	__builtin_prefetch(&w->lives[scale_random(w->ahead[1], w->count)], 1);
	if (w->give_back(w->state, (uint64_t)extent.start << SECTOR_SHIFT,
			 (uint64_t)extent.sectors << SECTOR_SHIFT))
		w->faults++;
}

static inline bool worker_claim_piece(struct worker *w, uint64_t sectors)
{
	uint64_t address;

	if (w->claim(w->state, sectors << SECTOR_SHIFT, &address))
		return false;
	w->lives[w->count].start = (uint32_t)(address >> SECTOR_SHIFT);
	w->lives[w->count].sectors = (uint32_t)sectors;
	w->count++;
	w->used += sectors;
	return true;
}

static inline uint64_t worker_next_size(struct worker *w)
{
	return w->sizes[w->size_index++ % SIZE_TABLE_LENGTH];
}

/* The rest of a request after its first refusal, in ever smaller pieces. */
void worker_claim_in_pieces(struct worker *w, uint64_t sectors);

static inline void worker_claim_whole(struct worker *w, uint64_t sectors)
{
	if (__builtin_expect(!worker_claim_piece(w, sectors), 0))
		worker_claim_in_pieces(w, sectors);
}

static inline void worker_operation(struct worker *w)
{
	uint64_t sectors = worker_next_size(w);

	while (w->used + sectors > w->limit && w->count)
		worker_free_one(w);
	worker_claim_whole(w, sectors);
	w->operations++;
}

/**
 * worker_init() - make a worker with its own sizes and luck.
 * @w:		filled in; end it with worker_end().
 * @limit:	sectors it may hold.
 * @capacity:	sectors it may ever hold, when filled on.
 *
 * Return: 0 or -ENOMEM.
 */
int worker_init(struct worker *w, const struct bench_competitor *competitor, void *state,
		uint64_t limit, uint64_t capacity, uint64_t seed);
void worker_end(struct worker *w);
/* Claim requests of the mix until the next one would pass the limit. */
void worker_fill(struct worker *w);
/*
 * Claim requests (of the mix if sectors is 0) until one is refused or the capacity
 * is used up; give them all back. Returns the sectors in use at that moment.
 */
uint64_t worker_fill_on(struct worker *w, uint64_t sectors, uint64_t capacity);
uint64_t worker_hash(const struct worker *w, uint64_t hash);

#endif
