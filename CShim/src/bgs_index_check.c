/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_check.c - verifies every invariant of a free-space index, by plain loops. For tests.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bgs_index_internal.h"

struct tally {
	uint64_t present[2];
	uint64_t sectors, runs;
	/* first sector behind the last run; 0 before the first */
	uint64_t behind;
	uint64_t tree_bytes;
};

#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "corrupt free-space index: ");                             \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, " (%s, line %d)\n", #condition, __LINE__);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void tally_run(const struct bgs_index *ix, struct tally *tally, uint32_t start, uint32_t len)
{
	unsigned c = bgs_class_of(len);

	CHECK(len, "empty run at %u", start);
	CHECK(!tally->runs || start > tally->behind, "run at %u touches the one before", start);
	CHECK((uint64_t)start + len <= ix->sectors, "run at %u, length %u passes the end", start,
	      len);
	tally->runs++;
	tally->sectors += len;
	tally->behind = (uint64_t)start + len;
	tally->present[c >> 6] |= (uint64_t)1 << (c & 63);
}

/* The runs of a leaf; sets in @classes what it holds. */
static void check_leaf(const struct bgs_index *ix, const uint32_t *starts, const uint32_t *lens,
		       unsigned n, struct tally *tally, uint64_t classes[2])
{
	unsigned count = 0;

	while (count < n && starts[count] != BGS_INDEX_PAD) {
		unsigned c = bgs_class_of(lens[count]);

		classes[c >> 6] |= (uint64_t)1 << (c & 63);
		tally_run(ix, tally, starts[count], lens[count]);
		count++;
	}
	for (unsigned j = count; j < n; j++)
		CHECK(starts[j] == BGS_INDEX_PAD && lens[j] == 0, "pad %u is not clear", j);
}

static void check_node(const struct bgs_index *ix, const struct bgs_index_node *node,
		       unsigned level, struct tally *tally, uint64_t classes[2])
{
	unsigned count = 0;

	while (count < BGS_INDEX_SLOTS && node->key[count] != BGS_INDEX_PAD)
		count++;
	CHECK(count, "node at level %u is empty", level);
	for (unsigned s = count; s < BGS_INDEX_SLOTS; s++)
		CHECK(node->key[s] == BGS_INDEX_PAD, "key %u at level %u is not a pad", s, level);
	for (unsigned s = 0; s < count; s++) {
		uint64_t below[2] = {0, 0};
		uint32_t first;

		if (level > 1) {
			first = bgs_node_at(ix, node->child[s])->key[0];
			tally->tree_bytes += BGS_NODE_UNITS * BGS_UNIT;
			check_node(ix, bgs_node_at(ix, node->child[s]), level - 1, tally, below);
		} else {
			const struct bgs_leaf *leaf = bgs_leaf_at(ix, node->child[s]);

			first = leaf->start[0];
			CHECK(first != BGS_INDEX_PAD, "leaf %u is empty", node->child[s]);
			tally->tree_bytes += sizeof(struct bgs_leaf);
			check_leaf(ix, leaf->start, leaf->len, BGS_LEAF_RUNS, tally, below);
		}
		CHECK(node->key[s] == first, "key %u at level %u is not its first start", s, level);
		for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++)
			CHECK((node->where[c] >> s & 1) == (below[c >> 6] >> (c & 63) & 1),
			      "class %u of slot %u at level %u", c, s, level);
		classes[0] |= below[0];
		classes[1] |= below[1];
	}
	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++)
		CHECK(!(node->where[c] >> (count - 1) >> 1), "class %u beyond slot %u", c, count);
}

static void check_runs(const struct bgs_index *ix, struct tally *tally)
{
	uint64_t classes[2] = {0, 0};

	if (ix->height) {
		check_node(ix, &ix->root, ix->height, tally, classes);
	} else {
		check_leaf(ix, ix->root.key, ix->root.child, BGS_INDEX_SLOTS, tally, classes);
		for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++)
			CHECK(!ix->root.where[c], "class %u in a root without leaves", c);
	}
	CHECK(tally->tree_bytes == ix->tree_bytes, "%u bytes of nodes", ix->tree_bytes);
	CHECK((uint64_t)ix->unit_next * BGS_UNIT <= bgs_tree_area_bytes(ix), "node area overrun");
}

static void check_summaries(const struct bgs_index *ix)
{
	size_t words = ((size_t)ix->sectors + 63) / 64;

	for (unsigned level = 1; level < ix->level_count; level++) {
		for (size_t at = 0; at < words; at++) {
			uint64_t any = level > 1 ? bgs_map_level(ix, level - 1)[at].any
						 : bgs_map_words(ix)[at];
			uint64_t full = level > 1 ? bgs_map_level(ix, level - 1)[at].full
						  : bgs_map_words(ix)[at];
			const struct bgs_level_word *up = &bgs_map_level(ix, level)[at >> 6];

			CHECK((up->any >> (at & 63) & 1) == (any != 0), "any, level %u, word %zu",
			      level, at);
			CHECK((up->full >> (at & 63) & 1) == (full == ~(uint64_t)0),
			      "full, level %u, word %zu", level, at);
		}
		words = (words + 63) / 64;
	}
	CHECK(words == 1, "levels missing");
}

static void check_bitmap(const struct bgs_index *ix, struct tally *tally)
{
	uint32_t counts[BGS_INDEX_CLASSES] = {0};
	const uint64_t *words = bgs_map_words(ix);
	uint32_t start = 0, len = 0;

	check_summaries(ix);
	for (uint64_t x = 0; x <= ix->sectors; x++) {
		bool set = x < ix->sectors && (words[x >> 6] >> (x & 63) & 1);

		if (set) {
			start = len ? start : (uint32_t)x;
			len++;
		} else if (len) {
			unsigned c = bgs_class_of(len);
			uint32_t at = start >> BGS_CHUNK_SHIFT;

			tally_run(ix, tally, start, len);
			counts[c]++;
			for (unsigned t = 0; t < ix->table_count; t++, at >>= 6)
				CHECK(bgs_map_table(ix, t)[at >> 6].of[c].where >> (at & 63) & 1,
				      "run at %u missing in table level %u", start, t);
			len = 0;
		}
	}
	for (uint64_t x = ix->sectors; x & 63; x++)
		CHECK(!(words[x >> 6] >> (x & 63) & 1), "bit behind the end");
	for (unsigned c = 0; c < BGS_INDEX_CLASSES; c++)
		CHECK(counts[c] == *bgs_map_count(ix, c), "count of class %u", c);
}

void bgs_index_check(const struct bgs_index *ix)
{
	struct tally tally = {{0, 0}, 0, 0, 0, 0};

	CHECK(ix->area == bgs_area_address(ix, ix->area_used), "area %u", ix->area_used);
	CHECK(ix->area_used / 2 == ix->form, "area of the other form");
	CHECK(ix->takes_alone == (ix->form && ix->table_count == 1 && ix->level_count > 1),
	      "takes_alone is %u", ix->takes_alone);
	CHECK(!(ix->trim_wanted >> ix->area_used & 1) || (!ix->form && !ix->height),
	      "the area in use waits for a trim");
	CHECK(ix->area_trimmed != ix->area_used + 1 || (!ix->form && !ix->height),
	      "the area in use is being trimmed");
	if (ix->form == BGS_FORM_BITMAP)
		check_bitmap(ix, &tally);
	else
		check_runs(ix, &tally);
	CHECK(tally.runs == ix->run_count, "%u runs counted as %u", (unsigned)tally.runs,
	      ix->run_count);
	CHECK(tally.sectors == ix->free_sectors, "%u sectors counted as %u",
	      (unsigned)tally.sectors, ix->free_sectors);
	CHECK(tally.present[0] == ix->present[0] && tally.present[1] == ix->present[1],
	      "classes present");
}
