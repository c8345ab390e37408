/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_claim.h - what follows a small claim through the lock; bgs_claim.c. */
#ifndef BGS_CLAIM_H
#define BGS_CLAIM_H

#include "bgs_allocator.h"

/* A claim out of a run this long splits it anyway: lend its region as well. */
#define BGS_LEND_RUN_SECTORS (2 * BGS_REGION_SECTORS)

/* Opens a window around what was claimed, by a claim of the magazine's processor. */
void bgs_claim_open_window(struct bgs_magazine *magazine, const struct bgs_space *space,
			   struct bgs_group *group, uint64_t sector);

/*
 * After a small claim out of a run of a bin. May open a window. No lock held; inside a read
 * section.
 */
static inline void bgs_claim_note_small(struct bgs_allocator *allocator,
					const struct bgs_space *space, struct bgs_group *group,
					unsigned bin, uint64_t sector)
{
	struct bgs_magazine *magazine = bgs_magazine_here(allocator);

	if (__builtin_expect(__atomic_load_n(&magazine->eager, __ATOMIC_RELAXED) ||
				     bin >= bgs_bin_of(BGS_LEND_RUN_SECTORS),
			     0))
		bgs_claim_open_window(magazine, space, group, sector);
	else
		__atomic_store_n(&magazine->last_region, sector >> BGS_REGION_SHIFT,
				 __ATOMIC_RELAXED);
}

#endif
