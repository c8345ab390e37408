/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_directory_find.h - the search of a directory, inline for the claim path.
 *
 * Reads what bgs_directory.h describes, with relaxed loads: whatever is seen is a
 * hint, and the group's lock has the truth.
 */
#ifndef BGS_DIRECTORY_FIND_H
#define BGS_DIRECTORY_FIND_H

#include "bgs_directory.h"

/* Clear a bit above that was found empty below, unless it filled meanwhile. */
__attribute__((cold)) void bgs_node_clear_bit(struct bgs_node *node, const struct bgs_block *block,
					      unsigned bin);
__attribute__((cold)) void bgs_node_clear_summary(struct bgs_node *node, unsigned bin);
/* bgs_directory_find() over more than one node. */
struct bgs_group *bgs_directory_find_far(struct bgs_directory *directory,
					 const struct bgs_range *range, unsigned *bin);

/*
 * Whether this search clears the stale bits that it meets: one in STALE_TURNS does. A
 * bin that comes and goes would otherwise cost two atomic operations each time, which
 * is more than looking at an empty block a few times.
 */
#ifndef STALE_TURNS
#define STALE_TURNS 16
#endif
static inline bool stale_is_cleared(void)
{
	return bgs_thread_self.ticks % STALE_TURNS == 0;
}

/* The first word of a summary that is not 0, at or above one; BGS_BIN_WORDS: none. */
static __attribute__((always_inline)) inline unsigned next_word(const uint64_t *summary,
								unsigned word)
{
#if defined(BGS_AVX2) && BGS_AVX2 && !defined(BGS_TSAN)
	/* Eight words at once: each is a hint, whenever it was read. */
	const __m256i *at = (const __m256i *)(const void *)summary;
	const __m256i zero = _mm256_setzero_si256();
	__m256i low = _mm256_cmpeq_epi64(_mm256_loadu_si256(at), zero);
	__m256i high = _mm256_cmpeq_epi64(_mm256_loadu_si256(at + 1), zero);
	unsigned empty = (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(low)) |
			 (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(high)) << 4;
	unsigned filled = ~empty & 0xffu << word & 0xffu;

	_Static_assert(BGS_BIN_WORDS == 9, "eight words and one");
	if (filled)
		return (unsigned)__builtin_ctz(filled);
	return word < 9 && __atomic_load_n(&summary[8], __ATOMIC_RELAXED) ? 8 : 9;
#else
	while (word < BGS_BIN_WORDS && !__atomic_load_n(&summary[word], __ATOMIC_RELAXED))
		word++;
	return word;
#endif
}

/* The first bin of a summary at or above one; BGS_BINS: none. */
static __attribute__((always_inline)) inline unsigned next_bin(const uint64_t *summary,
							       unsigned bin)
{
	unsigned word = bin / 64;
	uint64_t bins;

	if (__builtin_expect(bin >= BGS_BINS, 0))
		return BGS_BINS;
	bins = __atomic_load_n(&summary[word], __ATOMIC_RELAXED) >> (bin % 64);
	if (__builtin_expect(bins != 0, 1))
		return bin + (unsigned)__builtin_ctzll(bins);
	word = next_word(summary, word + 1);
	if (word >= BGS_BIN_WORDS)
		return BGS_BINS;
	/* Cleared meanwhile: the bin is a hint like any other, and this one leads to no block. */
	bins = __atomic_load_n(&summary[word], __ATOMIC_RELAXED);
	return word * 64 + (unsigned)__builtin_ctzll(bins | UINT64_C(1) << 63);
}

/*
 * The group with a run of a bin in a node of few blocks, of which the first is given. All words of
 * the mask at once: no load waits for the node's word, and no branch asks which of the blocks it
 * was right about. Not the others: what belongs to another thread's lane is in that thread's cache.
 */
static __attribute__((always_inline)) inline struct bgs_group *
find_in_few(struct bgs_node *node, struct bgs_block *first, uint64_t mask, uint16_t slot_mask,
	    unsigned bin)
{
	struct bgs_block *block;
	uint64_t slots = 0;
	unsigned i;

	for (i = 0; i < BGS_FEW_BLOCKS; i++) {
		uint16_t some;

		if (!(mask >> i & 1))
			continue;
		block = i ? bgs_dereference(node->few[i]) : first;
		some = __atomic_load_n(&block->bits[bin], __ATOMIC_RELAXED);
		slots |= (uint64_t)(some & slot_mask) << BGS_BLOCK_GROUPS * i;
	}
	if (__builtin_expect(!slots, 0))
		return NULL;
	i = (unsigned)__builtin_ctzll(slots);
	/* The first is NULL where the node has more of them by now, and then of no use either. */
	block = bgs_dereference(node->few[i / BGS_BLOCK_GROUPS]);
	return block ? bgs_dereference(block->groups[i % BGS_BLOCK_GROUPS]) : NULL;
}

/* The lowest of one node's bins from *bin on, below limit, that a block in mask has. */
static __attribute__((always_inline)) inline struct bgs_group *
find_in_node(struct bgs_node *node, uint64_t mask, uint16_t slot_mask, unsigned *bin_at,
	     unsigned limit)
{
	unsigned bin = *bin_at;

	while ((bin = next_bin(node->summary, bin)) < limit) {
		struct bgs_block *first = bgs_dereference(node->few[0]);
		uint64_t all, bits;

		if (first) {
			struct bgs_group *group = find_in_few(node, first, mask, slot_mask, bin);

			if (__builtin_expect(group != NULL, 1)) {
				*bin_at = bin;
				return group;
			}
			/* Nothing there that is this lane's; if nothing at all, what says otherwise
			 * is stale. */
			if (!stale_is_cleared()) {
				bin++;
				continue;
			}
		}
		all = __atomic_load_n(&node->bits[bin], __ATOMIC_RELAXED);
		for (bits = all & mask; bits; bits &= bits - 1) {
			struct bgs_block *block =
				bgs_dereference(node->blocks[__builtin_ctzll(bits)]);
			uint16_t slots = __atomic_load_n(&block->bits[bin], __ATOMIC_RELAXED);

			if (__builtin_expect((slots & slot_mask) != 0, 1)) {
				struct bgs_group *group = bgs_dereference(
					block->groups[__builtin_ctz(slots & slot_mask)]);

				*bin_at = bin;
				if (__builtin_expect(group != NULL, 1))
					return group;
			}
			if (!slots && stale_is_cleared())
				bgs_node_clear_bit(node, block, bin);
		}
		if (!all && stale_is_cleared())
			bgs_node_clear_summary(node, bin);
		bin++;
	}
	return NULL;
}

/* The blocks of a node that a range covers. */
static inline uint64_t range_mask(const struct bgs_range *range, uint32_t base)
{
	uint64_t mask = ~UINT64_C(0);

	if (range->first > base)
		mask &= ~UINT64_C(0) << (range->first - base);
	if (range->last - base < BGS_NODE_BLOCKS - 1)
		mask &= (UINT64_C(2) << (range->last - base)) - 1;
	return mask;
}

/*
 * The group with a run in the lowest bin at or above *bin, in a range; lowest slot
 * first among equals. Inside a read section. Sets *bin to what was found.
 *
 * Return: the group, or NULL when the range has none.
 */
static inline struct bgs_group *bgs_directory_find(struct bgs_directory *directory,
						   const struct bgs_range *range, unsigned *bin)
{
	uint32_t n = range->first / BGS_NODE_BLOCKS;
	uint32_t base = n * BGS_NODE_BLOCKS;

	if (__builtin_expect(n != range->last / BGS_NODE_BLOCKS, 0))
		return bgs_directory_find_far(directory, range, bin);
	return find_in_node(bgs_dereference(bgs_dereference(directory->nodes)[n]),
			    range_mask(range, base), range->slots, bin, BGS_BINS);
}

#endif
