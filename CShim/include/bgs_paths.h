/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_paths.h - the two paths that nearly every claim and give-back takes through a
 * group's lock, each compiled as one function together with the index, for
 * AVX-512, for AVX2 and as plain C (bgs_paths_locked.h).
 */
#ifndef BGS_PATHS_H
#define BGS_PATHS_H

#include <stdint.h>

struct bgs_allocator;
struct bgs_group;
struct bgs_space;

/* Bytes; as struct bg_extent of blockgroups.h. */
struct bgs_extent {
	uint64_t logical;
	uint64_t length;
};

/* The longest claim of the usual kind, sectors: what a group's note of its last claim can say. */
#define BGS_USUAL_MAX ((1u << 20) - 1)

struct bgs_paths {
	/*
	 * Claim up to BGS_USUAL_MAX sectors from a space, the thread's home first: 0, or -ENOSPC:
	 * its directory knows of nothing.
	 */
	int (*claim)(struct bgs_allocator *allocator, struct bgs_space *space, uint32_t sectors,
		     struct bgs_extent *extent_out);
	/* The same for any length, out of a run that has `need` sectors at least. */
	int (*claim_roomy)(struct bgs_allocator *allocator, struct bgs_space *space,
			   uint32_t sectors, uint32_t need, uint64_t *sector_out);
	/* Any add to a group that lends nothing and is settled; the lock held. */
	int (*add)(struct bgs_group *group, uint32_t start, uint32_t sectors);
	/* bgs_allocator_give_back(), through the lock. */
	int (*give_back)(struct bgs_allocator *allocator, uint64_t sector, uint64_t sectors);
};

/* Those for this CPU; changes only before main() and in tests: read atomically. */
extern const struct bgs_paths *bgs_paths_chosen __attribute__((visibility("hidden")));

#endif
