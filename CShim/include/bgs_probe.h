/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_probe.h - USDT probes of provider "blockgroups", seen by perf and bpftrace.
 *
 * A probe is one nop and a note in the binary; where the header is missing at build
 * time there is none. The macros are for C files; Swift calls the functions.
 * Tracing.md (Sources/BlockGroups/BlockGroups.docc) says what each means.
 */
#ifndef BGS_PROBE_H
#define BGS_PROBE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A claim was refused: flags and sectors asked for, and the negative errno. */
void bgs_probe_refused(uint64_t flags, uint64_t sectors, int error);
/* A chunk was asked for: flags, bytes, and 0 or the negative errno. */
void bgs_probe_chunk(uint64_t flags, uint64_t length, int error);
/* A commit ended: its generation, tree blocks and bytes written, and 0 or a negative errno. */
void bgs_probe_commit(uint64_t generation, uint64_t blocks, uint64_t bytes, int result);

#ifdef __cplusplus
}
#endif

#if defined(__has_include) && !defined(__swift__)
#if __has_include(<sys/sdt.h>)
/* In registers: clang would else store every argument. */
#ifndef STAP_SDT_ARG_CONSTRAINT
#define STAP_SDT_ARG_CONSTRAINT nr
#endif
#include <sys/sdt.h>
#define BGS_PROBE2(name, a, b)	     DTRACE_PROBE2(blockgroups, name, a, b)
#define BGS_PROBE3(name, a, b, c)    DTRACE_PROBE3(blockgroups, name, a, b, c)
#define BGS_PROBE4(name, a, b, c, d) DTRACE_PROBE4(blockgroups, name, a, b, c, d)
#endif
#endif

#ifndef BGS_PROBE3
#define BGS_PROBE2(name, a, b)	     ((void)(a), (void)(b))
#define BGS_PROBE3(name, a, b, c)    ((void)(a), (void)(b), (void)(c))
#define BGS_PROBE4(name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#endif

#endif
