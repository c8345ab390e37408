/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_percpu.c - thread numbers, and the processor where rseq does not tell. */
#include "bgs_percpu.h"

#include <sched.h>
#include <unistd.h>

__thread struct bgs_thread bgs_thread_self __attribute__((tls_model("initial-exec")));

uint32_t bgs_thread_ordinal_assign(void)
{
	static uint32_t last;
	uint32_t ordinal;

	/* Skips 0 when four thousand million threads have come by. */
	do
		ordinal = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
	while (ordinal == 0);
	bgs_thread_self.ordinal = ordinal;
	return ordinal;
}

unsigned bgs_cpu_slow(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (unsigned)cpu;
}

unsigned bgs_cpu_count(void)
{
	long count = sysconf(_SC_NPROCESSORS_CONF);

	return count < 1 ? 1 : (unsigned)count;
}
