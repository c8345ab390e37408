/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run.c - one allocator under load, see bench_driver.h.
 *
 * With several threads each worker has its own, made once and parked on a barrier
 * between phases, so that whatever an allocator keeps per thread survives from
 * one measurement to the next.
 *
 * Invariants:
 *   1. Between two passes of the barrier `start` and `finish` only the threads
 *      touch their workers; outside, only the caller does.
 *   2. command and quota change only while the threads are parked.
 */
#include "bench_driver.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum command { COMMAND_FILL, COMMAND_STEADY, COMMAND_EXIT };

struct bench_thread {
	_Alignas(128) struct worker worker;
	struct bench_run *run;
	pthread_t handle;
};

struct bench_run {
	const struct bench_competitor *competitor;
	void *state;
	struct bench_space space;
	unsigned int thread_count;
	/* 0 with one thread: the caller is the thread. */
	unsigned int started;
	struct bench_thread *threads;
	pthread_barrier_t start;
	pthread_barrier_t finish;
	enum command command;
	/* Operations for each thread. */
	uint64_t quota;
	_Alignas(128) atomic_bool stop;
	_Alignas(128) atomic_uint done;
};

static clockid_t bench_clock = CLOCK_MONOTONIC;

void bench_use_cpu_clock(int enable)
{
	bench_clock = enable ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
}

static uint64_t nanoseconds_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

__attribute__((noinline)) void bench_measured(void (*body)(void *argument), void *argument)
{
	body(argument);
	/* Keeps this frame: without it the call above becomes a jump. */
	__asm__ volatile("" ::: "memory");
}

struct steady_work {
	struct worker *worker;
	uint64_t operations;
};

static void steady_body(void *argument)
{
	struct steady_work *work = argument;
	/* A local copy: its fields stay in registers across the calls. */
	struct worker w = *work->worker;

	for (uint64_t i = 0; i < work->operations; i++)
		worker_operation(&w);
	*work->worker = w;
}

static void parallel_body(void *argument)
{
	struct bench_thread *thread = argument;
	struct bench_run *run = thread->run;

	for (uint64_t i = 0; i < run->quota; i++) {
		if (atomic_load_explicit(&run->stop, memory_order_relaxed))
			break;
		worker_operation(&thread->worker);
	}
}

static void *thread_main(void *argument)
{
	struct bench_thread *thread = argument;
	struct bench_run *run = thread->run;

	for (;;) {
		pthread_barrier_wait(&run->start);
		if (run->command == COMMAND_EXIT)
			return NULL;
		if (run->command == COMMAND_FILL)
			worker_fill(&thread->worker);
		else
			bench_measured(parallel_body, thread);
		atomic_fetch_add(&run->done, 1);
		pthread_barrier_wait(&run->finish);
	}
}

static int make_threads(struct bench_run *run, uint64_t seed)
{
	uint64_t sectors = run->space.total_bytes / BENCH_SECTOR;
	uint64_t share = sectors / 10 * 8 / run->thread_count;
	uint64_t capacity = run->thread_count == 1 ? sectors : share;

	for (unsigned int i = 0; i < run->thread_count; i++) {
		struct bench_thread *thread = &run->threads[i];

		thread->run = run;
		if (worker_init(&thread->worker, run->competitor, run->state, share, capacity,
				splitmix64(&seed)))
			return -ENOMEM;
	}
	if (run->thread_count == 1)
		return 0;
	for (unsigned int i = 0; i < run->thread_count; i++) {
		struct bench_thread *thread = &run->threads[i];

		if (pthread_create(&thread->handle, NULL, thread_main, thread))
			/* Those begun wait for ever at a barrier that cannot fill. */
			abort();
		run->started++;
	}
	return 0;
}

struct bench_run *bench_run_create(const struct bench_competitor *competitor,
				   const struct bench_space *space, unsigned int threads,
				   uint64_t seed)
{
	struct bench_run *run;

	if (!threads || !space->all_free)
		return NULL;
	run = aligned_alloc(128, sizeof(*run));
	if (!run)
		return NULL;
	memset(run, 0, sizeof(*run));
	run->competitor = competitor;
	run->space = *space;
	run->thread_count = threads;
	pthread_barrier_init(&run->start, NULL, threads + 1);
	pthread_barrier_init(&run->finish, NULL, threads + 1);
	run->threads = aligned_alloc(128, threads * sizeof(struct bench_thread));
	if (run->threads)
		memset(run->threads, 0, threads * sizeof(struct bench_thread));
	run->state = competitor->create(competitor, space);
	if (!run->threads || !run->state || make_threads(run, seed)) {
		bench_run_destroy(run);
		return NULL;
	}
	return run;
}

void bench_run_destroy(struct bench_run *run)
{
	if (!run)
		return;
	if (run->started) {
		run->command = COMMAND_EXIT;
		pthread_barrier_wait(&run->start);
	}
	for (unsigned int i = 0; run->threads && i < run->thread_count; i++) {
		if (i < run->started)
			pthread_join(run->threads[i].handle, NULL);
		worker_end(&run->threads[i].worker);
	}
	if (run->state)
		run->competitor->destroy(run->state);
	pthread_barrier_destroy(&run->start);
	pthread_barrier_destroy(&run->finish);
	free(run->threads);
	free(run);
}

/* Let the threads run a command; after `nanoseconds` ask them to stop. 0: never. */
static void command_threads(struct bench_run *run, enum command command, uint64_t nanoseconds)
{
	const struct timespec nap = {.tv_nsec = 2000000};
	uint64_t begin;

	run->command = command;
	atomic_store(&run->stop, false);
	atomic_store(&run->done, 0);
	pthread_barrier_wait(&run->start);
	begin = nanoseconds_of(CLOCK_MONOTONIC);
	while (nanoseconds && atomic_load(&run->done) < run->thread_count) {
		if (nanoseconds_of(CLOCK_MONOTONIC) - begin >= nanoseconds) {
			atomic_store(&run->stop, true);
			break;
		}
		nanosleep(&nap, NULL);
	}
	pthread_barrier_wait(&run->finish);
}

void bench_run_fill(struct bench_run *run)
{
	if (run->started)
		command_threads(run, COMMAND_FILL, 0);
	else
		worker_fill(&run->threads[0].worker);
}

static void add_totals(const struct bench_run *run, struct bench_slice *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned int i = 0; i < run->thread_count; i++) {
		out->operations += run->threads[i].worker.operations;
		out->split += run->threads[i].worker.split;
		out->refused += run->threads[i].worker.refused;
	}
}

static void subtract_totals(struct bench_slice *out, const struct bench_slice *before)
{
	out->operations -= before->operations;
	out->split -= before->split;
	out->refused -= before->refused;
}

void bench_run_steady(struct bench_run *run, uint64_t operations, struct bench_slice *out)
{
	struct steady_work work = {&run->threads[0].worker, operations};
	struct bench_slice before;
	uint64_t begin;
	uint64_t end;

	add_totals(run, &before);
	begin = nanoseconds_of(bench_clock);
	bench_measured(steady_body, &work);
	end = nanoseconds_of(bench_clock);
	add_totals(run, out);
	subtract_totals(out, &before);
	out->nanoseconds = end - begin;
}

void bench_run_parallel(struct bench_run *run, uint64_t nanoseconds, uint64_t operations,
			struct bench_slice *out)
{
	struct bench_slice before;
	uint64_t begin;
	uint64_t end;

	run->quota = operations / run->thread_count + 1;
	add_totals(run, &before);
	begin = nanoseconds_of(CLOCK_MONOTONIC);
	if (run->started) {
		command_threads(run, COMMAND_STEADY, nanoseconds);
	} else {
		/* In stretches, so that the clock costs nothing. */
		for (uint64_t left = run->quota; left;) {
			struct steady_work work = {&run->threads[0].worker,
						   left < 512 ? left : 512};

			bench_measured(steady_body, &work);
			left -= work.operations;
			if (nanoseconds_of(CLOCK_MONOTONIC) - begin >= nanoseconds)
				break;
		}
	}
	end = nanoseconds_of(CLOCK_MONOTONIC);
	add_totals(run, out);
	subtract_totals(out, &before);
	out->nanoseconds = end - begin;
}

struct pair_work {
	struct bench_run *run;
	uint64_t pairs;
	uint64_t faults;
};

static void pair_body(void *argument)
{
	struct pair_work *work = argument;
	void *state = work->run->state;
	int (*claim)(void *, uint64_t, uint64_t *) = work->run->competitor->claim;
	int (*give_back)(void *, uint64_t, uint64_t) = work->run->competitor->give_back;

	for (uint64_t i = 0; i < work->pairs; i++) {
		uint64_t address;

		if (claim(state, BENCH_SECTOR, &address) || give_back(state, address, BENCH_SECTOR))
			work->faults++;
	}
}

void bench_run_pairs(struct bench_run *run, uint64_t pairs, struct bench_slice *out)
{
	struct pair_work work = {run, pairs, 0};
	uint64_t begin = nanoseconds_of(bench_clock);

	bench_measured(pair_body, &work);
	memset(out, 0, sizeof(*out));
	out->nanoseconds = nanoseconds_of(bench_clock) - begin;
	out->operations = pairs;
	out->refused = work.faults;
}

double bench_run_fill_on(struct bench_run *run, uint64_t bytes)
{
	uint64_t capacity = run->space.total_bytes / BENCH_SECTOR;
	uint64_t used;

	used = worker_fill_on(&run->threads[0].worker, bytes / BENCH_SECTOR, capacity);
	return 100.0 * (double)used / (double)capacity;
}

void bench_run_describe(struct bench_run *run, struct bench_summary *out)
{
	memset(out, 0, sizeof(*out));
	run->competitor->describe(run->state, &out->space);
	for (unsigned int i = 0; i < run->thread_count; i++) {
		const struct worker *w = &run->threads[i].worker;

		out->live_extents += w->count;
		out->live_bytes += w->used * BENCH_SECTOR;
		out->hash = worker_hash(w, out->hash);
	}
}
