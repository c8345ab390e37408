/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_bits.h - the bitmap form: one bit a sector, summaries, class tables by chunk.
 *
 * Level 0 is the bitmap's words; each word of level l + 1 says for 64 words of level l which have
 * any bit and which have all, so that the end of a run is at most two steps a level away. A chunk
 * is 4096 sectors. A table says for 64 chunks, per class, where runs of it may start; tables of
 * tables for larger groups. Table bits are set with the run, and cleared when a search finds
 * nothing there. Counts per class are exact.
 */
#ifndef BGS_INDEX_BITS_H
#define BGS_INDEX_BITS_H

#include "bgs_index_search.h"

#define MAP_BEST_CHUNKS 64

static inline uint64_t bits_from(unsigned bit)
{
	return ~(uint64_t)0 << bit;
}

/* The first free sector at or above @x; the group's size if there is none. */
static inline uint32_t map_next_set(const struct bgs_index *ix, uint32_t x)
{
	const uint64_t *words = bgs_map_words(ix);
	uint32_t at = x >> 6;
	uint64_t word;
	unsigned level;

	if (x >= ix->sectors)
		return ix->sectors;
	word = words[at] & bits_from(x & 63);
	if (word)
		return at * 64 + (uint32_t)__builtin_ctzll(word);
	for (level = 1; level < ix->level_count; level++) {
		const struct bgs_level_word *summary = bgs_map_level(ix, level);

		/* Behind the word just seen; at the end of a summary word, upwards with the next.
		 */
		at++;
		word = (at & 63) ? summary[at >> 6].any & bits_from(at & 63) : 0;
		at = (at & 63) ? at >> 6 : (at >> 6) - 1;
		if (word)
			break;
	}
	if (level == ix->level_count)
		return ix->sectors;
	for (; level; level--) {
		at = at * 64 + (uint32_t)__builtin_ctzll(word);
		word = level > 1 ? bgs_map_level(ix, level - 1)[at].any : words[at];
	}
	return at * 64 + (uint32_t)__builtin_ctzll(word);
}

/* The first sector at or above @x that is not free; the group's size if there is none. */
static inline uint32_t map_next_clear(const struct bgs_index *ix, uint32_t x)
{
	const uint64_t *words = bgs_map_words(ix);
	uint32_t at = x >> 6;
	uint64_t word;
	unsigned level;

	if (x >= ix->sectors)
		return ix->sectors;
	word = ~words[at] & bits_from(x & 63);
	if (word) {
		x = at * 64 + (uint32_t)__builtin_ctzll(word);
		return x < ix->sectors ? x : ix->sectors;
	}
	for (level = 1; level < ix->level_count; level++) {
		const struct bgs_level_word *summary = bgs_map_level(ix, level);

		at++;
		word = (at & 63) ? ~summary[at >> 6].full & bits_from(at & 63) : 0;
		at = (at & 63) ? at >> 6 : (at >> 6) - 1;
		if (word)
			break;
	}
	if (level == ix->level_count)
		return ix->sectors;
	/* Summary bits behind the group's end are clear, and lead to a place behind it. */
	for (; level; level--) {
		at = at * 64 + (uint32_t)__builtin_ctzll(word);
		if ((uint64_t)at << (6 * level) >= ix->sectors)
			return ix->sectors;
		word = level > 1 ? ~bgs_map_level(ix, level - 1)[at].full : ~words[at];
	}
	x = at * 64 + (uint32_t)__builtin_ctzll(word);
	return x < ix->sectors ? x : ix->sectors;
}

/* Where the run that holds @x begins. */
static inline uint32_t map_run_start(const struct bgs_index *ix, uint32_t x)
{
	const uint64_t *words = bgs_map_words(ix);
	uint32_t at = x >> 6;
	uint64_t word = ~words[at] & ~(bits_from(x & 63));
	unsigned level;

	if (word)
		return at * 64 + 64 - (uint32_t)__builtin_clzll(word);
	for (level = 1; level < ix->level_count; level++) {
		const struct bgs_level_word *summary = bgs_map_level(ix, level);

		word = ~summary[at >> 6].full & ~bits_from(at & 63);
		at >>= 6;
		if (word)
			break;
	}
	if (level == ix->level_count)
		return 0;
	for (; level; level--) {
		at = at * 64 + 63 - (uint32_t)__builtin_clzll(word);
		word = level > 1 ? ~bgs_map_level(ix, level - 1)[at].full : ~words[at];
	}
	return at * 64 + 64 - (uint32_t)__builtin_clzll(word);
}

static inline bool map_bit(const struct bgs_index *ix, uint32_t x)
{
	return bgs_map_words(ix)[x >> 6] >> (x & 63) & 1;
}

/* Words @first to @last of level 0 changed: bring the summaries up to date. */
static inline void map_summarise(struct bgs_index *ix, uint32_t first, uint32_t last)
{
	const uint64_t *words = bgs_map_words(ix);

	for (unsigned level = 1; level < ix->level_count; level++) {
		struct bgs_level_word *summary = bgs_map_level(ix, level), before = {0, 0};
		const struct bgs_level_word *below =
			level > 1 ? bgs_map_level(ix, level - 1) : NULL;

		if (first == last)
			before = summary[first >> 6];
		for (uint32_t at = first;; at++) {
			uint64_t any = below ? below[at].any : words[at];
			uint64_t full = below ? below[at].full : words[at];
			struct bgs_level_word *up = &summary[at >> 6];
			unsigned bit = at & 63;

			up->any = (up->any & ~((uint64_t)1 << bit)) | (uint64_t)(any != 0) << bit;
			up->full = (up->full & ~((uint64_t)1 << bit)) |
				   (uint64_t)(full == ~(uint64_t)0) << bit;
			if (at == last)
				break;
		}
		if (first == last && before.any == summary[first >> 6].any &&
		    before.full == summary[first >> 6].full)
			return;
		first >>= 6;
		last >>= 6;
	}
}

/*
 * The first run of a chunk may come into a page that was never touched: reading it would map the
 * page of zeroes, and the write then fault a second time.
 */
static inline void map_touch(struct bgs_index *ix, uint32_t start)
{
	if (ix->level_count > 1 && !bgs_map_level(ix, 1)[start >> BGS_CHUNK_SHIFT].any)
		bgs_map_words(ix)[start >> 6] = 0;
}

/* Sets or clears the bits of a range that is not empty. */
static inline void map_write(struct bgs_index *ix, uint32_t start, uint32_t len, bool set)
{
	uint64_t *words = bgs_map_words(ix);
	uint32_t last_bit = start + len - 1, first = start >> 6, last = last_bit >> 6;

	if (first == last) {
		uint64_t mask = ~(uint64_t)0 >> (64 - len) << (start & 63), before = words[first];
		uint64_t after = set ? before | mask : before & ~mask;

		words[first] = after;
		/* Neither empty nor full, before and after: the summaries stay as they are. */
		if (before + 1 > 1 && after + 1 > 1)
			return;
		map_summarise(ix, first, last);
		return;
	}
	for (uint32_t at = first;; at++) {
		uint64_t mask = ~(uint64_t)0;

		if (at == first)
			mask &= bits_from(start & 63);
		if (at == last)
			mask &= ~(uint64_t)0 >> (63 - (last_bit & 63));
		words[at] = set ? words[at] | mask : words[at] & ~mask;
		if (at == last)
			break;
	}
	map_summarise(ix, first, last);
}

static inline void map_count(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	unsigned c = bgs_class_of(len);
	uint32_t at = start >> BGS_CHUNK_SHIFT;

	++*bgs_map_count(ix, c);
	ix->present[c >> 6] |= (uint64_t)1 << (c & 63);
	for (unsigned level = 0; level < ix->table_count; level++) {
		bgs_map_table(ix, level)[at >> 6].of[c].where |= (uint64_t)1 << (at & 63);
		at >>= 6;
	}
}

static inline void map_discount(struct bgs_index *ix, uint32_t len)
{
	unsigned c = bgs_class_of(len);
	uint64_t left = --*bgs_map_count(ix, c) != 0;

	ix->present[c >> 6] = (ix->present[c >> 6] & ~((uint64_t)1 << (c & 63))) | left << (c & 63);
}

/* Whether any sector of a range is free; within one word that is one look. */
static inline bool map_any(const struct bgs_index *ix, uint32_t start, uint32_t len)
{
	uint64_t word = bgs_map_words(ix)[start >> 6] >> (start & 63);

	if ((start & 63) + len <= 64)
		return (word & ~(uint64_t)0 >> (64 - len)) != 0;
	return word || map_next_set(ix, start) < start + len;
}

static inline int map_add(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	uint32_t end = start + len, left = start, right = end;

	map_touch(ix, start);
	if (map_any(ix, start, len))
		return -EEXIST;
	if (start && map_bit(ix, start - 1)) {
		left = map_run_start(ix, start - 1);
		map_discount(ix, start - left);
		ix->run_count--;
	}
	if (end < ix->sectors && map_bit(ix, end)) {
		right = map_next_clear(ix, end);
		map_discount(ix, right - end);
		ix->run_count--;
	}
	map_write(ix, start, len, true);
	map_count(ix, left, right - left);
	ix->run_count++;
	ix->free_sectors += len;
	return 0;
}

/* Takes a range out of the run [left, right) that holds it. */
static inline void map_cut(struct bgs_index *ix, uint32_t left, uint32_t right, uint32_t start,
			   uint32_t len)
{
	map_write(ix, start, len, false);
	map_discount(ix, right - left);
	ix->run_count--;
	if (left < start) {
		map_count(ix, left, start - left);
		ix->run_count++;
	}
	if (start + len < right) {
		map_count(ix, start + len, right - start - len);
		ix->run_count++;
	}
	ix->free_sectors -= len;
}

static inline int map_remove(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	uint32_t right;

	if (!map_bit(ix, start))
		return -ENOENT;
	right = map_next_clear(ix, start);
	if (right < start + len)
		return -ENOENT;
	map_cut(ix, map_run_start(ix, start), right, start, len);
	return 0;
}

static inline bool map_next(const struct bgs_index *ix, uint32_t from, uint32_t *start_out,
			    uint32_t *len_out)
{
	uint32_t start = map_next_set(ix, from);

	if (start >= ix->sectors)
		return false;
	if (start == from)
		start = map_run_start(ix, from);
	*start_out = start;
	*len_out = map_next_clear(ix, from > start ? from : start) - start;
	return true;
}

#endif
