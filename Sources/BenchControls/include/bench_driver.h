/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench_driver.h - the workloads W1 to W5, one function per phase.
 *
 * A struct bench_run is one allocator with its threads and their live extents.
 * Phases, in this order: create, fill, then any of steady (one thread) or
 * parallel (several), pairs, fill_on, describe; destroy.
 *
 * One operation of the steady state is one request of the size mix, together
 * with the frees that make room for it: random live extents are given back until
 * the request fits under 80 %, then it is claimed whole. A refused piece is
 * halved and the rest of the request is claimed in such pieces.
 *
 * What a run with one thread does depends on the seed and the competitor only;
 * its hash says so.
 *
 * Threads: one thread at a time may call these functions on a run.
 */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include "bench_competitor.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bench_run;

/* What one timed stretch did. */
struct bench_slice {
	uint64_t operations;
	uint64_t nanoseconds;
	/* Operations whose request could not be claimed whole at the first try. */
	uint64_t split;
	/* Claims that were refused; a request may be refused several times. */
	uint64_t refused;
};

struct bench_summary {
	struct bench_free_space space;
	uint64_t live_extents;
	uint64_t live_bytes;
	/* Over the live extents and what was refused. */
	uint64_t hash;
};

/* Time of the calling thread instead of the wall clock, for noisy machines. */
void bench_use_cpu_clock(int enable);
/* Pin the calling thread to one of the processors it may run on. 0 or -errno. */
int bench_pin_to_one_cpu(void);
/*
 * Resident memory of this process, bytes, after free memory went back; without pages of files, that
 * is of code, which whoever calls first touches.
 */
uint64_t bench_resident_bytes(void);

/**
 * bench_run_create() - make an allocator, all free, and the threads that use it.
 * @competitor:	whose.
 * @space:	all_free must be 1.
 * @threads:	at least 1; with 1 everything runs on the caller's thread.
 * @seed:	of every random choice.
 *
 * Return: a run, or NULL when memory or threads are lacking.
 */
struct bench_run *bench_run_create(const struct bench_competitor *competitor,
				   const struct bench_space *space, unsigned int threads,
				   uint64_t seed);
void bench_run_destroy(struct bench_run *run);

/* Fill to 80 %: each thread its share. */
void bench_run_fill(struct bench_run *run);

/* Run a number of operations of the steady state; threads must be 1. */
void bench_run_steady(struct bench_run *run, uint64_t operations, struct bench_slice *out);

/*
 * Run the steady state on all threads, begun together, for a time or until all
 * threads together did about a number of operations, whichever ends first.
 */
void bench_run_parallel(struct bench_run *run, uint64_t nanoseconds, uint64_t operations,
			struct bench_slice *out);

/* Claim a sector and give it back, a number of times, on the caller's thread. */
void bench_run_pairs(struct bench_run *run, uint64_t pairs, struct bench_slice *out);

/**
 * bench_run_fill_on() - claim without freeing until the first refusal.
 * @run:	with one thread.
 * @bytes:	size of each request; 0: the mix.
 *
 * Gives everything it claimed back, so that the free space is what it was.
 *
 * Return: percent of the space in use when the first request was refused.
 */
double bench_run_fill_on(struct bench_run *run, uint64_t bytes);

void bench_run_describe(struct bench_run *run, struct bench_summary *out);

/* How the memory of one allocator grows with its free extents. */
struct bench_density {
	uint64_t extents;
	uint64_t nanoseconds;
	uint64_t resident_bytes;
	/* As the allocator counts them: equal to extents when it is right. */
	uint64_t free_extents;
	uint64_t groups;
};

/**
 * bench_measure_density() - add single-sector free extents to an allocator; W4.
 * @competitor:	whose.
 * @space:	all_free 0; with all_free 1 nothing is added.
 * @extents:	how many.
 * @spacing:	sectors from one extent's start to the next one's.
 * @shuffled:	0: in order of address; 1: in random order.
 * @batch:	ranges in a call; 0: one, by add_free().
 * @seed:	of the order.
 * @out:	set on success.
 *
 * resident_bytes counts everything since before the allocator was made, so it
 * belongs in a process that has done nothing else.
 *
 * Return: 0, -EINVAL (they do not fit), -ENOMEM, or what the allocator answered.
 */
int bench_measure_density(const struct bench_competitor *competitor,
			  const struct bench_space *space, uint64_t extents, uint64_t spacing,
			  int shuffled, uint64_t batch, uint64_t seed, struct bench_density *out);

/*
 * The frame that every timed loop runs in, so that
 * `callgrind --toggle-collect=bench_measured` sees the workload and nothing else.
 */
void bench_measured(void (*body)(void *argument), void *argument);

#ifdef __cplusplus
}
#endif

#endif
