/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_group_lent.c - what a group has lent to windows and clusters: counting it, taking it
 * back, and giving back while some of it is out; see bgs_group_locked.h.
 */
#include <errno.h>

#include "bgs_cluster.h"
#include "bgs_group_locked.h"
#include "bgs_rcu.h"

/* Put bits of a closed window back into the index. */
static void return_bits(struct bgs_group *group, uint64_t region, uint32_t bits)
{
	uint64_t base = region << BGS_REGION_SHIFT;

	while (bits) {
		unsigned bit = (unsigned)__builtin_ctz(bits);
		uint64_t rest = ~((uint64_t)bits >> bit);
		unsigned length = (unsigned)__builtin_ctzll(rest);

		bgs_group_index_add(group, group_relative(group, base + bit), length);
		bits &= (uint32_t) ~(((UINT64_C(1) << length) - 1) << bit);
	}
}

static void recall_window(struct bgs_group *group, struct bgs_window *window)
{
	uint64_t region = window->magazine->tag[window->type];

	return_bits(group, region, bgs_window_close(window));
	bgs_publish(window->group, (struct bgs_group *)NULL);
}

static void recall_cluster(struct bgs_group *group, struct bgs_cluster *cluster)
{
	uint64_t next, end;

	bgs_spin_lock(&cluster->lock);
	next = cluster->next;
	end = cluster->end;
	cluster->next = cluster->end = 0;
	bgs_spin_unlock(&cluster->lock);
	bgs_publish(cluster->group, (struct bgs_group *)NULL);
	if (next < end)
		bgs_group_index_add(group, group_relative(group, next), (uint32_t)(end - next));
}

void bgs_group_recall_windows(struct bgs_group *group)
{
	while (group->lent) {
		struct bgs_window *window = group->lent;

		group->lent = window->next;
		recall_window(group, window);
	}
	group->lends = group->clusters != NULL;
}

bool bgs_group_recall_locked(struct bgs_group *group)
{
	bool any = group->lent || group->clusters;

	BGS_ASSERT_HELD(&group->lock);
	bgs_group_recall_windows(group);
	while (group->clusters) {
		struct bgs_cluster *cluster = group->clusters;

		group->clusters = cluster->next_on_group;
		recall_cluster(group, cluster);
	}
	group->lends = 0;
	return any;
}

void bgs_group_recall_window(struct bgs_group *group, struct bgs_window *window)
{
	struct bgs_window **link;

	group_lock(group);
	for (link = &group->lent; *link; link = &(*link)->next) {
		if (*link != window)
			continue;
		*link = window->next;
		recall_window(group, window);
		break;
	}
	group->lends = group->lent || group->clusters;
	/* The magazine's lock is held: what there is to trim waits for a later call. */
	bgs_spin_unlock(&group->lock);
}

bool bgs_group_recall(struct bgs_group *group)
{
	bool any;

	group_lock(group);
	any = bgs_group_recall_locked(group);
	group_unlock_trim(group);
	return any;
}

uint64_t bgs_group_lent_sectors(struct bgs_group *group)
{
	const struct bgs_window *window;
	struct bgs_cluster *cluster;
	uint64_t sectors = 0;

	for (window = group->lent; window; window = window->next)
		sectors += (unsigned)__builtin_popcount(bgs_word_bits(
			__atomic_load_n(&window->magazine->word[window->type], __ATOMIC_RELAXED)));
	for (cluster = group->clusters; cluster; cluster = cluster->next_on_group) {
		bgs_spin_lock(&cluster->lock);
		sectors += cluster->end - cluster->next;
		bgs_spin_unlock(&cluster->lock);
	}
	return sectors;
}

int bgs_group_give_back_lent(struct bgs_group *group, uint64_t sector, uint32_t sectors)
{
	uint64_t first = sector >> BGS_REGION_SHIFT;
	uint64_t last = (sector + sectors - 1) >> BGS_REGION_SHIFT;
	struct bgs_cluster *cluster;
	struct bgs_window **link;

	for (cluster = group->clusters; cluster; cluster = cluster->next_on_group) {
		bool overlaps;

		bgs_spin_lock(&cluster->lock);
		/* A cluster that has served all it had stands at a place that may be anybody's. */
		overlaps = cluster->next < cluster->end && sector < cluster->end &&
			   cluster->next < sector + sectors;
		bgs_spin_unlock(&cluster->lock);
		if (overlaps)
			return -EEXIST;
	}
	for (link = &group->lent; *link;) {
		struct bgs_window *window = *link;
		uint64_t tag = window->magazine->tag[window->type];

		if (tag < first || tag > last) {
			link = &window->next;
			continue;
		}
		if (first == last) {
			struct bgs_magazine *magazine = window->magazine;
			uint32_t mask = (uint32_t)(((UINT64_C(1) << sectors) - 1)
						   << sector % BGS_REGION_SECTORS);
			int ret = bgs_window_give_back(magazine, window->type, sector, sectors,
						       false, BGS_WINDOW_TURNS);

			/* The caller has checked the count: from now on the fast path may have it.
			 */
			if (ret == 0)
				__atomic_fetch_or(&magazine->owned[window->type], mask,
						  __ATOMIC_RELAXED);
			/* -EAGAIN here only means that others were quicker four times. */
			if (ret != -EAGAIN)
				return ret;
		}
		*link = window->next;
		recall_window(group, window);
	}
	return -EAGAIN;
}

bool bgs_group_lent_overlaps(struct bgs_group *group, uint64_t sector, uint64_t sectors)
{
	uint64_t first = sector >> BGS_REGION_SHIFT;
	uint64_t last = (sector + sectors - 1) >> BGS_REGION_SHIFT;
	const struct bgs_window *window;
	struct bgs_cluster *cluster;
	bool overlaps = false;

	for (window = group->lent; window; window = window->next) {
		uint64_t tag = window->magazine->tag[window->type];
		uint32_t mask = UINT32_MAX;

		if (tag < first || tag > last)
			continue;
		if (tag == first)
			mask &= UINT32_MAX << sector % BGS_REGION_SECTORS;
		if (tag == last)
			mask &= UINT32_MAX >> (BGS_REGION_SECTORS - 1 -
					       (sector + sectors - 1) % BGS_REGION_SECTORS);
		if (bgs_word_bits(__atomic_load_n(&window->magazine->word[window->type],
						  __ATOMIC_RELAXED)) &
		    mask)
			return true;
	}
	for (cluster = group->clusters; cluster && !overlaps; cluster = cluster->next_on_group) {
		bgs_spin_lock(&cluster->lock);
		overlaps = cluster->next < cluster->end && sector < cluster->end &&
			   cluster->next < sector + sectors;
		bgs_spin_unlock(&cluster->lock);
	}
	return overlaps;
}
