/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * null.c - a competitor that does nothing: what it costs is the driver's own cost.
 *
 * Its addresses come from a counter, so they are owned by many at once.
 */
#include "controls.h"

#include <stdlib.h>
#include <string.h>

struct null_state {
	uint64_t total_bytes;
	uint64_t next;
};

static void *null_create(const struct bench_competitor *self, const struct bench_space *space)
{
	struct null_state *state = calloc(1, sizeof(*state));

	(void)self;
	if (state)
		state->total_bytes = space->total_bytes;
	return state;
}

static int null_claim(void *opaque, uint64_t bytes, uint64_t *address_out)
{
	struct null_state *state = opaque;
	/* Racy on purpose; relaxed accesses make plain moves. */
	uint64_t address = __atomic_load_n(&state->next, __ATOMIC_RELAXED);

	if (address + bytes > state->total_bytes)
		address = 0;
	__atomic_store_n(&state->next, address + bytes, __ATOMIC_RELAXED);
	*address_out = address;
	return 0;
}

static int null_give_back(void *opaque, uint64_t address, uint64_t bytes)
{
	(void)opaque;
	(void)address;
	(void)bytes;
	return 0;
}

static int null_add_free(void *opaque, size_t group, uint64_t address, uint64_t bytes)
{
	(void)group;
	return null_give_back(opaque, address, bytes);
}

static void null_describe(void *opaque, struct bench_free_space *out)
{
	(void)opaque;
	memset(out, 0, sizeof(*out));
}

const struct bench_competitor bench_null = {
	.name = "null",
	.summary = "does nothing: the cost of the driver",
	.traits = BENCH_TRAIT_NULL,
	.work_divisor = 1,
	.create = null_create,
	.destroy = free,
	.claim = null_claim,
	.give_back = null_give_back,
	.add_free = null_add_free,
	.describe = null_describe,
};
