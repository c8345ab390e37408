/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_bits_search.h - the bitmap form: best fit and searches by address.
 *
 * The tables name the chunks; a chunk is then gone through run by run. Runs belong to the chunk they start in.
 */
#ifndef BGS_INDEX_BITS_SEARCH_H
#define BGS_INDEX_BITS_SEARCH_H

#include "bgs_index_bits.h"

/* Goes through the runs that start in one chunk. */
struct map_cursor {
	uint32_t next, end;
};

static inline struct map_cursor map_chunk(const struct bgs_index *ix, uint32_t chunk)
{
	struct map_cursor cursor;
	uint64_t end = ((uint64_t)chunk + 1) << BGS_CHUNK_SHIFT;

	cursor.next = chunk << BGS_CHUNK_SHIFT;
	cursor.end = end < ix->sectors ? (uint32_t)end : ix->sectors;
	if (cursor.next && map_bit(ix, cursor.next - 1) && map_bit(ix, cursor.next))
		cursor.next = map_next_clear(ix, cursor.next);
	return cursor;
}

static inline bool map_chunk_next(const struct bgs_index *ix, struct map_cursor *cursor,
				  uint32_t *start_out, uint32_t *len_out)
{
	uint32_t start;

	if (cursor->next >= cursor->end)
		return false;
	start = map_next_set(ix, cursor->next);
	if (start >= cursor->end)
		return false;
	cursor->next = map_next_clear(ix, start);
	*start_out = start;
	*len_out = cursor->next - start;
	return true;
}

struct map_search {
	const struct index_wish *wish;
	unsigned c;
	/* chunks that held a run of the class; runs of the class not met yet */
	unsigned chunks;
	uint32_t runs_left;
	/* no alignment asked for: an exact fit ends the search */
	bool plain;
	struct index_found found;
	uint32_t run_start;
};

/* Looks at one chunk; false when no run of the class starts there. */
static bool map_search_chunk(const struct bgs_index *ix, uint32_t chunk, struct map_search *search)
{
	struct map_cursor cursor = map_chunk(ix, chunk);
	bool present = false;
	uint32_t start, len, at;

	while (map_chunk_next(ix, &cursor, &start, &len)) {
		if (bgs_class_of(len) != search->c)
			continue;
		present = true;
		search->runs_left--;
		if (len < search->found.len && wish_fits(search->wish, start, len, &at)) {
			search->found.len = len;
			search->found.at = at;
			search->run_start = start;
			if (search->plain && len == search->wish->need)
				break;
		}
		if (!search->runs_left)
			break;
	}
	search->chunks += present;
	return present;
}

static inline bool map_search_done(const struct map_search *search)
{
	if (!search->runs_left)
		return true;
	if (search->found.len == UINT32_MAX)
		return false;
	return search->chunks >= MAP_BEST_CHUNKS ||
	       (search->plain && search->found.len == search->wish->need);
}

/* Looks below one table; clears its bits where there turns out to be nothing. */
static void map_search_table(struct bgs_index *ix, unsigned level, uint32_t at,
			     struct map_search *search)
{
	struct bgs_table *table = &bgs_map_table(ix, level)[at];
	uint64_t *where = &table->where[search->c];

	for (uint64_t bits = *where; bits && !map_search_done(search); bits &= bits - 1) {
		uint32_t below = at * 64 + (uint32_t)__builtin_ctzll(bits);
		bool present;

		if (level) {
			map_search_table(ix, level - 1, below, search);
			present = bgs_map_table(ix, level - 1)[below].where[search->c] != 0;
		} else {
			present = map_search_chunk(ix, below, search);
		}
		if (!present)
			*where &= ~(bits & -bits);
	}
}

static bool map_find_best(struct bgs_index *ix, const struct index_wish *wish, uint32_t *run_out,
			  struct index_found *found_out)
{
	for (unsigned c = index_class_next(ix, bgs_class_of(wish->need)); c <= wish->class_limit;
	     c = index_class_next(ix, c + 1)) {
		struct map_search search = {
			.wish = wish,
			.c = c,
			.runs_left = bgs_map_counts(ix)[c],
			.plain = wish->align <= 1,
			.found = { UINT32_MAX, 0 },
		};

		map_search_table(ix, ix->table_count - 1, 0, &search);
		if (search.found.len != UINT32_MAX) {
			*run_out = search.run_start;
			*found_out = search.found;
			return true;
		}
	}
	return false;
}

static bool map_claim_wish(struct bgs_index *ix, const struct index_wish *wish, uint32_t *start_out)
{
	struct index_found found;
	uint32_t run;

	if (!map_find_best(ix, wish, &run, &found))
		return false;
	map_cut(ix, run, run + found.len, found.at, wish->len);
	*start_out = found.at;
	return true;
}

/* Lowest fitting address among the runs that start below table @at; runs are in address order there. */
static bool map_from_table(const struct bgs_index *ix, unsigned level, uint32_t at,
			   const struct index_wish *wish, uint32_t *at_out)
{
	const struct bgs_table *table = &bgs_map_table(ix, level)[at];
	uint32_t first = wish->from >> (BGS_CHUNK_SHIFT + 6 * level);
	uint64_t bits = 0;

	for (unsigned c = bgs_class_of(wish->need); c < BGS_INDEX_CLASSES; c++)
		bits |= table->where[c];
	if (first / 64 > at)
		return false;
	if (first / 64 == at)
		bits &= bits_from(first & 63);
	for (; bits; bits &= bits - 1) {
		uint32_t below = at * 64 + (uint32_t)__builtin_ctzll(bits), start, len;
		struct map_cursor cursor;

		if ((uint64_t)below << (BGS_CHUNK_SHIFT + 6 * level) >= wish->end)
			return false;
		if (level) {
			if (map_from_table(ix, level - 1, below, wish, at_out))
				return true;
			continue;
		}
		cursor = map_chunk(ix, below);
		if (cursor.next < wish->from)
			cursor.next = wish->from;
		while (map_chunk_next(ix, &cursor, &start, &len))
			if (wish_fits(wish, start, len, at_out))
				return true;
	}
	return false;
}

static bool map_find_from(const struct bgs_index *ix, const struct index_wish *wish,
			  uint32_t *at_out)
{
	/* The run that lies across `from` may have started chunks ago. */
	if (map_bit(ix, wish->from)) {
		uint32_t end = map_next_clear(ix, wish->from);

		if (wish_fits(wish, wish->from, end - wish->from, at_out))
			return true;
	}
	return map_from_table(ix, ix->table_count - 1, 0, wish, at_out);
}

static uint32_t map_longest_below(const struct bgs_index *ix, unsigned level, uint32_t at,
				  unsigned c, uint32_t *runs_left)
{
	uint32_t longest = 0, start, len;

	for (uint64_t bits = bgs_map_table(ix, level)[at].where[c]; bits && *runs_left;
	     bits &= bits - 1) {
		uint32_t below = at * 64 + (uint32_t)__builtin_ctzll(bits);
		struct map_cursor cursor;

		if (level) {
			len = map_longest_below(ix, level - 1, below, c, runs_left);
			longest = len > longest ? len : longest;
			continue;
		}
		cursor = map_chunk(ix, below);
		while (*runs_left && map_chunk_next(ix, &cursor, &start, &len)) {
			*runs_left -= bgs_class_of(len) == c;
			longest = len > longest ? len : longest;
		}
	}
	return longest;
}

static uint32_t map_largest(const struct bgs_index *ix)
{
	unsigned c = index_class_last(ix);
	uint32_t runs_left = bgs_map_counts(ix)[c];

	return map_longest_below(ix, ix->table_count - 1, 0, c, &runs_left);
}

#endif
