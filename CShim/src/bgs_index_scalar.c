/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_index_scalar.c - the free-space index in plain C; see bgs_index_ops.h. */
#define BGS_AVX2       0
#define BGS_AVX512     0
#define BGS_OPERATIONS bgs_index_scalar
#include "bgs_index_ops.h"
