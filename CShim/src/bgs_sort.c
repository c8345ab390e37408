/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_sort.c - ranges by address: a radix sort in place, up to eight bits at a time from the
 * highest that differ, and insertion where few are left.
 */
#include "bgs_add_many.h"

#include <stdbool.h>

#define DIGIT_BITS 8u
#define DIGITS	   (1u << DIGIT_BITS)
/* So few are sorted by insertion. */
#define FEW 32

static void insertion_sort(struct bgs_byte_range *ranges, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		struct bgs_byte_range range = ranges[i];
		size_t at = i;

		for (; at && ranges[at - 1].logical > range.logical; at--)
			ranges[at] = ranges[at - 1];
		ranges[at] = range;
	}
}

/* The bits in which any two addresses differ; *sorted_out: whether they ascend already. */
static uint64_t differing_bits(const struct bgs_byte_range *ranges, size_t count, bool *sorted_out)
{
	uint64_t bits = 0;
	bool sorted = true;

	for (size_t i = 1; i < count; i++) {
		bits |= ranges[i].logical ^ ranges[0].logical;
		sorted &= ranges[i - 1].logical <= ranges[i].logical;
	}
	*sorted_out = sorted;
	return bits;
}

static void radix_sort(struct bgs_byte_range *ranges, size_t count);

/* By the digit of @width bits at @shift; above it all are equal. */
static void sort_by_digit(struct bgs_byte_range *ranges, size_t count, unsigned shift,
			  unsigned width)
{
	size_t next[DIGITS], end[DIGITS], at = 0;
	unsigned digits = 1u << width;

	for (unsigned d = 0; d < digits; d++)
		end[d] = 0;
	for (size_t i = 0; i < count; i++)
		end[ranges[i].logical >> shift & (digits - 1)]++;
	for (unsigned d = 0; d < digits; d++) {
		next[d] = at;
		at += end[d];
		end[d] = at;
	}
	/* Each turn of the inner loop puts one range where it stays. */
	for (unsigned d = 0; d < digits; d++) {
		while (next[d] < end[d]) {
			struct bgs_byte_range range = ranges[next[d]];
			unsigned digit = (unsigned)(range.logical >> shift & (digits - 1));

			while (digit != d) {
				struct bgs_byte_range other = ranges[next[digit]];

				ranges[next[digit]++] = range;
				range = other;
				digit = (unsigned)(range.logical >> shift & (digits - 1));
			}
			ranges[next[d]++] = range;
		}
	}
	at = 0;
	for (unsigned d = 0; shift && d < digits; d++) {
		radix_sort(ranges + at, end[d] - at);
		at = end[d];
	}
}

/* Ends: every step settles a bit at least, and at most 64 deep. */
static void radix_sort(struct bgs_byte_range *ranges, size_t count)
{
	uint64_t bits;
	unsigned top, width;
	bool sorted;

	if (count <= FEW) {
		insertion_sort(ranges, count);
		return;
	}
	bits = differing_bits(ranges, count, &sorted);
	if (sorted)
		return;
	top = 64u - (unsigned)__builtin_clzll(bits);
	/* About as many digits as a quarter of the ranges. */
	width = 62u - (unsigned)__builtin_clzll(count);
	width = width < DIGIT_BITS ? width : DIGIT_BITS;
	width = width < top ? width : top;
	sort_by_digit(ranges, count, top - width, width);
}

void bgs_byte_ranges_sort(struct bgs_byte_range *ranges, size_t count)
{
	radix_sort(ranges, count);
}
