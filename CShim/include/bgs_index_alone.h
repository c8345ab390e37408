/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_alone.h - a short run that comes alone into a bitmap, inline for those who add
 * the free space of a shattered group run by run.
 *
 * Alone means: inside one word, touching no free sector. Nothing merges then, so one word,
 * its summary bit and the count of its class are all that changes.
 */
#ifndef BGS_INDEX_ALONE_H
#define BGS_INDEX_ALONE_H

#include "bgs_index.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BGS_CHUNK_SHIFT 12

/* One level of the bitmap's summaries: for 64 words below, which have any bit, which have all. */
struct bgs_level_word {
	uint64_t any;
	uint64_t full;
};

/*
 * Which of 64 chunks (or of 64 tables below) may hold the start of a run of a class. The very first
 * table also counts the runs of the class in the group: next to the bits, because both change
 * together.
 */
struct bgs_table_row {
	uint64_t where;
	uint64_t count;
};

static inline uint64_t *bgs_map_words(const struct bgs_index *ix)
{
	return (uint64_t *)ix->area;
}

/*
 * Before the lock is there, so a hint: whether the index takes a run alone, and then what an add at
 * @start will wait for is fetched.
 */
static inline bool bgs_index_prefetch_alone(const struct bgs_index *ix, uint32_t start)
{
	if (!__atomic_load_n(&ix->takes_alone, __ATOMIC_RELAXED))
		return false;
	__builtin_prefetch(__atomic_load_n(&ix->area, __ATOMIC_RELAXED) + start / 64 * 8, 1);
	return true;
}

/*
 * Add a run of class @c that is alone. In an index that takes_alone, ranges are inside the
 * group. @another: only if there is a run of the class already, so that nobody else has to
 * be told of it.
 *
 * Return: false, with nothing changed, when it is not the usual case: bgs_index_add() decides.
 */
static __attribute__((always_inline)) inline bool bgs_index_add_alone(struct bgs_index *ix,
								      uint32_t start, uint32_t len,
								      unsigned c,
								      const bool another)
{
	uint64_t *word = &bgs_map_words(ix)[start >> 6], before, mask;
	struct bgs_table_row *row = (struct bgs_table_row *)(ix->area + ix->tables_at) + c;
	uint64_t *any =
		&((struct bgs_level_word *)(ix->area + ix->summary_at))[start >> BGS_CHUNK_SHIFT]
			 .any;
	unsigned bit = start & 63;

	if (__builtin_expect(bit + len >= 64, 0))
		return false;
	if (len >= 64)
		__builtin_unreachable();
	/* A chunk with nothing has summaries above to tell, and words that may never have been
	 * touched. */
	if (__builtin_expect(!*any, 0) || __builtin_expect(another && !row->count, 0))
		return false;
	before = *word;
	mask = ~(~(uint64_t)0 << len) << bit;
	if (__builtin_expect((before & (mask | mask << 1 | mask >> 1)) != 0, 0))
		return false;
	/* The sector before the word. */
	if (__builtin_expect(bit == 0, 0) && start && word[-1] >> 63)
		return false;
	*any |= (uint64_t)1 << (start >> 6 & 63);
	*word = before | mask;
	row->where |= (uint64_t)1 << (start >> BGS_CHUNK_SHIFT & 63);
	row->count++;
	if (!another)
		ix->present[c >> 6] |= (uint64_t)1 << (c & 63);
	ix->run_count++;
	ix->free_sectors += len;
	return true;
}

#ifdef __cplusplus
}
#endif
#endif
