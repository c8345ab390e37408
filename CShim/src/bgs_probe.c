/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_probe.c - the probes of paths that are Swift's, as functions. */
#include "bgs_probe.h"

void bgs_probe_refused(uint64_t flags, uint64_t sectors, int error)
{
	BGS_PROBE3(refused, flags, sectors, error);
}

void bgs_probe_chunk(uint64_t flags, uint64_t length, int error)
{
	BGS_PROBE3(chunk, flags, length, error);
}

void bgs_probe_commit(uint64_t generation, uint64_t blocks, uint64_t bytes, int result)
{
	BGS_PROBE4(commit, generation, blocks, bytes, result);
}
