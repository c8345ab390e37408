/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* controls.h - every competitor of this folder, and what its files share. */
#ifndef BENCH_CONTROLS_H
#define BENCH_CONTROLS_H

#include "bench_competitor.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct bench_competitor bench_blockgroups;
extern const struct bench_competitor bench_blockgroups_lock;
extern const struct bench_competitor bench_seed_before;
extern const struct bench_competitor bench_seed_after;
extern const struct bench_competitor bench_seed_before_cluster;
extern const struct bench_competitor bench_seed_after_cluster;
extern const struct bench_competitor bench_std_map;
extern const struct bench_competitor bench_libext2fs;
extern const struct bench_competitor bench_null;

#ifdef __cplusplus
}
#endif

#endif
