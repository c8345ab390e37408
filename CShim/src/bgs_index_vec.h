/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_vec.h - the few loops over a leaf's arrays, with AVX-512, with AVX2, and without;
 * same results.
 *
 * Arrays have 16 (the root as a leaf) or 32 entries, in use from the front; pads after them are
 * BGS_INDEX_PAD in starts and 0 in lengths, so no loop needs the count, and none branches on data.
 * Starts stay below 2^31, so that signed compares will do.
 */
#ifndef BGS_INDEX_VEC_H
#define BGS_INDEX_VEC_H

#include "bgs_index_internal.h"

/* How far lengths of the class of @len are shifted to become equal to each other. */
static inline unsigned class_shift(uint32_t len)
{
	uint32_t clamped = len < BGS_INDEX_OPEN_CLASS ? len : BGS_INDEX_OPEN_CLASS;

	return 28u - (unsigned)__builtin_clz(clamped | 8u);
}

#if BGS_AVX512
#include <immintrin.h>

#define VEC static inline __attribute__((always_inline))

#include "bgs_index_vec512.h"

#elif BGS_AVX2
#include <immintrin.h>

#define VEC static inline __attribute__((always_inline))

VEC __m256i vec_load(const uint32_t *at)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

VEC void vec_store(uint32_t *at, __m256i value)
{
	_mm256_storeu_si256((__m256i *)(void *)at, value);
}

/* Entries that are at most @x, in an ascending array. */
VEC unsigned vec_count_le(const uint32_t *a, unsigned n, uint32_t x)
{
	__m256i key = _mm256_set1_epi32((int)x);
	__m256i low = _mm256_packs_epi32(_mm256_cmpgt_epi32(vec_load(a), key),
					 _mm256_cmpgt_epi32(vec_load(a + 8), key));
	__m256i high;

	if (n == 16)
		return 16u - (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(low)) / 2u;
	high = _mm256_packs_epi32(_mm256_cmpgt_epi32(vec_load(a + 16), key),
				  _mm256_cmpgt_epi32(vec_load(a + 24), key));
	low = _mm256_packs_epi16(low, high);
	return 32u - (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(low));
}

VEC unsigned vec_mask8(__m256i lanes)
{
	return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(lanes));
}

/* Bit j: len[j] >= @need. */
VEC uint32_t vec_mask_ge(const uint32_t *len, unsigned n, uint32_t need)
{
	__m256i least = _mm256_set1_epi32((int)(need - 1));
	uint32_t mask = 0;

	for (unsigned k = 0; k < n; k += 8)
		mask |= vec_mask8(_mm256_cmpgt_epi32(vec_load(len + k), least)) << k;
	return mask;
}

/* The smallest length >= @need, as its excess over it; above 2^31 when there is none. */
VEC uint32_t vec_min_excess(const uint32_t *len, unsigned n, uint32_t need, unsigned *at)
{
	__m256i base = _mm256_set1_epi32((int)need);
	__m256i v[4], least;
	__m128i half;
	uint32_t mask = 0;

	for (unsigned k = 0; k < n / 8; k++)
		v[k] = _mm256_sub_epi32(vec_load(len + 8 * k), base);
	least = _mm256_min_epu32(v[0], v[1]);
	if (n == 32)
		least = _mm256_min_epu32(least, _mm256_min_epu32(v[2], v[3]));
	half = _mm_min_epu32(_mm256_castsi256_si128(least), _mm256_extracti128_si256(least, 1));
	half = _mm_min_epu32(half, _mm_shuffle_epi32(half, 0x4e));
	half = _mm_min_epu32(half, _mm_shuffle_epi32(half, 0xb1));
	least = _mm256_broadcastd_epi32(half);
	for (unsigned k = 0; k < n / 8; k++)
		mask |= vec_mask8(_mm256_cmpeq_epi32(v[k], least)) << (8 * k);
	*at = (unsigned)__builtin_ctz(mask);
	return (uint32_t)_mm_cvtsi128_si32(half);
}

/* Whether any entry is of the class of @value, which is not 0. */
VEC bool vec_has_class(const uint32_t *len, unsigned n, uint32_t value)
{
	uint32_t clamped = value < BGS_INDEX_OPEN_CLASS ? value : BGS_INDEX_OPEN_CLASS;
	__m128i shift = _mm_cvtsi32_si128((int)class_shift(value));
	__m256i top = _mm256_set1_epi32((int)BGS_INDEX_OPEN_CLASS);
	__m256i want = _mm256_set1_epi32((int)(clamped >> class_shift(value)));
	__m256i found = _mm256_setzero_si256();

	for (unsigned k = 0; k < n; k += 8) {
		__m256i v = _mm256_min_epu32(vec_load(len + k), top);

		found = _mm256_or_si256(found,
					_mm256_cmpeq_epi32(_mm256_srl_epi32(v, shift), want));
	}
	return !_mm256_testz_si256(found, found);
}

/*
 * One array of vec_replace(); @delta is a constant. Only whole vectors are loaded and neighbours'
 * lanes blended in: an unaligned load across two vectors that were just stored waits for both to
 * reach the cache.
 */
VEC void vec_replace_one(uint32_t *a, unsigned n, unsigned keep, unsigned put, uint32_t value,
			 const int delta, uint32_t pad)
{
	const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	const __m256i turn = delta > 0 ? _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6)
				       : _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0);
	__m256i keeps = _mm256_set1_epi32((int)keep);
	__m256i puts = _mm256_set1_epi32((int)put);
	__m256i values = _mm256_set1_epi32((int)value);
	__m256i old[5], turned[5];
	unsigned last = n / 8 - 1;

	for (unsigned k = 0; k <= last; k++) {
		old[k] = vec_load(a + 8 * k);
		turned[k] = _mm256_permutevar8x32_epi32(old[k], turn);
	}
	turned[last + 1] = _mm256_set1_epi32((int)pad);
	for (unsigned k = 0; k <= last; k++) {
		__m256i at = _mm256_add_epi32(lanes, _mm256_set1_epi32((int)(8 * k)));
		__m256i out = delta > 0 ? _mm256_blend_epi32(turned[k], turned[k ? k - 1 : 0], 1)
					: _mm256_blend_epi32(turned[k], turned[k + 1], 128);

		out = _mm256_blendv_epi8(out, old[k], _mm256_cmpgt_epi32(keeps, at));
		if (put != BGS_NONE)
			out = _mm256_blendv_epi8(out, values, _mm256_cmpeq_epi32(puts, at));
		vec_store(a + 8 * k, out);
	}
}

VEC __m256i vec_lanes(unsigned k)
{
	return _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
				_mm256_set1_epi32((int)(8 * k)));
}

/* Bit j: @low <= entry j <= @high. */
VEC uint32_t vec_mask_within(const uint32_t *a, unsigned n, uint32_t low, uint32_t high)
{
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	__m256i from = _mm256_set1_epi32((int)low), width = _mm256_set1_epi32((int)(high - low));
	__m256i hit[4];

	for (unsigned k = 0; k < n / 8; k++) {
		__m256i over = _mm256_sub_epi32(vec_load(a + 8 * k), from);

		hit[k] = _mm256_cmpeq_epi32(_mm256_min_epu32(over, width), over);
	}
	if (n == 16)
		return vec_mask8(hit[0]) | vec_mask8(hit[1]) << 8;
	return (uint32_t)_mm256_movemask_epi8(
		_mm256_permutevar8x32_epi32(_mm256_packs_epi16(_mm256_packs_epi32(hit[0], hit[1]),
							       _mm256_packs_epi32(hit[2], hit[3])),
					    order));
}

/* Entries from @at on move one to the right; @at gets @value. From the back, so that each is read
 * before it goes. */
VEC void vec_insert(uint32_t *a, unsigned n, unsigned at, uint32_t value)
{
	const __m256i turn = _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6);
	__m256i first = _mm256_set1_epi32((int)at);

	for (unsigned k = n / 8; k-- > 0;) {
		__m256i old = vec_load(a + 8 * k);
		__m256i moved =
			k ? vec_load(a + 8 * k - 1) : _mm256_permutevar8x32_epi32(old, turn);

		vec_store(a + 8 * k,
			  _mm256_blendv_epi8(moved, old, _mm256_cmpgt_epi32(first, vec_lanes(k))));
	}
	a[at] = value;
}

/* Entry @at goes, those behind it move one to the left. */
VEC void vec_delete(uint32_t *a, unsigned n, unsigned at, uint32_t pad)
{
	const __m256i turn = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0);
	__m256i first = _mm256_set1_epi32((int)at);

	for (unsigned k = 0; k < n / 8; k++) {
		__m256i old = vec_load(a + 8 * k);
		__m256i moved = k + 1 < n / 8
					? vec_load(a + 8 * k + 1)
					: _mm256_blend_epi32(_mm256_permutevar8x32_epi32(old, turn),
							     _mm256_set1_epi32((int)pad), 128);

		vec_store(a + 8 * k,
			  _mm256_blendv_epi8(moved, old, _mm256_cmpgt_epi32(first, vec_lanes(k))));
	}
}

#else /* plain C */

#define VEC static inline

VEC unsigned vec_count_le(const uint32_t *a, unsigned n, uint32_t x)
{
	unsigned count = 0;

	for (unsigned j = 0; j < n; j++)
		count += a[j] <= x;
	return count;
}

VEC uint32_t vec_mask_ge(const uint32_t *len, unsigned n, uint32_t need)
{
	uint32_t mask = 0;

	for (unsigned j = 0; j < n; j++)
		mask |= (uint32_t)(len[j] >= need) << j;
	return mask;
}

VEC uint32_t vec_min_excess(const uint32_t *len, unsigned n, uint32_t need, unsigned *at)
{
	uint32_t least = UINT32_MAX;
	unsigned best = 0;

	for (unsigned j = 0; j < n; j++) {
		uint32_t excess = len[j] - need;

		best = excess < least ? j : best;
		least = excess < least ? excess : least;
	}
	*at = best;
	return least;
}

VEC bool vec_has_class(const uint32_t *len, unsigned n, uint32_t value)
{
	uint32_t clamped = value < BGS_INDEX_OPEN_CLASS ? value : BGS_INDEX_OPEN_CLASS;
	unsigned shift = class_shift(value), found = 0;

	for (unsigned j = 0; j < n; j++) {
		uint32_t v = len[j] < BGS_INDEX_OPEN_CLASS ? len[j] : BGS_INDEX_OPEN_CLASS;

		found |= (v >> shift) == (clamped >> shift);
	}
	return found;
}

VEC void vec_replace_one(uint32_t *a, unsigned n, unsigned keep, unsigned put, uint32_t value,
			 int delta, uint32_t pad)
{
	if (delta > 0 && keep < n) {
		memmove(a + keep + 1, a + keep, (n - keep - 1) * sizeof(*a));
	} else if (delta < 0 && keep < n) {
		memmove(a + keep, a + keep + 1, (n - keep - 1) * sizeof(*a));
		a[n - 1] = pad;
	}
	if (put < n)
		a[put] = value;
}

VEC uint32_t vec_mask_within(const uint32_t *a, unsigned n, uint32_t low, uint32_t high)
{
	uint32_t mask = 0;

	for (unsigned j = 0; j < n; j++)
		mask |= (uint32_t)(a[j] - low <= high - low) << j;
	return mask;
}

VEC void vec_insert(uint32_t *a, unsigned n, unsigned at, uint32_t value)
{
	memmove(a + at + 1, a + at, (n - at - 1) * sizeof(*a));
	a[at] = value;
}

VEC void vec_delete(uint32_t *a, unsigned n, unsigned at, uint32_t pad)
{
	memmove(a + at, a + at + 1, (n - at - 1) * sizeof(*a));
	a[n - 1] = pad;
}

#endif

/*
 * Rewrites a leaf's arrays: entries before @keep stay, entry @put (BGS_NONE: no entry) becomes
 * {start, len}, the others come from @delta (1 or -1) entries further left. With delta 1 the last
 * entry must be a pad.
 */
VEC void vec_replace(uint32_t *starts, uint32_t *lens, unsigned n, unsigned keep, unsigned put,
		     uint32_t start, uint32_t len, const int delta)
{
	vec_replace_one(starts, n, keep, put, start, delta, BGS_INDEX_PAD);
	vec_replace_one(lens, n, keep, put, len, delta, 0);
}

/* Bit s: slot s of @node has a run of class @c or above. */
VEC unsigned vec_where_from(const struct bgs_index_node *node, unsigned c)
{
	uint16_t all = 0;

	while (c & 7u)
		all |= node->where[c++];
	for (; c < BGS_INDEX_CLASSES; c += 8)
		for (unsigned j = 0; j < 8; j++)
			all |= node->where[c + j];
	return all;
}

#endif
