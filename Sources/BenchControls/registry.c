/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* registry.c - the list of competitors, in the order of the table. */
#include "controls.h"

const struct bench_competitor *bench_competitor_at(size_t index)
{
	static const struct bench_competitor *const all[] = {
		&bench_blockgroups,	   &bench_blockgroups_lock, &bench_std_map,
		&bench_seed_before,	   &bench_seed_after,	    &bench_seed_before_cluster,
		&bench_seed_after_cluster, &bench_libext2fs,	    &bench_null,
	};

	return index < sizeof(all) / sizeof(all[0]) ? all[index] : NULL;
}
