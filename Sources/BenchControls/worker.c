/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* worker.c - see worker.h: what is not on the hot path. */
#include "worker.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A size in sectors from low to high bytes, its logarithm uniform. */
static uint16_t log_uniform_sectors(uint64_t *random, double low, double high)
{
	double unit = (double)(splitmix64(random) >> 11) * 0x1p-53;
	double bytes = low * exp(unit * log(high / low));

	return (uint16_t)((uint64_t)(bytes + 2048) >> SECTOR_SHIFT);
}

static void make_sizes(uint16_t *sizes, uint64_t *random)
{
	const double kib = 1024;
	const double mib = 1024 * 1024;

	for (size_t i = 0; i < SIZE_TABLE_LENGTH; i++) {
		uint64_t percent = scale_random(splitmix64(random), 100);

		if (percent < 70)
			sizes[i] = log_uniform_sectors(random, 4 * kib, 64 * kib);
		else if (percent < 95)
			sizes[i] = log_uniform_sectors(random, 64 * kib, mib);
		else
			sizes[i] = log_uniform_sectors(random, mib, 16 * mib);
	}
}

int worker_init(struct worker *w, const struct bench_competitor *competitor, void *state,
		uint64_t limit, uint64_t capacity, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->claim = competitor->claim;
	w->give_back = competitor->give_back;
	w->state = state;
	w->limit = limit;
	w->random = seed;
	/* As if every extent were one sector; what is never touched costs nothing. */
	w->lives_bytes = (capacity + 1) * sizeof(struct live_extent);
	w->lives = mmap(NULL, w->lives_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->lives == MAP_FAILED) {
		w->lives = NULL;
		return -ENOMEM;
	}
	w->sizes = malloc(SIZE_TABLE_LENGTH * sizeof(*w->sizes));
	if (!w->sizes)
		return -ENOMEM;
	make_sizes(w->sizes, &w->random);
	w->ahead[0] = splitmix64(&w->random);
	w->ahead[1] = splitmix64(&w->random);
	return 0;
}

void worker_end(struct worker *w)
{
	if (w->lives)
		munmap(w->lives, w->lives_bytes);
	free(w->sizes);
}

void worker_claim_in_pieces(struct worker *w, uint64_t sectors)
{
	uint64_t piece = sectors;

	w->split++;
	w->refused++;
	while (sectors && (piece /= 2)) {
		while (sectors) {
			if (piece > sectors)
				piece = sectors;
			if (!worker_claim_piece(w, piece)) {
				w->refused++;
				break;
			}
			sectors -= piece;
		}
	}
}

void worker_fill(struct worker *w)
{
	for (;;) {
		uint64_t sectors = worker_next_size(w);

		if (w->used + sectors > w->limit)
			return;
		uint64_t used = w->used;

		worker_claim_whole(w, sectors);
		/* Nothing at all was left, in spite of the limit: the others have it. */
		if (w->used == used)
			return;
	}
}

uint64_t worker_fill_on(struct worker *w, uint64_t sectors, uint64_t capacity)
{
	uint64_t count = w->count;
	uint64_t used_at_refusal;

	for (;;) {
		uint64_t want = sectors ? sectors : worker_next_size(w);

		if (w->used + want > capacity || !worker_claim_piece(w, want))
			break;
	}
	used_at_refusal = w->used;
	while (w->count > count) {
		struct live_extent *last = &w->lives[--w->count];

		w->used -= last->sectors;
		if (w->give_back(w->state, (uint64_t)last->start << SECTOR_SHIFT,
				 (uint64_t)last->sectors << SECTOR_SHIFT))
			w->faults++;
	}
	return used_at_refusal;
}

uint64_t worker_hash(const struct worker *w, uint64_t hash)
{
	hash ^= w->split * UINT64_C(0xff51afd7ed558ccd) + w->refused;
	for (uint64_t i = 0; i < w->count; i++) {
		hash ^= (uint64_t)w->lives[i].start << 16 ^ w->lives[i].sectors;
		hash = splitmix64(&hash);
	}
	return hash;
}
