/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_call.h - the two calls on the index that every claim and give-back
 * makes, without the layers in between, for callers that checked the range.
 */
#ifndef BGS_INDEX_CALL_H
#define BGS_INDEX_CALL_H

#include "bgs_index.h"

/* The operations for this CPU; changes only before main() and in tests. */
struct bgs_index_calls {
	int (*add)(struct bgs_index *ix, uint32_t start, uint32_t len);
	bool (*claim_best)(struct bgs_index *ix, uint32_t len, uint32_t need, unsigned class_limit,
			   uint32_t *start_out);
};
extern struct bgs_index_calls bgs_index_calls __attribute__((visibility("hidden")));

/* One run, which is what a fresh group is: the inline arrays need no search. */
static inline bool bgs_index_has_one_run(const struct bgs_index *ix)
{
	return ix->run_count == 1 && ix->form == 0 && ix->height == 0;
}

/* The only run shrinks or grows to this; 0: it goes. */
static inline void bgs_index_set_one_run(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	unsigned c = bgs_class_of(len | (len == 0));
	uint64_t bit = (uint64_t)(len != 0) << (c & 63);

	ix->root.key[0] = len ? start : BGS_INDEX_PAD;
	ix->root.child[0] = len;
	ix->run_count = len != 0;
	ix->free_sectors = len;
	ix->present[0] = c < 64 ? bit : 0;
	ix->present[1] = c < 64 ? 0 : bit;
}

/* bgs_index_claim_run() with len > 0 and need >= len. */
static inline bool bgs_index_call_claim(struct bgs_index *ix, uint32_t len, uint32_t need,
					unsigned class_limit, uint32_t *start_out,
					uint32_t *run_out)
{
	if (need > ix->free_sectors)
		return false;
	if (bgs_index_has_one_run(ix)) {
		*run_out = ix->free_sectors;
		if (bgs_class_of(*run_out) > class_limit)
			return false;
		*start_out = ix->root.key[0];
		bgs_index_set_one_run(ix, *start_out + len, *run_out - len);
		return true;
	}
	ix->noted_len = 0;
	if (!bgs_index_calls.claim_best(ix, len, need, class_limit, start_out))
		return false;
	*run_out = ix->noted_len;
	if (__builtin_expect(ix->noted_len == 0, 0)) {
		uint32_t run, rest;

		*run_out = len;
		if (bgs_index_next(ix, *start_out + len, &run, &rest) && run == *start_out + len)
			*run_out += rest;
	}
	return true;
}

/* bgs_index_add_merged() of a range that lies inside the group. */
static inline int bgs_index_call_add(struct bgs_index *ix, uint32_t start, uint32_t len,
				     uint32_t *run_out, uint32_t *run_len_out)
{
	int ret;

	if (bgs_index_has_one_run(ix)) {
		uint32_t first = ix->root.key[0], run = ix->root.child[0];

		if (start + len == first || first + run == start) {
			*run_out = first < start ? first : start;
			*run_len_out = run + len;
			bgs_index_set_one_run(ix, *run_out, run + len);
			return 0;
		}
	}
	ix->noted_len = 0;
	ret = bgs_index_calls.add(ix, start, len);
	if (__builtin_expect(ret, 0))
		return ret;
	*run_out = ix->noted_start;
	*run_len_out = ix->noted_len;
	if (__builtin_expect(ix->noted_len == 0, 0))
		bgs_index_next(ix, start, run_out, run_len_out);
	return 0;
}

#endif
