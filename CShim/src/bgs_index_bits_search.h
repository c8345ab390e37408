/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_bits_search.h - the bitmap form: best fit and searches by address.
 *
 * The tables name the chunks; a chunk is then gone through run by run. Runs belong to the chunk
 * they start in.
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

#if BGS_AVX2
/* Whether a run of exactly @n sectors may start in the four words at @words; reads one word either
 * side. */
VEC bool map_four_exact(const uint64_t *words, unsigned n)
{
	const __m256i *at = (const __m256i *)(const void *)words;
	__m256i word = _mm256_loadu_si256(at), low = word, high;
	__m256i before = _mm256_loadu_si256((const __m256i *)(const void *)(words - 1));
	__m256i after = _mm256_loadu_si256((const __m256i *)(const void *)(words + 1));
	__m256i no_start, no_end;
	unsigned k = 1;

	high = after;
	for (unsigned step; k < n; k += step) {
		__m128i down, up;

		step = 2 * k <= n ? k : n - k;
		down = _mm_cvtsi32_si128((int)step);
		up = _mm_cvtsi32_si128((int)(64 - step));
		low = _mm256_and_si256(low, _mm256_or_si256(_mm256_srl_epi64(low, down),
							    _mm256_sll_epi64(high, up)));
		high = _mm256_and_si256(high, _mm256_srl_epi64(high, down));
	}
	no_start = _mm256_or_si256(_mm256_slli_epi64(word, 1), _mm256_srli_epi64(before, 63));
	no_end = _mm256_or_si256(_mm256_srl_epi64(word, _mm_cvtsi32_si128((int)n)),
				 _mm256_sll_epi64(after, _mm_cvtsi32_si128((int)(64 - n))));
	return !_mm256_testc_si256(_mm256_or_si256(no_start, no_end), low);
}
#endif

/* The next run of exactly @n (below 15) sectors that starts in the chunk; a word at a time. */
static inline bool map_chunk_exact(const struct bgs_index *ix, struct map_cursor *cursor,
				   unsigned n, uint32_t *start_out)
{
	const uint64_t *words = bgs_map_words(ix);
	uint32_t last = (ix->sectors - 1) >> 6;

	for (uint32_t at = cursor->next >> 6; at << 6 < cursor->end; at++) {
		uint64_t word = words[at], before = at ? words[at - 1] >> 63 : 0, hit;
		unsigned __int128 wide, runs;
		unsigned k = 1;

#if BGS_AVX2
		/* Four words at once, where both neighbours are words of the map too. */
		if (at && !(at & 3) && at + 4 <= last && !map_four_exact(words + at, n)) {
			at += 3;
			continue;
		}
#endif
		if (!word)
			continue;
		wide = (unsigned __int128)(at < last ? words[at + 1] : 0) << 64 | word;
		for (runs = wide; 2 * k <= n; k *= 2)
			runs &= runs >> k;
		runs &= runs >> (n - k);
		hit = (uint64_t)runs & ~(word << 1 | before) & ~(uint64_t)(wide >> n);
		if (at == cursor->next >> 6)
			hit &= bits_from(cursor->next & 63);
		if (hit) {
			*start_out = at * 64 + (uint32_t)__builtin_ctzll(hit);
			cursor->next = *start_out + n + 1;
			return true;
		}
	}
	cursor->next = cursor->end;
	return false;
}

/* The next run that starts in the chunk and may have 15 sectors: it has 8 of them inside one word.
 */
static inline bool map_chunk_long(const struct bgs_index *ix, struct map_cursor *cursor,
				  uint32_t *start_out, uint32_t *len_out)
{
	const uint64_t *words = bgs_map_words(ix);
	uint32_t begin = (cursor->end - 1) >> BGS_CHUNK_SHIFT << BGS_CHUNK_SHIFT;

	for (uint32_t at = cursor->next >> 6; at << 6 < cursor->end; at++) {
		uint64_t word = words[at];
		uint32_t hit, start;

		if (at == cursor->next >> 6)
			word &= bits_from(cursor->next & 63);
		word &= word >> 1;
		word &= word >> 2;
		word &= word >> 4;
		if (!word)
			continue;
		hit = at * 64 + (uint32_t)__builtin_ctzll(word);
		start = map_run_start(ix, hit);
		cursor->next = map_next_clear(ix, hit);
		if (start >= begin) {
			*start_out = start;
			*len_out = cursor->next - start;
			return true;
		}
		if (cursor->next >= cursor->end)
			return false;
		at = (cursor->next >> 6) - 1;
	}
	/* Fewer than 8 may lie in the chunk's last word, and the others in the next chunk. */
	if (cursor->next < cursor->end && map_bit(ix, cursor->end - 1)) {
		uint32_t start = map_run_start(ix, cursor->end - 1);

		if (start >= begin && start >= cursor->next) {
			cursor->next = map_next_clear(ix, cursor->end - 1);
			*start_out = start;
			*len_out = cursor->next - start;
			return true;
		}
	}
	cursor->next = cursor->end;
	return false;
}

/* The next run of class @c, from class 14 on perhaps of another one, that starts in the chunk. */
static inline bool map_chunk_class(const struct bgs_index *ix, struct map_cursor *cursor,
				   unsigned c, uint32_t *start_out, uint32_t *len_out)
{
	if (c >= 14)
		return map_chunk_long(ix, cursor, start_out, len_out);
	*len_out = c + 1;
	return map_chunk_exact(ix, cursor, c + 1, start_out);
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

	while (map_chunk_class(ix, &cursor, search->c, &start, &len)) {
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
	struct bgs_class_table *table = &bgs_map_table(ix, level)[at];
	uint64_t *where = &table->of[search->c].where;

	for (uint64_t bits = *where; bits && !map_search_done(search); bits &= bits - 1) {
		uint32_t below = at * 64 + (uint32_t)__builtin_ctzll(bits);
		bool present;

		if (level) {
			map_search_table(ix, level - 1, below, search);
			present = bgs_map_table(ix, level - 1)[below].of[search->c].where != 0;
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
			.runs_left = *bgs_map_count(ix, c),
			.plain = wish->align <= 1,
			.found = {UINT32_MAX, 0},
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

/* Lowest fitting address among the runs that start below table @at; runs are in address order
 * there. */
static bool map_from_table(const struct bgs_index *ix, unsigned level, uint32_t at,
			   const struct index_wish *wish, uint32_t *at_out)
{
	const struct bgs_class_table *table = &bgs_map_table(ix, level)[at];
	uint32_t first = wish->from >> (BGS_CHUNK_SHIFT + 6 * level);
	uint64_t bits = 0;

	for (unsigned c = bgs_class_of(wish->need); c < BGS_INDEX_CLASSES; c++)
		bits |= table->of[c].where;
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
		while (wish->need >= 15 ? map_chunk_long(ix, &cursor, &start, &len)
					: map_chunk_next(ix, &cursor, &start, &len))
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

	for (uint64_t bits = bgs_map_table(ix, level)[at].of[c].where; bits && *runs_left;
	     bits &= bits - 1) {
		uint32_t below = at * 64 + (uint32_t)__builtin_ctzll(bits);
		struct map_cursor cursor;

		if (level) {
			len = map_longest_below(ix, level - 1, below, c, runs_left);
			longest = len > longest ? len : longest;
			continue;
		}
		cursor = map_chunk(ix, below);
		while (*runs_left && map_chunk_class(ix, &cursor, c, &start, &len)) {
			*runs_left -= bgs_class_of(len) == c;
			longest = len > longest ? len : longest;
		}
	}
	return longest;
}

static uint32_t map_largest(const struct bgs_index *ix)
{
	unsigned c = index_class_last(ix);
	uint32_t runs_left = *bgs_map_count(ix, c);

	return map_longest_below(ix, ix->table_count - 1, 0, c, &runs_left);
}

#endif
