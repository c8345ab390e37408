/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libext2fs.c - e2fsprogs' block bitmap as an allocator, one mutex.
 *
 * Searches as ext2fs_new_range() does: from a goal (the end of the last claim) to
 * the next clear bit, then whether the wanted bits behind it are clear, going on
 * behind the first one that is set; once around. The bitmap is a bit array, one
 * bit a sector, set while in use.
 *
 * The library is opened at run time, so nothing here needs its headers, and a
 * machine without it skips this competitor.
 *
 * Locks: mutex guards everything; libext2fs has none of its own.
 */
#include "controls.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Values and prototypes of ext2fs.h; the library's ABI keeps them. */
#define EXT2_MAGIC_BLOCK_BITMAP64 2133571438L
#define EXT2_BITMAP_BITARRAY	  1

struct ext2_functions {
	/* An export that ext2fs.h leaves out: makes a bitmap of a chosen kind. */
	long (*make)(void *fs, long magic, int type, uint64_t start, uint64_t end,
		     uint64_t real_end, const char *description, void **bitmap_out);
	void (*release)(void *bitmap);
	long (*find_clear)(void *bitmap, uint64_t first, uint64_t last, uint64_t *out);
	long (*find_set)(void *bitmap, uint64_t first, uint64_t last, uint64_t *out);
	void (*mark)(void *bitmap, uint64_t first, unsigned int count);
	void (*unmark)(void *bitmap, uint64_t first, unsigned int count);
};

struct ext2_state {
	pthread_mutex_t mutex;
	void *bitmap;
	uint64_t sectors;
	uint64_t goal;
	uint64_t lock_taken;
	uint64_t lock_contended;
	/* All that the library reads of a file system here is its cluster bits: 0. */
	_Alignas(64) char blank_file_system[4096];
};

static struct ext2_functions ext2;
static const char *ext2_missing;
static pthread_once_t ext2_once = PTHREAD_ONCE_INIT;

static void ext2_open(void)
{
	void *library = dlopen("libext2fs.so.2", RTLD_NOW | RTLD_LOCAL);
	const struct {
		const char *name;
		void *slot;
	} wanted[] = {
		{"ext2fs_alloc_generic_bmap", &ext2.make},
		{"ext2fs_free_generic_bmap", &ext2.release},
		{"ext2fs_find_first_zero_generic_bmap", &ext2.find_clear},
		{"ext2fs_find_first_set_generic_bmap", &ext2.find_set},
		{"ext2fs_mark_block_bitmap_range2", &ext2.mark},
		{"ext2fs_unmark_block_bitmap_range2", &ext2.unmark},
	};

	if (!library) {
		ext2_missing = "libext2fs.so.2 is not installed";
		return;
	}
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		void *symbol = dlsym(library, wanted[i].name);

		if (!symbol) {
			ext2_missing = "libext2fs.so.2 lacks the bitmap functions";
			return;
		}
		/* A function pointer cannot be cast from void * in strict C. */
		memcpy(wanted[i].slot, &symbol, sizeof(symbol));
	}
}

static const char *ext2_unavailable(const struct bench_competitor *self)
{
	(void)self;
	pthread_once(&ext2_once, ext2_open);
	return ext2_missing;
}

static void *ext2_create(const struct bench_competitor *self, const struct bench_space *space)
{
	struct ext2_state *state;
	uint64_t sectors = space->total_bytes / BENCH_SECTOR;

	if (ext2_unavailable(self))
		return NULL;
	state = aligned_alloc(64, sizeof(*state));
	if (!state)
		return NULL;
	memset(state, 0, sizeof(*state));
	pthread_mutex_init(&state->mutex, NULL);
	state->sectors = sectors;
	if (ext2.make(state->blank_file_system, EXT2_MAGIC_BLOCK_BITMAP64, EXT2_BITMAP_BITARRAY, 0,
		      sectors - 1, sectors - 1, "benchmark", &state->bitmap)) {
		free(state);
		return NULL;
	}
	/* A range counts in unsigned int: 2^31 sectors are 8 TiB, more than any workload. */
	if (!space->all_free)
		ext2.mark(state->bitmap, 0, (unsigned int)sectors);
	return state;
}

static void ext2_destroy(void *opaque)
{
	struct ext2_state *state = opaque;

	ext2.release(state->bitmap);
	pthread_mutex_destroy(&state->mutex);
	free(state);
}

static void ext2_lock(struct ext2_state *state)
{
	int contended = pthread_mutex_trylock(&state->mutex) != 0;

	if (contended)
		pthread_mutex_lock(&state->mutex);
	state->lock_taken++;
	state->lock_contended += contended;
}

/* First run of so many clear bits that begins in [first, last]; it may end behind last. */
static int find_run(struct ext2_state *state, uint64_t first, uint64_t last, uint64_t count,
		    uint64_t *out)
{
	while (first <= last) {
		uint64_t start;
		uint64_t used;

		if (ext2.find_clear(state->bitmap, first, last, &start))
			return -ENOSPC;
		if (start + count > state->sectors)
			return -ENOSPC;
		if (ext2.find_set(state->bitmap, start, start + count - 1, &used)) {
			*out = start;
			return 0;
		}
		first = used + 1;
	}
	return -ENOSPC;
}

static int ext2_claim(void *opaque, uint64_t bytes, uint64_t *address_out)
{
	struct ext2_state *state = opaque;
	uint64_t count = bytes / BENCH_SECTOR;
	uint64_t start = 0;
	int result;

	ext2_lock(state);
	result = find_run(state, state->goal, state->sectors - 1, count, &start);
	if (result && state->goal)
		result = find_run(state, 0, state->goal - 1, count, &start);
	if (!result) {
		ext2.mark(state->bitmap, start, (unsigned int)count);
		state->goal = start + count == state->sectors ? 0 : start + count;
		*address_out = start * BENCH_SECTOR;
	}
	pthread_mutex_unlock(&state->mutex);
	return result;
}

static int ext2_give_back(void *opaque, uint64_t address, uint64_t bytes)
{
	struct ext2_state *state = opaque;

	ext2_lock(state);
	ext2.unmark(state->bitmap, address / BENCH_SECTOR, (unsigned int)(bytes / BENCH_SECTOR));
	pthread_mutex_unlock(&state->mutex);
	return 0;
}

static int ext2_add_free(void *opaque, size_t group, uint64_t address, uint64_t bytes)
{
	(void)group;
	return ext2_give_back(opaque, address, bytes);
}

static void ext2_describe(void *opaque, struct bench_free_space *out)
{
	struct ext2_state *state = opaque;
	uint64_t last = state->sectors - 1;
	uint64_t first = 0;
	uint64_t end;

	memset(out, 0, sizeof(*out));
	out->counts_locks = 1;
	out->lock_taken = state->lock_taken;
	out->lock_contended = state->lock_contended;
	while (first <= last && !ext2.find_clear(state->bitmap, first, last, &first)) {
		if (ext2.find_set(state->bitmap, first, last, &end))
			end = last + 1;
		out->free_extents++;
		out->free_bytes += (end - first) * BENCH_SECTOR;
		if ((end - first) * BENCH_SECTOR > out->largest_run_bytes)
			out->largest_run_bytes = (end - first) * BENCH_SECTOR;
		first = end;
	}
}

const struct bench_competitor bench_libext2fs = {
	.name = "libext2fs",
	.summary = "libext2fs's bit array, next fit, one mutex",
	.traits = BENCH_TRAIT_SMALL_ONLY | BENCH_TRAIT_FLAT,
	.work_divisor = 50,
	.unavailable = ext2_unavailable,
	.create = ext2_create,
	.destroy = ext2_destroy,
	.claim = ext2_claim,
	.give_back = ext2_give_back,
	.add_free = ext2_add_free,
	.describe = ext2_describe,
};
