/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_table.h - the block group that holds an address, found without a lock.
 *
 * A sorted array of groups, with buckets over the address space that say where in
 * it to begin: block groups are nearly all of one size, so a bucket leads to the
 * group itself in one or two steps. Readers are in an RCU read section; writers
 * hold BGS_MUTEX_GROUPS.
 *
 *   1. entries[0 .. count) are disjoint and ascending; those below the count
 *      never change.
 *   2. bucket[b] is the first entry that ends above base + (b << shift), or more
 *      than count when there was none.
 *   3. A group added above all others is appended in place where there is room,
 *      and becomes visible with the count; any other change makes a new version,
 *      sized for twice as many, and the old one goes after a grace period.
 */
#ifndef BGS_TABLE_H
#define BGS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bgs_rcu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bgs_group;

struct bgs_table_entry {
	/* Bytes, logical; end is exclusive. */
	uint64_t logical;
	uint64_t end;
	struct bgs_group *group;
};

struct bgs_table {
	/* Address of the first bucket; 0 when empty. */
	uint64_t base;
	uint32_t shift;
	uint32_t bucket_count;
	/* Entries that readers may see; release store, acquire load. */
	uint32_t count;
	uint32_t capacity;
	uint32_t *buckets;
	struct bgs_table_entry *entries;
};

/* Number of the first entry that ends above an address; count when there is none. */
static inline uint32_t bgs_table_position(const struct bgs_table *table, uint64_t logical)
{
	/* Acquire: pairs with the release in bgs_table_add(). */
	uint32_t count = __atomic_load_n(&table->count, __ATOMIC_ACQUIRE);
	uint32_t low = 0, high = count;

	if (count == 0 || logical <= table->base)
		return 0;
	if ((logical - table->base) >> table->shift < table->bucket_count) {
		uint32_t bucket = (uint32_t)((logical - table->base) >> table->shift);

		low = __atomic_load_n(&table->buckets[bucket], __ATOMIC_RELAXED);
		if (low >= count)
			return count;
		/* The usual case: the bucket's own entry, or the next one. */
		if (table->entries[low].end > logical)
			return low;
		if (++low == count || table->entries[low].end > logical)
			return low;
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (table->entries[middle].end > logical)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct bgs_group *bgs_table_find_slow(const struct bgs_table *table, uint64_t logical);

/* The group that holds an address, or NULL. */
static inline struct bgs_group *bgs_table_find(const struct bgs_table *table, uint64_t logical)
{
	/* Below the base this is more than there are buckets. */
	uint64_t bucket = (logical - table->base) >> table->shift;

	if (__builtin_expect(bucket < table->bucket_count, 1)) {
		uint32_t position = __atomic_load_n(&table->buckets[bucket], __ATOMIC_RELAXED);

		/* Acquire: pairs with the release in bgs_table_add(). */
		if (__builtin_expect(position < __atomic_load_n(&table->count, __ATOMIC_ACQUIRE),
				     1)) {
			const struct bgs_table_entry *entry = &table->entries[position];

			/* The bucket's own entry, as nearly always. */
			if (__builtin_expect(logical >= entry->logical && logical < entry->end, 1))
				return entry->group;
		}
	}
	return bgs_table_find_slow(table, logical);
}

/* Whether a group has some of [logical, end). BGS_MUTEX_GROUPS held. */
bool bgs_table_overlaps(const struct bgs_table *table, uint64_t logical, uint64_t end);

/*
 * Add or remove one group. *table is published anew where needed; *retired_out is
 * then the version to pass to bgs_table_free() after a grace period, else NULL.
 *
 * Return: 0, -EEXIST (overlaps), -ENOENT (no group begins there) or -ENOMEM.
 */
int bgs_table_add(struct bgs_table **table, uint64_t logical, uint64_t end, struct bgs_group *group,
		  struct bgs_table **retired_out);
int bgs_table_remove(struct bgs_table **table, uint64_t logical, struct bgs_table **retired_out);

struct bgs_table *bgs_table_new(void);
void bgs_table_free(struct bgs_table *table);

#ifdef __cplusplus
}
#endif

#endif
