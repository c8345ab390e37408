/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_form.h - which form a group has, which of its areas that uses, and changing over.
 *
 * A change copies every run, in address order, into an area that is not under trim; the one left
 * waits for a trim.
 */
#ifndef BGS_INDEX_FORM_H
#define BGS_INDEX_FORM_H

#include "bgs_index_bits_search.h"

/* Area 0 or 1 of a kind (@first = 0 nodes, 2 bitmaps): the one that is not being trimmed. */
static unsigned area_pick(struct bgs_index *ix, unsigned first)
{
	return ix->area_trimmed == first + 1 ? first + 1 : first;
}

/* From now on an area is in use; nothing of the old one is looked at any more. */
static void area_use(struct bgs_index *ix, unsigned area)
{
	__atomic_store_n(&ix->area, bgs_area_address(ix, area), __ATOMIC_RELAXED);
	ix->area_used = (uint8_t)area;
	__atomic_store_n(&ix->takes_alone,
			 area >= 2 && ix->table_count == 1 && ix->level_count >= 2,
			 __ATOMIC_RELAXED);
	ix->trim_wanted &= (uint8_t) ~(1u << area);
}

/* So many units of the node area in use have been handed out. */
static void area_touched(struct bgs_index *ix, uint32_t units)
{
	uint32_t pages = (uint32_t)bgs_pages((size_t)units * BGS_UNIT);

	if (ix->tree_touched[ix->area_used] < pages)
		ix->tree_touched[ix->area_used] = pages;
}

/* An area with pages that is no longer used waits for a trim. */
static void area_leave(struct bgs_index *ix)
{
	if (ix->form == BGS_FORM_RUNS)
		area_touched(ix, ix->leaves_near ? ix->unit_next : 0);
	if (bgs_area_touched(ix, ix->area_used))
		ix->trim_wanted |= (uint8_t)(1u << ix->area_used);
}

static void runs_reset(struct bgs_index *ix)
{
	ix->form = BGS_FORM_RUNS;
	area_use(ix, area_pick(ix, 0));
	ix->height = 0;
	ix->leaf_free = BGS_NONE;
	ix->node_free = BGS_NONE;
	ix->leaves_near = 0;
	ix->unit_next = BGS_NEAR_UNITS;
	ix->tree_bytes = 0;
	ix->run_count = 0;
	ix->free_sectors = 0;
	ix->present[0] = 0;
	ix->present[1] = 0;
	node_clear(&ix->root);
}

static void runs_append(struct bgs_index *ix, uint32_t start, uint32_t len);

/*
 * Adds in address order that leave a run at least every so many sectors: a bitmap will be smaller
 * in the end, and until then only those of its pages are touched that are in use. Not before there
 * are some runs to judge by.
 */
#define INDEX_EARLY_SPACING 60u
#define INDEX_EARLY_RUNS    64u
#define INDEX_EARLY	    2
#define INDEX_EARLY_SECTORS (1u << 24)

static void map_put(struct bgs_index *ix, const uint32_t *starts, const uint32_t *lens, unsigned n)
{
	for (unsigned j = 0; j < n && lens[j]; j++) {
		map_touch(ix, starts[j]);
		map_write(ix, starts[j], lens[j], true);
		map_count(ix, starts[j], lens[j]);
	}
}

/* All runs below a node of the tree that @old was, in order. */
static void map_put_below(struct bgs_index *ix, const struct bgs_index *old,
			  const struct bgs_index_node *node, unsigned level)
{
	for (unsigned s = 0; s < BGS_INDEX_SLOTS && node->key[s] != BGS_INDEX_PAD; s++) {
		const struct bgs_leaf *leaf = bgs_leaf_at(old, node->child[s]);

		if (level > 1)
			map_put_below(ix, old, bgs_node_at(old, node->child[s]), level - 1);
		else
			map_put(ix, leaf->start, leaf->len, BGS_LEAF_RUNS);
	}
}

static void index_to_bitmap(struct bgs_index *ix)
{
	struct bgs_index old = *ix;

	area_leave(ix);
	ix->form = BGS_FORM_BITMAP;
	area_use(ix, area_pick(ix, 2));
	if (bgs_area_touched(ix, ix->area_used))
		memset(ix->area, 0, bgs_map_area_bytes(ix));
	ix->map_touched |= (uint8_t)(1u << (ix->area_used - 2));
	/* One that came early stays for as long as its runs do. */
	ix->runs_min =
		ix->run_count / 2 < ix->runs_min_usual ? ix->run_count / 2 : ix->runs_min_usual;
	if (old.height)
		map_put_below(ix, &old, &old.root, old.height);
	else
		map_put(ix, old.root.key, old.root.child, BGS_INDEX_SLOTS);
}

static void index_to_runs(struct bgs_index *ix)
{
	struct bgs_index old = *ix;
	uint32_t from = 0, start, len;

	area_leave(ix);
	runs_reset(ix);
	while (from < old.sectors && map_next(&old, from, &start, &len)) {
		runs_append(ix, start, len);
		from = start + len;
	}
}

static void op_convert(struct bgs_index *ix, int form)
{
	if (form == BGS_FORM_BITMAP && ix->form == BGS_FORM_RUNS)
		index_to_bitmap(ix);
	/* More runs than the node area is made for cannot go back. */
	if (form == BGS_FORM_RUNS && ix->form == BGS_FORM_BITMAP &&
	    ix->run_count <= 2 * ix->runs_min_usual)
		index_to_runs(ix);
}

/* Chunks with any free sector. */
static uint32_t map_chunks(const struct bgs_index *ix)
{
	const struct bgs_level_word *level = bgs_map_level(ix, 2);
	uint32_t chunks = 0, words = (ix->sectors + (1u << 18) - 1) >> 18;

	for (uint32_t at = 0; at < words; at++)
		chunks += (uint32_t)__builtin_popcountll(level[at].any);
	return chunks;
}

/* A bitmap that came early stays if it fills up as expected, and goes if its runs turn out half as
 * dense. */
static __attribute__((noinline)) void index_early_map(struct bgs_index *ix)
{
	if (ix->run_count >= 2 * ix->runs_min_usual)
		ix->runs_min = ix->runs_min_usual;
	/* A group of few sectors has no summary to count chunks in, and never came early. */
	else if (ix->level_count > 2 && (uint64_t)map_chunks(ix) << BGS_CHUNK_SHIFT >
						(uint64_t)ix->run_count * 2 * INDEX_EARLY_SPACING)
		index_to_runs(ix);
}

static inline void index_after_map(struct bgs_index *ix)
{
	if (__builtin_expect(ix->run_count < ix->runs_min, 0))
		index_to_runs(ix);
}

#endif
