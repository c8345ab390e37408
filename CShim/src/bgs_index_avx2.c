/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_index_avx2.c - the free-space index for CPUs with AVX2 and BMI2; see bgs_index_ops.h. */
#ifdef __x86_64__
#include <immintrin.h>
#include "bgs_index_internal.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"))),                \
			     apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif
#define BGS_AVX2       1
#define BGS_AVX512     0
#define BGS_OPERATIONS bgs_index_avx2
#include "bgs_index_ops.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
