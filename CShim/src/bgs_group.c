/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_group.c - see bgs_group.h. */
#include "bgs_group.h"

#include <errno.h>
#include <stdlib.h>

#include "bgs_group_locked.h"
#include "bgs_paths.h"
#include "bgs_probe.h"

void bgs_group_trim(struct bgs_group *group)
{
	struct bgs_index_trim trim;
	bool wanted;

	bgs_lock_check_no_spin();
	bgs_spin_lock(&group->lock);
	wanted = bgs_index_trim_begin(&group->index, &trim);
	bgs_spin_unlock(&group->lock);
	if (!wanted)
		return;
	/* A system call, so not under the lock. */
	bgs_index_trim_run(&trim);
	bgs_spin_lock(&group->lock);
	bgs_index_trim_end(&group->index, &trim);
	bgs_spin_unlock(&group->lock);
}

/*
 * Bring `claimable` up to the state. The lock held. Return: whether it became claimable; the
 * caller calls bgs_group_announce() when it has left the lock.
 */
static bool note_state(struct bgs_group *group)
{
	bool before = group->claimable;

	group->claimable = group->state == 0 && group->caching == BGS_CACHING_FINISHED;
	if (before && !group->claimable)
		bgs_group_withdraw(group);
	return !before && group->claimable;
}

int bgs_group_remove(struct bgs_group *group, uint64_t sector, uint64_t sectors)
{
	int ret;

	group_lock(group);
	bgs_group_recall_locked(group);
	ret = bgs_group_index_remove(group, group_relative(group, sector), (uint32_t)sectors);
	if (ret == 0)
		group->added_sectors -= (uint32_t)sectors;
	group_unlock_trim(group);
	return ret;
}

int bgs_group_own(struct bgs_group *group, uint64_t sectors)
{
	int ret = -EINVAL;

	group_lock(group);
	if (sectors <=
	    group->added_sectors - group->index.free_sectors - bgs_group_lent_sectors(group)) {
		group->added_sectors -= (uint32_t)sectors;
		ret = 0;
	}
	bgs_spin_unlock(&group->lock);
	return ret;
}

int bgs_group_give_back(struct bgs_group *group, uint64_t sector, uint64_t sectors)
{
	uint32_t start = group_relative(group, sector), length = (uint32_t)sectors;
	int ret;

	group_lock(group);
	if (__builtin_expect(group->lends, 0)) {
		/* More than is claimed: which error it is depends on what is lent, too. */
		if (group->index.free_sectors + bgs_group_lent_sectors(group) + sectors >
		    group->added_sectors)
			bgs_group_recall_locked(group);
		ret = bgs_group_give_back_lent(group, sector, length);
		if (ret != -EAGAIN)
			goto out;
	}
	if (__builtin_expect(!group->lends &&
				     group->index.free_sectors + sectors > group->added_sectors,
			     0)) {
		/* More than is claimed: a range that is free already, or one never added. */
		ret = bgs_index_any_free(&group->index, start, length) ? -EEXIST : -EINVAL;
		goto out;
	}
	ret = bgs_group_index_add(group, start, length);
out:
	group_unlock_trim(group);
	return ret;
}

static inline int refusal(const struct bgs_group *group)
{
	if (group->state & BGS_GROUP_REMOVED)
		return -ENOSPC;
	if (group->state & BGS_GROUP_READ_ONLY)
		return -EROFS;
	return group->caching == BGS_CACHING_FINISHED ? 0 : -EAGAIN;
}

/* The claim itself; the lock held and no window open. */
static bool claim_index(struct bgs_group *group, const struct bgs_wish *wish, uint32_t *start_out)
{
	uint64_t group_end = group->first_sector + bgs_group_sectors(group);
	bool bounded = wish->from > group->first_sector || wish->end < group_end;

	if (bounded) {
		uint64_t from = wish->from > group->first_sector ? wish->from : group->first_sector;
		uint64_t end = wish->end < group_end ? wish->end : group_end;

		if (from >= end || end - from < wish->sectors)
			return false;
		return bgs_index_claim_from(&group->index, group_relative(group, from),
					    group_relative(group, end), wish->sectors, wish->need,
					    wish->alignment, group->first_sector, start_out);
	}
	if (wish->alignment > 1)
		return bgs_index_claim_best_aligned(&group->index, wish->sectors, wish->need,
						    wish->alignment, group->first_sector,
						    start_out);
	return bgs_index_claim_best(&group->index, wish->sectors, wish->need, start_out);
}

static bool claim_locked(struct bgs_group *group, const struct bgs_wish *wish, uint32_t *start_out)
{
	if (!claim_index(group, wish, start_out))
		return false;
	bgs_group_note_cut(group, *start_out, wish->sectors);
	return true;
}

int bgs_group_claim(struct bgs_group *group, const struct bgs_wish *wish, uint64_t *sector_out)
{
	uint32_t start;
	int ret;

	group_lock(group);
	ret = refusal(group);
	if (ret)
		goto out;
	ret = -ENOSPC;
	if (wish->sectors > bgs_group_sectors(group) || wish->need > bgs_group_sectors(group))
		goto out;
	/*
	 * A window may have the first sector at or above `from`, or part of the tightest
	 * run. A cluster keeps what it set aside for as long as the rest serves.
	 */
	bgs_group_recall_windows(group);
	if (claim_locked(group, wish, &start) ||
	    (bgs_group_recall_locked(group) && claim_locked(group, wish, &start))) {
		*sector_out = group->first_sector + start;
		ret = 0;
	}
out:
	group_unlock_trim(group);
	return ret;
}

void bgs_group_set_read_only(struct bgs_group *group, bool read_only)
{
	bool opened;

	group_lock(group);
	bgs_group_recall_locked(group);
	__atomic_store_n(&group->state,
			 (uint8_t)(read_only ? group->state | BGS_GROUP_READ_ONLY
					     : group->state & ~BGS_GROUP_READ_ONLY),
			 __ATOMIC_RELAXED);
	opened = note_state(group);
	group_unlock_trim(group);
	if (opened)
		bgs_group_announce(group);
}

bool bgs_group_is_read_only(const struct bgs_group *group)
{
	return __atomic_load_n(&group->state, __ATOMIC_RELAXED) & BGS_GROUP_READ_ONLY;
}

void bgs_group_numbers(struct bgs_group *group, struct bgs_group_numbers *numbers_out)
{
	group_lock(group);
	bgs_group_recall_locked(group);
	numbers_out->free_sectors = group->index.free_sectors;
	numbers_out->added_sectors = group->added_sectors;
	numbers_out->run_count = group->index.run_count;
	numbers_out->largest_run = bgs_index_largest(&group->index);
	numbers_out->state = group->state;
	numbers_out->caching = group->caching;
	numbers_out->index_bytes = bgs_index_bytes(&group->index);
	numbers_out->lock_taken = group->lock.taken;
	numbers_out->lock_contended = __atomic_load_n(&group->lock.contended, __ATOMIC_RELAXED);
	group_unlock_trim(group);
}

uint64_t bgs_group_free_sectors(struct bgs_group *group)
{
	uint64_t sectors;

	group_lock(group);
	sectors = group->index.free_sectors;
	if (group->lends)
		sectors += bgs_group_lent_sectors(group);
	bgs_spin_unlock(&group->lock);
	return sectors;
}

bool bgs_group_has_free(struct bgs_group *group, uint64_t sector, uint64_t sectors)
{
	bool found;

	group_lock(group);
	found = bgs_index_any_free(&group->index, group_relative(group, sector), (uint32_t)sectors);
	if (!found && group->lends)
		found = bgs_group_lent_overlaps(group, sector, sectors);
	bgs_spin_unlock(&group->lock);
	return found;
}

bool bgs_group_next_free(struct bgs_group *group, uint64_t from, uint64_t *sector_out,
			 uint64_t *sectors_out)
{
	uint64_t end = group->first_sector + bgs_group_sectors(group);
	uint32_t start, length;
	bool found;

	if (from < group->first_sector)
		from = group->first_sector;
	if (from >= end)
		return false;
	group_lock(group);
	bgs_group_recall_locked(group);
	found = bgs_index_next(&group->index, group_relative(group, from), &start, &length);
	group_unlock_trim(group);
	if (found) {
		*sector_out = group->first_sector + start;
		*sectors_out = length;
	}
	return found;
}

int bgs_group_freeze(struct bgs_group *group, bool force)
{
	int ret = 0;

	group_lock(group);
	bgs_group_recall_locked(group);
	if (!force && (group->index.free_sectors != group->added_sectors ||
		       group->caching == BGS_CACHING_STARTED)) {
		ret = -EBUSY;
	} else {
		__atomic_store_n(&group->state, (uint8_t)(group->state | BGS_GROUP_REMOVED),
				 __ATOMIC_RELAXED);
		note_state(group);
	}
	group_unlock_trim(group);
	return ret;
}

void bgs_group_thaw(struct bgs_group *group)
{
	bool opened;

	group_lock(group);
	__atomic_store_n(&group->state, (uint8_t)(group->state & ~BGS_GROUP_REMOVED),
			 __ATOMIC_RELAXED);
	opened = note_state(group);
	group_unlock_trim(group);
	if (opened)
		bgs_group_announce(group);
}

bool bgs_group_try_get(struct bgs_group *group)
{
	uint32_t references = __atomic_load_n(&group->references, __ATOMIC_RELAXED);

	/* Ends: a failed turn is another thread's reference taken or put. */
	while (references)
		if (__atomic_compare_exchange_n(&group->references, &references, references + 1,
						true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}

void bgs_group_get(struct bgs_group *group)
{
	__atomic_fetch_add(&group->references, 1, __ATOMIC_RELAXED);
}

void bgs_group_put(struct bgs_group *group)
{
	/* Acquire and release: whoever frees has seen what every other holder did. */
	if (__atomic_sub_fetch(&group->references, 1, __ATOMIC_ACQ_REL))
		return;
	bgs_index_destroy(&group->index);
	free(group);
}

void bgs_group_finish_caching(struct bgs_group *group, int error)
{
	bool opened;

	group_lock(group);
	group->cache_error = error;
	__atomic_store_n(&group->caching, error ? BGS_CACHING_ERROR : BGS_CACHING_FINISHED,
			 __ATOMIC_RELEASE);
	opened = note_state(group);
	group_unlock_trim(group);
	if (opened)
		bgs_group_announce(group);
	BGS_PROBE2(caching, group->logical, error);
}
