/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_vec512.h - the loops of bgs_index_vec.h with AVX-512: an array is one vector or two.
 *
 * Comparisons give bit masks as they are, and entries move inside registers: no load follows a
 * store of the same line. Included by bgs_index_vec.h only, which says what each of them does.
 */
#ifndef BGS_INDEX_VEC512_H
#define BGS_INDEX_VEC512_H

VEC __m512i vec_all(uint32_t value)
{
	return _mm512_set1_epi32((int)value);
}

VEC __m512i vec_load16(const uint32_t *at)
{
	return _mm512_loadu_si512(at);
}

VEC unsigned vec_count_le(const uint32_t *a, unsigned n, uint32_t x)
{
	__m512i key = vec_all(x);
	uint32_t low = _mm512_cmple_epu32_mask(vec_load16(a), key);

	if (n == 16)
		return (unsigned)__builtin_popcount(low);
	return (unsigned)__builtin_popcount(
		low | (uint32_t)_mm512_cmple_epu32_mask(vec_load16(a + 16), key) << 16);
}

VEC uint32_t vec_mask_within(const uint32_t *a, unsigned n, uint32_t low, uint32_t high)
{
	__m512i from = vec_all(low), width = vec_all(high - low);
	uint32_t mask = 0;

	for (unsigned k = 0; k < n; k += 16)
		mask |= (uint32_t)_mm512_cmple_epu32_mask(_mm512_sub_epi32(vec_load16(a + k), from),
							  width)
			<< k;
	return mask;
}

VEC uint32_t vec_mask_ge(const uint32_t *len, unsigned n, uint32_t need)
{
	uint32_t mask = 0;

	for (unsigned k = 0; k < n; k += 16)
		mask |= (uint32_t)_mm512_cmpge_epu32_mask(vec_load16(len + k), vec_all(need)) << k;
	return mask;
}

VEC uint32_t vec_min_excess(const uint32_t *len, unsigned n, uint32_t need, unsigned *at)
{
	__m512i low = _mm512_sub_epi32(vec_load16(len), vec_all(need)), high = low;
	uint32_t least, mask;

	if (n == 32)
		high = _mm512_sub_epi32(vec_load16(len + 16), vec_all(need));
	least = _mm512_reduce_min_epu32(_mm512_min_epu32(low, high));
	mask = _mm512_cmpeq_epi32_mask(low, vec_all(least)) |
	       (uint32_t)_mm512_cmpeq_epi32_mask(high, vec_all(least)) << 16;
	*at = (unsigned)__builtin_ctz(mask);
	return least;
}

VEC bool vec_has_class(const uint32_t *len, unsigned n, uint32_t value)
{
	unsigned shift = class_shift(value);

	if (value >= BGS_INDEX_OPEN_CLASS)
		return vec_mask_within(len, n, BGS_INDEX_OPEN_CLASS, UINT32_MAX) != 0;
	return vec_mask_within(len, n, value >> shift << shift, value | ((1u << shift) - 1)) != 0;
}

/*
 * The entries before @keep as they are, the others from one further left, or right; @value where
 * @puts has a bit.
 */
VEC void vec_move(uint32_t *a, unsigned n, unsigned keep, const int delta, uint32_t pad,
		  uint32_t puts, uint32_t value)
{
	uint32_t keeps = _bzhi_u32(~0u, keep);
	__m512i low = vec_load16(a), high = n == 32 ? vec_load16(a + 16) : vec_all(pad);
	__m512i to_low =
		delta > 0 ? _mm512_alignr_epi32(low, low, 15) : _mm512_alignr_epi32(high, low, 1);
	__m512i to_high = delta > 0 ? _mm512_alignr_epi32(high, low, 15)
				    : _mm512_alignr_epi32(vec_all(pad), high, 1);

	to_low = _mm512_mask_mov_epi32(to_low, (__mmask16)keeps, low);
	to_high = _mm512_mask_mov_epi32(to_high, (__mmask16)(keeps >> 16), high);
	_mm512_storeu_si512(a, _mm512_mask_mov_epi32(to_low, (__mmask16)puts, vec_all(value)));
	if (n == 32)
		_mm512_storeu_si512(a + 16, _mm512_mask_mov_epi32(to_high, (__mmask16)(puts >> 16),
								  vec_all(value)));
}

VEC void vec_replace_one(uint32_t *a, unsigned n, unsigned keep, unsigned put, uint32_t value,
			 const int delta, uint32_t pad)
{
	vec_move(a, n, keep, delta, pad, put == BGS_NONE ? 0 : 1u << put, value);
}

VEC void vec_insert(uint32_t *a, unsigned n, unsigned at, uint32_t value)
{
	vec_move(a, n, at, 1, 0, 1u << at, value);
}

VEC void vec_delete(uint32_t *a, unsigned n, unsigned at, uint32_t pad)
{
	vec_move(a, n, at, -1, pad, 0, 0);
}

#endif
