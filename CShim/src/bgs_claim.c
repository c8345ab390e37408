/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_claim.c - the claim that has no wish of its own, and what follows a claim
 * through the lock; the paths themselves are in bgs_paths_locked.h.
 */
#include "bgs_claim.h"

#include <errno.h>

void bgs_claim_open_window(struct bgs_magazine *magazine, const struct bgs_space *space,
			   struct bgs_group *group, uint64_t sector)
{
	uint32_t eager = __atomic_load_n(&magazine->eager, __ATOMIC_RELAXED);

	if (eager)
		__atomic_store_n(&magazine->eager, eager - 1, __ATOMIC_RELAXED);
	bgs_magazine_open(magazine, bgs_window_type_of(space->flags), group, sector);
}

int bgs_allocator_give_back_locked(struct bgs_allocator *allocator, uint64_t logical,
				   uint64_t length)
{
	unsigned shift = allocator->sector_shift;

	if (!length || ((logical | length) & ((UINT64_C(1) << shift) - 1)))
		return -EINVAL;
	return allocator->paths.give_back(allocator, logical >> shift, length >> shift);
}

int bgs_allocator_claim(struct bgs_allocator *allocator, uint64_t flags, uint32_t sectors,
			uint32_t need, uint64_t *sector_out)
{
	uint32_t count = bgs_allocator_space_count(allocator), i;
	int ret = -ENOSPC;

	if (need == sectors && !(flags & BGS_FLAGS_SINGLE) && sectors <= allocator->magazine_max) {
		uint64_t sector =
			bgs_magazine_claim(bgs_magazine_here(allocator), bgs_window_type_of(flags),
					   flags & BGS_FLAGS_PROFILE, sectors, BGS_WINDOW_TURNS);

		if (sector != BGS_SECTOR_NONE) {
			*sector_out = sector;
			return 0;
		}
	}
	for (i = 0; i < count && ret; i++)
		if (bgs_flags_match(allocator->spaces[i]->flags, flags))
			ret = allocator->paths.claim_roomy(allocator, allocator->spaces[i], sectors,
							   need, sector_out);
	return ret;
}
