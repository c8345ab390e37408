/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_index_avx512.c - the free-space index for CPUs with AVX-512; see bgs_index_ops.h. */
#ifdef __x86_64__
#include <immintrin.h>
#include "bgs_index_internal.h"

#ifdef __clang__
#pragma clang attribute push(                                                                      \
	__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,bmi,bmi2,lzcnt,popcnt"))),  \
	apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,bmi,bmi2,lzcnt,popcnt")
#endif
#define BGS_AVX2       1
#define BGS_AVX512     1
#define BGS_OPERATIONS bgs_index_avx512
#include "bgs_index_ops.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
