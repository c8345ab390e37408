/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_internal.h - what the sources of the free-space index share.
 *
 * The operations are compiled three times, for AVX-512, for AVX2 and as plain C, from the same text
 * (bgs_index_ops.h and what it includes). All give the same results; bgs_index.c picks one before
 * main().
 */
#ifndef BGS_INDEX_INTERNAL_H
#define BGS_INDEX_INTERNAL_H

#include <errno.h>
#include <string.h>

#include "bgs_index_alone.h"
#include "bgs_paths.h"

#define BGS_FORM_RUNS	0
#define BGS_FORM_BITMAP 1

#define BGS_LEAF_RUNS  32
#define BGS_UNIT       128u
#define BGS_LEAF_UNITS 2u
#define BGS_NODE_UNITS 3u
/* The first page of the node area holds leaves only, rotated by the group's color. */
#define BGS_NEAR_LEAVES 16u
#define BGS_NEAR_UNITS	32u
#define BGS_NONE	0xffffffffu
#define BGS_PATH_MAX	12

struct bgs_leaf {
	uint32_t start[BGS_LEAF_RUNS];
	uint32_t len[BGS_LEAF_RUNS];
};

_Static_assert(sizeof(struct bgs_leaf) == BGS_LEAF_UNITS * BGS_UNIT, "a leaf is two units");
_Static_assert(sizeof(struct bgs_index_node) <= BGS_NODE_UNITS * BGS_UNIT, "a node is three units");
_Static_assert(offsetof(struct bgs_index, root) == 64, "the counters fill line 0");
_Static_assert(sizeof(struct bgs_index) == 496, "an idle group costs next to nothing");

struct bgs_class_table {
	struct bgs_table_row of[BGS_INDEX_CLASSES];
};

struct bgs_run {
	uint32_t start;
	uint32_t len;
};

struct bgs_index_operations {
	/* Sets *run_out to the run that the range became part of; its len to 0: not noted. */
	int (*add)(struct bgs_index *, uint32_t, uint32_t, struct bgs_run *run_out);
	int (*remove)(struct bgs_index *, uint32_t, uint32_t);
	bool (*claim_best)(struct bgs_index *, uint32_t, uint32_t, uint32_t *, uint32_t *);
	bool (*claim_within)(struct bgs_index *, uint32_t, uint32_t, uint32_t, uint32_t *,
			     uint32_t *);
	bool (*may_have)(const struct bgs_index *, uint32_t, uint32_t);
	bool (*claim_from)(struct bgs_index *, uint32_t, uint32_t, uint32_t, uint32_t, uint64_t,
			   uint64_t, uint32_t *);
	bool (*claim_best_aligned)(struct bgs_index *, uint32_t, uint32_t, uint64_t, uint64_t,
				   uint32_t *);
	uint32_t (*largest)(const struct bgs_index *);
	bool (*next)(const struct bgs_index *, uint32_t, uint32_t *, uint32_t *);
	void (*convert)(struct bgs_index *, int);
	/* The paths above the index that were compiled with it. */
	struct bgs_paths paths;
};

extern const struct bgs_index_operations bgs_index_scalar;
#ifdef __x86_64__
extern const struct bgs_index_operations bgs_index_avx2;
extern const struct bgs_index_operations bgs_index_avx512;
#endif

/* Address space of @bytes (a multiple of the page size), zeroed at first touch; NULL: none left. */
unsigned char *bgs_index_region_get(size_t bytes);
void bgs_index_region_put(unsigned char *region, size_t bytes);

#define BGS_PAGE 4096u

static inline size_t bgs_pages(size_t bytes)
{
	return (bytes + BGS_PAGE - 1) / BGS_PAGE;
}

/* Leaves and interior nodes keep apart free lists: each kind may have had its time. */
static inline size_t bgs_tree_area_bytes(const struct bgs_index *ix)
{
	return BGS_PAGE *
	       bgs_pages((BGS_NEAR_UNITS + 64) * BGS_UNIT + 2 * (size_t)ix->tree_bytes_max);
}

static inline size_t bgs_map_area_bytes(const struct bgs_index *ix)
{
	return (size_t)ix->map_pages * BGS_PAGE;
}

/* Areas 0 and 1 are for nodes, 2 and 3 for bitmaps: one of each may be under trim while the other
 * is used. */
static inline size_t bgs_area_offset(const struct bgs_index *ix, unsigned area)
{
	if (area < 2)
		return area * bgs_tree_area_bytes(ix);
	return 2 * bgs_tree_area_bytes(ix) + (area - 2) * bgs_map_area_bytes(ix);
}

static inline size_t bgs_region_bytes(const struct bgs_index *ix)
{
	return bgs_area_offset(ix, 4);
}

static inline unsigned char *bgs_area_address(const struct bgs_index *ix, unsigned area)
{
	return ix->area - bgs_area_offset(ix, ix->area_used) + bgs_area_offset(ix, area);
}

/* Bytes of an area that have been touched since its last trim. */
static inline size_t bgs_area_touched(const struct bgs_index *ix, unsigned area)
{
	if (area < 2)
		return (size_t)ix->tree_touched[area] * BGS_PAGE;
	return ix->map_touched >> (area - 2) & 1 ? bgs_map_area_bytes(ix) : 0;
}

static inline struct bgs_level_word *bgs_map_level(const struct bgs_index *ix, unsigned level)
{
	/* The first summary's place is in line 0, the others' are further off. */
	uint32_t at = level == 1 ? ix->summary_at : ix->level_far[level - 2];

	return (struct bgs_level_word *)(ix->area + at);
}

static inline struct bgs_class_table *bgs_map_table(const struct bgs_index *ix, unsigned level)
{
	uint32_t at = level == 0 ? ix->tables_at : ix->table_far[level - 1];

	return (struct bgs_class_table *)(ix->area + at);
}

/* How many runs of class @c there are. */
static inline uint64_t *bgs_map_count(const struct bgs_index *ix, unsigned c)
{
	return &bgs_map_table(ix, 0)->of[c].count;
}

static inline struct bgs_leaf *bgs_leaf_at(const struct bgs_index *ix, uint32_t unit)
{
	return (struct bgs_leaf *)(ix->area + (size_t)unit * BGS_UNIT);
}

static inline struct bgs_index_node *bgs_node_at(const struct bgs_index *ix, uint32_t unit)
{
	return (struct bgs_index_node *)(ix->area + (size_t)unit * BGS_UNIT);
}

#endif
