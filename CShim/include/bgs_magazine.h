/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_magazine.h - small claims and give-backs without a lock: windows lent to a
 * processor.
 *
 * A window is an aligned region of 32 sectors whose free sectors were taken out
 * of its group's index and stand as bits in one atomic word, with a sequence
 * number beside them. Claiming clears bits, giving back sets them, each with one
 * compare-and-swap; a bit that is already set tells a second give-back, so the
 * fast path refuses what the slow path refuses. Every processor has a magazine of
 * one window for each type of data.
 *
 *   1. While a window is open, every free sector of its region that lies in its
 *      group is a bit of the word, and none is in the group's index.
 *   2. The sequence number is odd while the window is closed, and then there are
 *      no bits. Opening and closing change it, so a compare-and-swap that began
 *      before either fails.
 *   3. tag, flags and group change only while the window is closed, `owned` then
 *      and by setting bits. What was read between two loads of the same word belongs
 *      to that word.
 *   4. `owned` has the sectors known to be claimable: lent at opening, or given back
 *      through the locked path since. Only those come back without the lock, so that
 *      the fast path refuses what was never free in the group, too.
 *   5. An open window is on the `lent` list of its group. Opening and closing need
 *      the group's free-space lock; using it needs none.
 *
 * The sequence number has 31 bits to spare: a thread would have to sleep between
 * its load and its compare-and-swap through 2^31 openings to be deceived.
 *
 * A read-only group, one being removed, a search that is about to be refused, and
 * whoever walks the free runs recall the windows first (bgs_group_recall()).
 */
#ifndef BGS_MAGAZINE_H
#define BGS_MAGAZINE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "bgs_lock.h"
#include "bgs_percpu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bgs_group;

#define BGS_REGION_SHIFT   5
#define BGS_REGION_SECTORS (1u << BGS_REGION_SHIFT)
/* Largest claim that a window serves, sectors. */
#define BGS_MAGAZINE_MAX (BGS_REGION_SECTORS / 2)
#define BGS_TAG_NONE	 UINT64_MAX
/* Small claims that may open a window after one came back to where it was claimed. */
#define BGS_EAGER_CLAIMS 4
/* Tries to change a window's word where there is no way past it. */
#define BGS_WINDOW_TURNS 4

/* Windows of one magazine: by what the claim asks for. */
enum bgs_window_type {
	BGS_WINDOW_DATA,
	BGS_WINDOW_METADATA,
	BGS_WINDOW_SYSTEM,
	BGS_WINDOW_MIXED,
	BGS_WINDOW_TYPES,
};

/* The part of a window that only opening and closing touch. */
struct bgs_window {
	/*
	 * The lender, and the next on its `lent` list; under its free-space lock. NULL
	 * is stored last when the window goes back: only then may it be opened again.
	 */
	struct bgs_group *group;
	struct bgs_window *next;
	struct bgs_magazine *magazine;
	uint32_t type;
};

struct bgs_magazine {
	/* Bits 0-31: free sectors of the region. Bits 32-63: the sequence number. */
	uint64_t word[BGS_WINDOW_TYPES];
	/* Region: absolute sector >> BGS_REGION_SHIFT. */
	uint64_t tag[BGS_WINDOW_TYPES];
	/* Type and profile bits of the lender. */
	uint64_t flags[BGS_WINDOW_TYPES];
	uint32_t owned[BGS_WINDOW_TYPES];
	/* Where this processor last claimed through the lock: a hint. */
	uint64_t last_region;
	/* Small claims that may still open a window because something came back, or was to; a hint.
	 */
	uint32_t eager;
	uint32_t pad0;
	/* Taken to open a window; whoever finds it taken does without. */
	struct bgs_spin lock;
	struct bgs_window window[BGS_WINDOW_TYPES];
	/* To a power of two, so that a processor's is found by a shift. */
} __attribute__((aligned(512)));

static inline uint32_t bgs_word_bits(uint64_t word)
{
	return (uint32_t)word;
}

static inline bool bgs_word_closed(uint64_t word)
{
	return word >> 32 & 1;
}

#define BGS_SECTOR_NONE UINT64_MAX

/*
 * Claim 1 to BGS_MAGAZINE_MAX sectors. profile: bits that the lender's flags must
 * have, or 0. turns: tries; each that fails means that somebody else got on.
 * Return: the absolute sector, or BGS_SECTOR_NONE: use the slow path.
 */
uint64_t bgs_magazine_claim(struct bgs_magazine *magazine, unsigned type, uint64_t profile,
			    uint32_t sectors, unsigned turns);

/*
 * The same for the commonest claim, of one sector, without a profile and in one try: it takes the
 * lowest bit.
 */
static __attribute__((always_inline)) inline bool
bgs_magazine_claim_one(struct bgs_magazine *magazine, unsigned type, uint64_t *sector_out)
{
	/* Acquire: pairs with the release in bgs_magazine_open(), for tag and flags. */
	uint64_t word = __atomic_load_n(&magazine->word[type], __ATOMIC_ACQUIRE);
	uint64_t tag = __atomic_load_n(&magazine->tag[type], __ATOMIC_RELAXED);
	unsigned bit = (unsigned)__builtin_ctz(bgs_word_bits(word) | 1u << 31);

	if (__builtin_expect(!bgs_word_bits(word), 0) ||
	    __builtin_expect(!__atomic_compare_exchange_n(&magazine->word[type], &word,
							  word & (word - 1), false,
							  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED),
			     0))
		return false;
	*sector_out = (tag << BGS_REGION_SHIFT) + bit;
	return true;
}

/*
 * Give a range back into an open window of its region. owned_only: leave to the
 * slow path what it must check. turns: as above. Return: 0, -EEXIST when some of it is free, or
 * -EAGAIN: no such window here, use the slow path.
 */
static __attribute__((always_inline)) inline int
bgs_window_give_back(struct bgs_magazine *magazine, unsigned type, uint64_t sector,
		     uint32_t sectors, bool owned_only, unsigned turns)
{
	uint64_t word = __atomic_load_n(&magazine->word[type], __ATOMIC_ACQUIRE);
	unsigned bit = (unsigned)(sector % BGS_REGION_SECTORS);
	uint64_t mask = ((UINT64_C(1) << sectors) - 1) << bit;
	unsigned turn;

	for (turn = 0; turn < turns; turn++) {
		uint32_t owned = __atomic_load_n(&magazine->owned[type], __ATOMIC_RELAXED);

		if (__atomic_load_n(&magazine->tag[type], __ATOMIC_RELAXED) !=
			    sector >> BGS_REGION_SHIFT ||
		    bgs_word_closed(word) || (owned_only && (mask & ~(uint64_t)owned)))
			return -EAGAIN;
		if (word & mask) {
			uint64_t again;

			__atomic_thread_fence(__ATOMIC_ACQUIRE);
			again = __atomic_load_n(&magazine->word[type], __ATOMIC_ACQUIRE);
			/* The same sequence: the tag was this word's (invariant 3). */
			return again >> 32 == word >> 32 ? -EEXIST : -EAGAIN;
		}
		if (__atomic_compare_exchange_n(&magazine->word[type], &word, word | mask, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return 0;
	}
	return -EAGAIN;
}

/* The same, in one of the windows that are not for data. */
int bgs_magazine_give_back_other(struct bgs_magazine *magazine, uint64_t sector, uint32_t sectors);

static inline bool bgs_window_is_at(const struct bgs_magazine *magazine, unsigned type,
				    uint64_t region)
{
	return __atomic_load_n(&magazine->tag[type], __ATOMIC_RELAXED) == region;
}

/* The same, in whichever window of this magazine has the region. */
static __attribute__((always_inline)) inline int
bgs_magazine_give_back(struct bgs_magazine *magazine, uint64_t sector, uint32_t sectors)
{
	uint64_t region = sector >> BGS_REGION_SHIFT;
	int ret;

	if (__builtin_expect(sector % BGS_REGION_SECTORS + sectors > BGS_REGION_SECTORS, 0))
		return -EAGAIN;
	ret = bgs_window_give_back(magazine, BGS_WINDOW_DATA, sector, sectors, true, 1);
	if (ret != -EAGAIN)
		return ret;
	if (__builtin_expect(bgs_window_is_at(magazine, BGS_WINDOW_METADATA, region) ||
				     bgs_window_is_at(magazine, BGS_WINDOW_SYSTEM, region) ||
				     bgs_window_is_at(magazine, BGS_WINDOW_MIXED, region),
			     0))
		return bgs_magazine_give_back_other(magazine, sector, sectors);
	/* Back to where this processor just claimed: it may like a window there. */
	if (__builtin_expect(__atomic_load_n(&magazine->last_region, __ATOMIC_RELAXED) == region,
			     0))
		__atomic_store_n(&magazine->eager, BGS_EAGER_CLAIMS, __ATOMIC_RELAXED);
	return -EAGAIN;
}

void bgs_magazine_init(struct bgs_magazine *magazine);

/*
 * Lend the region around a sector to a magazine, in place of what its window of
 * this type has now, which goes back first. Does nothing when another thread is
 * just doing the same, or when the group may not lend. No lock held; inside a read
 * section, or with a reference to the group.
 */
void bgs_magazine_open(struct bgs_magazine *magazine, unsigned type, struct bgs_group *group,
		       uint64_t sector);

/* Take the window back into its group's index. No lock held; inside a read section. */
void bgs_magazine_close(struct bgs_magazine *magazine, unsigned type);

/*
 * Close a window on the lent list of its group and return its free bits, which
 * the caller puts into the index. The group's free-space lock held; the caller
 * unlinks it.
 */
uint32_t bgs_window_close(struct bgs_window *window);

#ifdef __cplusplus
}
#endif

#endif
