/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_percpu.h - which processor and which thread is calling.
 *
 * Both are hints that spread threads over data: nothing here or in its users
 * depends on the answer still being true when it is used.
 */
#ifndef BGS_PERCPU_H
#define BGS_PERCPU_H

#include <stddef.h>
#include <stdint.h>

#if defined(__has_include)
#if __has_include(<sys/rseq.h>) && defined(__x86_64__)
#include <sys/rseq.h>
#define BGS_HAVE_RSEQ 1
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define BGS_CACHE_LINE 64

struct bgs_thread {
	/* 1, 2, 3 ... in the order threads first called; 0: not yet given. */
	uint32_t ordinal;
	/* Claims this thread made through a directory; wraps. */
	uint32_t ticks;
};

/* __thread, which C++ knows as well. */
extern __thread struct bgs_thread bgs_thread_self __attribute__((tls_model("initial-exec")));
uint32_t bgs_thread_ordinal_assign(void);
unsigned bgs_cpu_slow(void);
/* Number of processors that could ever run us, at least 1. */
unsigned bgs_cpu_count(void);

/* Number of the processor this runs on. */
static inline unsigned bgs_cpu(void)
{
#ifdef BGS_HAVE_RSEQ
	/* cpu_id_start: always a possible CPU number, 0 where rseq is not registered. */
	const char *thread = (const char *)__builtin_thread_pointer();

	return *(const volatile uint32_t *)(thread + __rseq_offset);
#else
	return bgs_cpu_slow();
#endif
}

static inline uint32_t bgs_thread_ordinal(void)
{
	uint32_t ordinal = bgs_thread_self.ordinal;

	return __builtin_expect(ordinal != 0, 1) ? ordinal : bgs_thread_ordinal_assign();
}

#ifdef __cplusplus
}
#endif

#endif
