/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_claim.h - what follows a small claim through the lock; bgs_claim.c. */
#ifndef BGS_CLAIM_H
#define BGS_CLAIM_H

#include "bgs_allocator.h"

/* May open a window around what was claimed. No lock held; inside a read section. */
void bgs_claim_note_small(struct bgs_allocator *allocator, const struct bgs_space *space,
			  struct bgs_group *group, unsigned bin, uint64_t sector);

#endif
