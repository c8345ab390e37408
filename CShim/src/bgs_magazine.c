/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_magazine.c - opening and closing the windows of bgs_magazine.h. */
#include "bgs_magazine.h"

#include <string.h>

#include "bgs_group_locked.h"
#include "bgs_probe.h"

void bgs_magazine_init(struct bgs_magazine *magazine)
{
	unsigned type;

	memset(magazine, 0, sizeof(*magazine));
	bgs_spin_init(&magazine->lock, BGS_SPIN_MAGAZINE);
	magazine->last_region = BGS_TAG_NONE;
	for (type = 0; type < BGS_WINDOW_TYPES; type++) {
		/* Sequence 1: closed. */
		magazine->word[type] = UINT64_C(1) << 32;
		magazine->tag[type] = BGS_TAG_NONE;
		magazine->window[type].magazine = magazine;
		magazine->window[type].type = type;
	}
}

/* Bits where `sectors` set bits begin. */
static uint32_t runs_of(uint32_t bits, uint32_t sectors)
{
	while (sectors > 1) {
		uint32_t half = sectors / 2;

		bits &= bits >> half;
		sectors -= half;
	}
	return bits;
}

uint64_t bgs_magazine_claim(struct bgs_magazine *magazine, unsigned type, uint64_t profile,
			    uint32_t sectors, unsigned turns)
{
	/* Acquire: pairs with the release in bgs_magazine_open(), for tag and flags. */
	uint64_t word = __atomic_load_n(&magazine->word[type], __ATOMIC_ACQUIRE);
	unsigned turn;

	for (turn = 0; turn < turns; turn++) {
		uint32_t runs = runs_of(bgs_word_bits(word), sectors);
		uint64_t tag = __atomic_load_n(&magazine->tag[type], __ATOMIC_RELAXED);
		unsigned bit;
		uint64_t mask;

		if (!runs)
			return BGS_SECTOR_NONE;
		if (profile && (__atomic_load_n(&magazine->flags[type], __ATOMIC_RELAXED) &
				profile) != profile)
			return BGS_SECTOR_NONE;
		bit = (unsigned)__builtin_ctz(runs);
		mask = ((UINT64_C(1) << sectors) - 1) << bit;
		if (__atomic_compare_exchange_n(&magazine->word[type], &word, word & ~mask, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return (tag << BGS_REGION_SHIFT) + bit;
	}
	return BGS_SECTOR_NONE;
}

int bgs_magazine_give_back_other(struct bgs_magazine *magazine, uint64_t sector, uint32_t sectors)
{
	uint64_t region = sector >> BGS_REGION_SHIFT;
	unsigned type;

	for (type = BGS_WINDOW_DATA + 1; type < BGS_WINDOW_TYPES; type++)
		if (bgs_window_is_at(magazine, type, region))
			return bgs_window_give_back(magazine, type, sector, sectors, true, 1);
	return -EAGAIN;
}

uint32_t bgs_window_close(struct bgs_window *window)
{
	struct bgs_magazine *magazine = window->magazine;
	uint64_t *word = &magazine->word[window->type];
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
	uint64_t closed;

	/* Ends: each failed turn is somebody's claim or give-back of one of 32 sectors. */
	do
		closed = ((old >> 32) + 1) << 32;
	while (!__atomic_compare_exchange_n(word, &old, closed, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED));
	__atomic_store_n(&magazine->tag[window->type], BGS_TAG_NONE, __ATOMIC_RELAXED);
	return bgs_word_bits(old);
}

void bgs_magazine_close(struct bgs_magazine *magazine, unsigned type)
{
	struct bgs_window *window = &magazine->window[type];
	struct bgs_group *group;

	if (bgs_word_closed(__atomic_load_n(&magazine->word[type], __ATOMIC_ACQUIRE)))
		return;
	group = bgs_dereference(window->group);
	if (!group)
		return;
	/* The others that the group lends stay: they are other processors', and in use. */
	bgs_group_recall_window(group, window);
}

/* Move the free sectors of a region from the index into bits. */
static uint32_t take_region(struct bgs_group *group, uint64_t region)
{
	uint64_t first = region << BGS_REGION_SHIFT;
	uint64_t end = first + BGS_REGION_SECTORS;
	uint64_t group_end = group->first_sector + bgs_group_sectors(group);
	uint32_t bits = 0, from, to, start, length;

	if (first < group->first_sector)
		first = group->first_sector;
	if (end > group_end)
		end = group_end;
	from = (uint32_t)(first - group->first_sector);
	to = (uint32_t)(end - group->first_sector);
	/* At most 16 runs fit in a region. */
	while (from < to && bgs_index_next(&group->index, from, &start, &length) && start < to) {
		uint32_t begin = start > from ? start : from;
		uint32_t stop = start + length < to ? start + length : to;
		unsigned bit = (unsigned)((group->first_sector + begin) % BGS_REGION_SECTORS);

		bgs_group_index_remove(group, begin, stop - begin);
		bits |= (uint32_t)(((UINT64_C(1) << (stop - begin)) - 1) << bit);
		from = stop;
	}
	return bits;
}

static bool is_lent(const struct bgs_group *group, uint64_t region)
{
	const struct bgs_window *window;

	for (window = group->lent; window; window = window->next)
		if (window->magazine->tag[window->type] == region)
			return true;
	return false;
}

void bgs_magazine_open(struct bgs_magazine *magazine, unsigned type, struct bgs_group *group,
		       uint64_t sector)
{
	struct bgs_window *window = &magazine->window[type];
	uint64_t region = sector >> BGS_REGION_SHIFT;
	uint64_t sequence;
	uint32_t bits;

	if (!bgs_spin_trylock(&magazine->lock))
		return;
	bgs_magazine_close(magazine, type);
	/* Still set while a recall by another thread is on its way: then leave it alone. */
	if (bgs_dereference(window->group))
		goto out_magazine;
	group_lock(group);
	/* A cluster's range is neither in the index nor in a window: do not mix the two. */
	if (!group->claimable || group->clusters || is_lent(group, region))
		goto out;
	bits = take_region(group, region);
	__atomic_store_n(&magazine->tag[type], region, __ATOMIC_RELAXED);
	__atomic_store_n(&magazine->flags[type], group->flags, __ATOMIC_RELAXED);
	__atomic_store_n(&magazine->owned[type], bits, __ATOMIC_RELAXED);
	bgs_publish(window->group, group);
	window->next = group->lent;
	group->lent = window;
	group->lends = 1;
	/* Atomic for those who still try to change the closed word, and fail. */
	sequence = (__atomic_load_n(&magazine->word[type], __ATOMIC_RELAXED) >> 32) + 1;
	/* Release: pairs with the acquire in bgs_magazine_claim(), _claim_one() and _give_back().
	 */
	__atomic_store_n(&magazine->word[type], sequence << 32 | bits, __ATOMIC_RELEASE);
	BGS_PROBE3(window_open, group->logical, region, bits);
out:
	bgs_spin_unlock(&group->lock);
out_magazine:
	bgs_spin_unlock(&magazine->lock);
}
