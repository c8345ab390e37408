/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_table.c - changing the table of bgs_table.h. */
#include "bgs_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 16
/* Buckets for each entry that fits: twice as many leave most entries one of their own. */
#define BUCKETS_PER_ENTRY 2

struct bgs_table *bgs_table_new(void)
{
	return calloc(1, sizeof(struct bgs_table));
}

void bgs_table_free(struct bgs_table *table)
{
	if (!table)
		return;
	free(table->buckets);
	free(table->entries);
	free(table);
}

struct bgs_group *bgs_table_find_slow(const struct bgs_table *table, uint64_t logical)
{
	uint32_t position = bgs_table_position(table, logical);

	/* The end counts too: the entry may have been appended since the position was found. */
	if (position >= __atomic_load_n(&table->count, __ATOMIC_ACQUIRE) ||
	    table->entries[position].logical > logical || table->entries[position].end <= logical)
		return NULL;
	return table->entries[position].group;
}

/*
 * Write the buckets that begin in [from, to): position is the entry that ends at
 * or after all of those addresses. Stops at the last bucket there is.
 */
static void fill_buckets(struct bgs_table *table, uint64_t from, uint64_t to, uint32_t position)
{
	/* Rounded up; written so that nothing overflows at the end of the address space. */
	uint64_t bucket = from <= table->base ? 0 : ((from - table->base - 1) >> table->shift) + 1;
	uint64_t last = (to - table->base - 1) >> table->shift;

	for (; bucket < table->bucket_count && bucket <= last; bucket++)
		__atomic_store_n(&table->buckets[bucket], position, __ATOMIC_RELAXED);
}

/* A version with room for twice as many entries; buckets sized for what entries span. */
static struct bgs_table *make_version(const struct bgs_table_entry *entries, uint32_t count)
{
	struct bgs_table *table = bgs_table_new();
	uint64_t span, covered;
	uint32_t i;

	if (!table)
		return NULL;
	table->capacity = count * 2 < CAPACITY_MIN ? CAPACITY_MIN : count * 2;
	table->bucket_count = table->capacity * BUCKETS_PER_ENTRY;
	table->entries = calloc(table->capacity, sizeof(*table->entries));
	table->buckets = malloc(table->bucket_count * sizeof(*table->buckets));
	if (!table->entries || !table->buckets) {
		bgs_table_free(table);
		return NULL;
	}
	memset(table->buckets, 0xff, table->bucket_count * sizeof(*table->buckets));
	if (count == 0)
		return table;

	memcpy(table->entries, entries, count * sizeof(*entries));
	table->base = entries[0].logical;
	span = entries[count - 1].end - table->base;
	/* What twice as many groups would span, so that appending finds buckets too. */
	covered = span > UINT64_MAX / 2 ? UINT64_MAX : span * 2;
	while (covered >> table->shift >= table->bucket_count)
		table->shift++;
	for (i = 0; i < count; i++)
		fill_buckets(table, i ? entries[i - 1].end : table->base, entries[i].end, i);
	table->count = count;
	return table;
}

bool bgs_table_overlaps(const struct bgs_table *table, uint64_t logical, uint64_t end)
{
	uint32_t position = bgs_table_position(table, logical);

	return position < table->count && table->entries[position].logical < end;
}

int bgs_table_add(struct bgs_table **slot, uint64_t logical, uint64_t end, struct bgs_group *group,
		  struct bgs_table **retired_out)
{
	struct bgs_table *table = *slot, *next;
	struct bgs_table_entry entry = {.logical = logical, .end = end, .group = group};
	struct bgs_table_entry *entries;
	uint32_t position = bgs_table_position(table, logical);

	*retired_out = NULL;
	if (bgs_table_overlaps(table, logical, end))
		return -EEXIST;

	if (position == table->count && table->count > 0 && table->count < table->capacity) {
		table->entries[position] = entry;
		fill_buckets(table, table->entries[position - 1].end, end, position);
		/* Release: pairs with the acquire in bgs_table_position(). */
		__atomic_store_n(&table->count, position + 1, __ATOMIC_RELEASE);
		return 0;
	}

	entries = malloc((table->count + 1) * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	memcpy(entries, table->entries, position * sizeof(*entries));
	entries[position] = entry;
	memcpy(entries + position + 1, table->entries + position,
	       (table->count - position) * sizeof(*entries));
	next = make_version(entries, table->count + 1);
	free(entries);
	if (!next)
		return -ENOMEM;
	*retired_out = table;
	bgs_publish(*slot, next);
	return 0;
}

int bgs_table_remove(struct bgs_table **slot, uint64_t logical, struct bgs_table **retired_out)
{
	struct bgs_table *table = *slot, *next;
	struct bgs_table_entry *entries;
	uint32_t position = bgs_table_position(table, logical);

	*retired_out = NULL;
	if (position == table->count || table->entries[position].logical != logical)
		return -ENOENT;
	entries = malloc(table->count * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	memcpy(entries, table->entries, position * sizeof(*entries));
	memcpy(entries + position, table->entries + position + 1,
	       (table->count - position - 1) * sizeof(*entries));
	next = make_version(entries, table->count - 1);
	free(entries);
	if (!next)
		return -ENOMEM;
	*retired_out = table;
	bgs_publish(*slot, next);
	return 0;
}
