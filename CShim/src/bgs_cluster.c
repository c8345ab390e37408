/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_cluster.c - see bgs_cluster.h. */
#include "bgs_cluster.h"

#include <errno.h>
#include <string.h>

#include "bgs_group_locked.h"

int bgs_cluster_init(struct bgs_cluster *cluster)
{
	memset(cluster, 0, sizeof(*cluster));
	bgs_spin_init(&cluster->lock, BGS_SPIN_CLUSTER);
	return bgs_mutex_init(&cluster->refill, BGS_MUTEX_CLUSTER_REFILL);
}

void bgs_cluster_destroy(struct bgs_cluster *cluster)
{
	bgs_mutex_destroy(&cluster->refill);
}

int bgs_cluster_claim(struct bgs_cluster *cluster, uint32_t sectors, uint64_t *sector_out)
{
	int ret = -ENOSPC;

	bgs_spin_lock(&cluster->lock);
	if (cluster->end - cluster->next >= sectors) {
		*sector_out = cluster->next;
		cluster->next += sectors;
		ret = 0;
	}
	bgs_spin_unlock(&cluster->lock);
	return ret;
}

/* Give back and unlink; `refill` held, or nobody else uses the cluster. */
static void return_rest(struct bgs_cluster *cluster)
{
	struct bgs_group *group;

	/*
	 * A group that takes its clusters back unlinks them under its lock and is
	 * freed only after a grace period, so inside a read section it is still there.
	 */
	bgs_rcu_read_lock();
	group = bgs_dereference(cluster->group);
	if (group)
		bgs_group_recall(group);
	bgs_rcu_read_unlock();
}

void bgs_cluster_return(struct bgs_cluster *cluster)
{
	bgs_mutex_lock(&cluster->refill);
	return_rest(cluster);
	bgs_mutex_unlock(&cluster->refill);
}

int bgs_cluster_refill(struct bgs_cluster *cluster, struct bgs_group *group, uint32_t wanted,
		       uint32_t least)
{
	struct bgs_wish wish = {.sectors = wanted, .need = wanted, .end = UINT64_MAX};
	uint64_t sector = 0;
	int ret;

	bgs_mutex_lock(&cluster->refill);
	return_rest(cluster);
	for (;;) {
		ret = bgs_group_claim(group, &wish, &sector);
		if (ret != -ENOSPC || wish.sectors == least)
			break;
		/* At most 31 times. */
		wish.sectors = wish.sectors / 2 > least ? wish.sectors / 2 : least;
		wish.need = wish.sectors;
	}
	if (ret == 0) {
		group_lock(group);
		/* Read-only or removed since: it must not keep what it may not lend. */
		if (group->state) {
			bgs_group_index_add(group, group_relative(group, sector), wish.sectors);
			ret = -EROFS;
		} else {
			bgs_spin_lock(&cluster->lock);
			cluster->next = sector;
			cluster->end = sector + wish.sectors;
			bgs_spin_unlock(&cluster->lock);
			bgs_publish(cluster->group, group);
			cluster->next_on_group = group->clusters;
			group->clusters = cluster;
			group->lends = 1;
		}
		bgs_spin_unlock(&group->lock);
	}
	bgs_mutex_unlock(&cluster->refill);
	return ret;
}
