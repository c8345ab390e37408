/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* density.c - W4: memory and time for each free extent of a shattered terabyte. */
#include "bench_driver.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t bench_resident_bytes(void)
{
	unsigned long long total = 0;
	unsigned long long resident = 0;
	unsigned long long of_files = 0;
	FILE *file;

	malloc_trim(0);
	file = fopen("/proc/self/statm", "r");
	if (!file)
		return 0;
	if (fscanf(file, "%llu %llu %llu", &total, &resident, &of_files) != 3)
		resident = of_files = 0;
	fclose(file);
	return (resident - of_files) * (uint64_t)sysconf(_SC_PAGESIZE);
}

int bench_pin_to_one_cpu(void)
{
	cpu_set_t allowed;
	cpu_set_t one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return -errno;
	CPU_ZERO(&one);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		CPU_SET(cpu, &one);
		return sched_setaffinity(0, sizeof(one), &one) ? -errno : 0;
	}
	return -EINVAL;
}

struct density_work {
	const struct bench_competitor *competitor;
	void *state;
	/* Address of each extent in sectors, in the order of adding. */
	const uint32_t *sectors;
	uint64_t extents;
	/* log2 of a group's sectors. */
	unsigned int group_shift;
	/* Room for as many as go into one call; NULL: add_free() for each. */
	struct bench_range *ranges;
	uint64_t batch;
	int result;
};

static void density_body(void *argument)
{
	struct density_work *work = argument;
	int (*add_free)(void *, size_t, uint64_t, uint64_t) = work->competitor->add_free;

	for (uint64_t i = 0; i < work->extents; i++) {
		uint64_t sector = work->sectors[i];

		work->result |= add_free(work->state, sector >> work->group_shift,
					 sector << SECTOR_SHIFT, BENCH_SECTOR);
	}
}

/* The same through the call that takes many; filling its array is part of what it costs. */
static void density_batches(void *argument)
{
	struct density_work *work = argument;

	for (uint64_t i = 0; i < work->extents;) {
		size_t count = 0;

		for (; count < work->batch && i < work->extents; count++, i++) {
			work->ranges[count].address = (uint64_t)work->sectors[i] << SECTOR_SHIFT;
			work->ranges[count].bytes = BENCH_SECTOR;
		}
		work->result |= work->competitor->add_free_many(work->state, work->ranges, count);
	}
}

static uint32_t *make_order(uint64_t extents, uint64_t spacing, int shuffled, uint64_t seed)
{
	uint32_t *sectors = malloc((extents + 1) * sizeof(*sectors));

	if (!sectors)
		return NULL;
	for (uint64_t i = 0; i < extents; i++)
		sectors[i] = (uint32_t)(i * spacing);
	for (uint64_t i = extents; shuffled && i > 1; i--) {
		uint64_t other = scale_random(splitmix64(&seed), i);
		uint32_t kept = sectors[i - 1];

		sectors[i - 1] = sectors[other];
		sectors[other] = kept;
	}
	return sectors;
}

int bench_measure_density(const struct bench_competitor *competitor,
			  const struct bench_space *space, uint64_t extents, uint64_t spacing,
			  int shuffled, uint64_t batch, uint64_t seed, struct bench_density *out)
{
	struct density_work work = {.competitor = competitor, .extents = extents, .batch = batch};
	struct bench_free_space free_space;
	struct timespec begin;
	struct timespec end;
	uint64_t resident;
	uint32_t *sectors;

	if (space->group_bytes & (space->group_bytes - 1) ||
	    (batch && !competitor->add_free_many) ||
	    (extents && (extents * spacing > space->total_bytes / BENCH_SECTOR || space->all_free)))
		return -EINVAL;
	sectors = make_order(extents, spacing, shuffled, seed);
	work.ranges = batch ? malloc(batch * sizeof(*work.ranges)) : NULL;
	if (!sectors || (batch && !work.ranges)) {
		free(sectors);
		free(work.ranges);
		return -ENOMEM;
	}
	/* Touched here, so that it is no memory of the allocator's. */
	if (batch)
		memset(work.ranges, 1, batch * sizeof(*work.ranges));
	work.sectors = sectors;
	work.group_shift = (unsigned int)__builtin_ctzll(space->group_bytes / BENCH_SECTOR);

	/* Once for the pages that measuring itself touches. */
	bench_resident_bytes();
	resident = bench_resident_bytes();
	work.state = competitor->create(competitor, space);
	if (!work.state) {
		free(sectors);
		free(work.ranges);
		return -ENOMEM;
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	bench_measured(batch ? density_batches : density_body, &work);
	clock_gettime(CLOCK_MONOTONIC, &end);
	memset(out, 0, sizeof(*out));
	out->resident_bytes = bench_resident_bytes() - resident;
	out->nanoseconds = (uint64_t)(end.tv_sec - begin.tv_sec) * UINT64_C(1000000000) +
			   (uint64_t)end.tv_nsec - (uint64_t)begin.tv_nsec;
	competitor->describe(work.state, &free_space);
	out->extents = extents;
	out->free_extents = free_space.free_extents;
	out->groups = space->total_bytes / space->group_bytes;
	competitor->destroy(work.state);
	free(sectors);
	free(work.ranges);
	return work.result;
}
