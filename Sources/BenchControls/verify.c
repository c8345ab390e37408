/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify.c - a competitor around a competitor that checks every claim.
 *
 * Invariant: a bit of owners is set from the moment a claim returned until just
 * before its range is given back, so a bit that is set already when a claim
 * returns has two owners, whatever the threads do meanwhile.
 */
#include "controls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verified_state {
	const struct bench_competitor *inner;
	void *inner_state;
	uint64_t total_bytes;
	uint64_t group_bytes;
	_Atomic uint64_t *owners;
};

static _Atomic uint64_t faults;
static pthread_mutex_t first_fault_lock = PTHREAD_MUTEX_INITIALIZER;
static char first_fault[200]; /* guarded by first_fault_lock until faults is non-zero */

static void report_fault(const struct verified_state *state, const char *what, uint64_t address,
			 uint64_t bytes)
{
	pthread_mutex_lock(&first_fault_lock);
	if (atomic_fetch_add(&faults, 1) == 0)
		snprintf(first_fault, sizeof(first_fault), "%s: %s, address %llu, length %llu",
			 state->inner->name, what, (unsigned long long)address,
			 (unsigned long long)bytes);
	pthread_mutex_unlock(&first_fault_lock);
}

uint64_t bench_verify_faults(void)
{
	return atomic_load(&faults);
}

const char *bench_verify_first_fault(void)
{
	return first_fault;
}

/* Flips the bits of a range; returns 0 when all of them were as expected before. */
static int set_owned(struct verified_state *state, uint64_t address, uint64_t bytes, int owned)
{
	uint64_t sector = address / BENCH_SECTOR;
	uint64_t end = (address + bytes) / BENCH_SECTOR;
	uint64_t wrong = 0;

	while (sector < end) {
		unsigned int first = sector % 64;
		uint64_t count = 64 - first < end - sector ? 64 - first : end - sector;
		uint64_t mask = (count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1) << first;
		_Atomic uint64_t *word = &state->owners[sector / 64];

		if (owned)
			wrong |= atomic_fetch_or(word, mask) & mask;
		else
			wrong |= ~atomic_fetch_and(word, ~mask) & mask;
		sector += count;
	}
	return wrong != 0;
}

static const char *range_fault(const struct verified_state *state, uint64_t address, uint64_t bytes)
{
	if (address % BENCH_SECTOR)
		return "claimed an unaligned address";
	if (address >= state->total_bytes || bytes > state->total_bytes - address)
		return "claimed out of range";
	if (!(state->inner->traits & BENCH_TRAIT_FLAT) &&
	    address / state->group_bytes != (address + bytes - 1) / state->group_bytes)
		return "claimed across a group's end";
	return NULL;
}

static int verified_claim(void *opaque, uint64_t bytes, uint64_t *address_out)
{
	struct verified_state *state = opaque;
	int result = state->inner->claim(state->inner_state, bytes, address_out);
	const char *fault;

	if (result)
		return result;
	fault = range_fault(state, *address_out, bytes);
	if (!fault && set_owned(state, *address_out, bytes, 1))
		fault = "claimed twice";
	if (fault)
		report_fault(state, fault, *address_out, bytes);
	return 0;
}

static int verified_give_back(void *opaque, uint64_t address, uint64_t bytes)
{
	struct verified_state *state = opaque;
	int result;

	if (set_owned(state, address, bytes, 0))
		report_fault(state, "gave back what was not owned", address, bytes);
	result = state->inner->give_back(state->inner_state, address, bytes);
	if (result)
		report_fault(state, "giving back was refused", address, bytes);
	return result;
}

static int verified_add_free(void *opaque, size_t group, uint64_t address, uint64_t bytes)
{
	struct verified_state *state = opaque;
	int result = state->inner->add_free(state->inner_state, group, address, bytes);

	if (result)
		report_fault(state, "adding free space was refused", address, bytes);
	return result;
}

static void verified_describe(void *opaque, struct bench_free_space *out)
{
	struct verified_state *state = opaque;

	state->inner->describe(state->inner_state, out);
	if (out->largest_run_bytes > out->free_bytes)
		report_fault(state, "the largest run exceeds what is free", 0,
			     out->largest_run_bytes);
}

static const char *verified_unavailable(const struct bench_competitor *self)
{
	const struct bench_competitor *inner = self->context;

	return inner->unavailable ? inner->unavailable(inner) : NULL;
}

static void *verified_create(const struct bench_competitor *self, const struct bench_space *space)
{
	struct verified_state *state = calloc(1, sizeof(*state));
	uint64_t words = space->total_bytes / BENCH_SECTOR / 64 + 1;

	if (!state)
		return NULL;
	state->inner = self->context;
	state->total_bytes = space->total_bytes;
	state->group_bytes = space->group_bytes;
	state->owners = calloc(words, sizeof(*state->owners));
	state->inner_state = state->inner->create(state->inner, space);
	if (!state->owners || !state->inner_state) {
		if (state->inner_state)
			state->inner->destroy(state->inner_state);
		free(state->owners);
		free(state);
		return NULL;
	}
	return state;
}

static void verified_destroy(void *opaque)
{
	struct verified_state *state = opaque;

	state->inner->destroy(state->inner_state);
	free(state->owners);
	free(state);
}

struct bench_competitor *bench_verified(const struct bench_competitor *inner)
{
	struct bench_competitor *verified = malloc(sizeof(*verified));

	if (!verified)
		return NULL;
	*verified = *inner;
	verified->context = inner;
	verified->unavailable = verified_unavailable;
	verified->create = verified_create;
	verified->destroy = verified_destroy;
	verified->claim = verified_claim;
	verified->give_back = verified_give_back;
	verified->add_free = verified_add_free;
	verified->describe = verified_describe;
	return verified;
}

void bench_verified_free(struct bench_competitor *verified)
{
	free(verified);
}
