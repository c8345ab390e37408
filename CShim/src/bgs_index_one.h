/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_one.h - the runs form: a group with one run in the root, which is what a fresh group
 * is.
 *
 * Neither the arrays nor the tables are looked at: the run's class is the only one present.
 */
#ifndef BGS_INDEX_ONE_H
#define BGS_INDEX_ONE_H

#include "bgs_index_internal.h"

static inline bool has_one_run(const struct bgs_index *ix)
{
	return ix->run_count == 1 && ((unsigned)ix->height << 8 | ix->form) == 0;
}

/* The only run now has @len sectors. */
static inline void one_run_class(struct bgs_index *ix, uint32_t len)
{
	unsigned c = bgs_class_of(len);

	if (__builtin_expect(ix->present[c >> 6] >> (c & 63) & 1, 1))
		return;
	ix->present[0] = 0;
	ix->present[1] = 0;
	ix->present[c >> 6] = (uint64_t)1 << (c & 63);
}

/* False when the range does not touch the run, or is partly free. */
static inline bool one_run_add(struct bgs_index *ix, uint32_t start, uint32_t len,
			       struct bgs_run *run_out)
{
	uint32_t first = ix->root.key[0], run = ix->free_sectors;

	if (start + len == first)
		ix->root.key[0] = first = start;
	else if (first + run != start)
		return false;
	run += len;
	run_out->start = first;
	run_out->len = run;
	ix->root.child[0] = run;
	ix->free_sectors = run;
	one_run_class(ix, run);
	return true;
}

/* Takes the run's first @len sectors, or all of it; the run has as many. */
static inline uint32_t one_run_take(struct bgs_index *ix, uint32_t len)
{
	uint32_t start = ix->root.key[0], rest = ix->free_sectors - len;

	ix->root.child[0] = rest;
	ix->free_sectors = rest;
	if (__builtin_expect(rest, 1)) {
		ix->root.key[0] = start + len;
		one_run_class(ix, rest);
		return start;
	}
	ix->root.key[0] = BGS_INDEX_PAD;
	ix->run_count = 0;
	ix->present[0] = 0;
	ix->present[1] = 0;
	return start;
}

#endif
