/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_cluster.h - a run set aside for one kind of writer, served from its start.
 *
 * Tree blocks that are written together should lie together: a cluster takes one
 * long run out of a group's index and serves claims from it in order. What it has
 * not served still counts as free and comes back when the group wants it, when
 * the cluster is refilled elsewhere, and when it is destroyed.
 *
 * Locks: `lock` guards the range; `refill` serialises refills. A linked cluster is
 * on its group's list, which the group's free-space lock guards.
 */
#ifndef BGS_CLUSTER_H
#define BGS_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "bgs_lock.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bgs_group;

struct bgs_cluster {
	struct bgs_spin lock;
	/* What is left, absolute sectors, end exclusive; under `lock`. */
	uint64_t next;
	uint64_t end;
	struct bgs_mutex refill;
	/* The lender, NULL when not linked; changes under its free-space lock. */
	struct bgs_group *group;
	/* Next on the group's list; under the group's free-space lock. */
	struct bgs_cluster *next_on_group;
};

/* Return: 0 or -ENOMEM. */
int bgs_cluster_init(struct bgs_cluster *cluster);
/* Ends what bgs_cluster_init() began, after bgs_cluster_return(). */
void bgs_cluster_destroy(struct bgs_cluster *cluster);
/* Give what is left back. No lock held. */
void bgs_cluster_return(struct bgs_cluster *cluster);

/* Return: 0 or -ENOSPC: refill. */
int bgs_cluster_claim(struct bgs_cluster *cluster, uint32_t sectors, uint64_t *sector_out);

/*
 * Give back what is left and take a run of `wanted` sectors, or of half as many
 * and so on down to `least`, from a group. The caller holds a reference to it or
 * is in a read section, and holds no lock.
 *
 * Return: 0, -ENOSPC, -EROFS or -EAGAIN (not cached).
 */
int bgs_cluster_refill(struct bgs_cluster *cluster, struct bgs_group *group, uint32_t wanted,
		       uint32_t least);

#ifdef __cplusplus
}
#endif

#endif
