/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_call.h - the two calls on the index that every claim and give-back
 * makes, without the layers in between, for callers that checked the range.
 */
#ifndef BGS_INDEX_CALL_H
#define BGS_INDEX_CALL_H

#include "bgs_index_one.h"

/* The operations for this CPU; changes only before main() and in tests. */
struct bgs_index_calls {
	int (*add)(struct bgs_index *ix, uint32_t start, uint32_t len);
	bool (*claim_best)(struct bgs_index *ix, uint32_t len, uint32_t need, unsigned class_limit,
			   uint32_t *start_out);
};
extern struct bgs_index_calls bgs_index_calls __attribute__((visibility("hidden")));

/* bgs_index_claim_run() with len > 0 and need >= len. */
static inline bool bgs_index_call_claim(struct bgs_index *ix, uint32_t len, uint32_t need,
					unsigned class_limit, uint32_t *start_out,
					uint32_t *run_out)
{
	if (need > ix->free_sectors)
		return false;
	if (has_one_run(ix)) {
		*run_out = ix->free_sectors;
		return one_run_claim(ix, len, class_limit, start_out);
	}
	ix->noted_len = 0;
	if (!__atomic_load_n(&bgs_index_calls.claim_best, __ATOMIC_RELAXED)(ix, len, need,
									    class_limit, start_out))
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

/* bgs_index_add() of a range inside the group, with the run that it is part of then. */
static inline int bgs_index_call_add(struct bgs_index *ix, uint32_t start, uint32_t len,
				     uint32_t *run_out, uint32_t *run_len_out)
{
	int ret;

	if (has_one_run(ix) && one_run_add(ix, start, len)) {
		*run_out = ix->root.key[0];
		*run_len_out = ix->free_sectors;
		return 0;
	}
	ix->noted_len = 0;
	ret = __atomic_load_n(&bgs_index_calls.add, __ATOMIC_RELAXED)(ix, start, len);
	if (__builtin_expect(ret, 0))
		return ret;
	*run_out = ix->noted_start;
	*run_len_out = ix->noted_len;
	if (__builtin_expect(ix->noted_len == 0, 0))
		bgs_index_next(ix, start, run_out, run_len_out);
	return 0;
}

#endif
