/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_probe.h - USDT probes of provider "blockgroups", seen by perf and bpftrace.
 *
 * A probe is one nop and a note in the binary; where the header is missing at
 * build time there is none. C files only.
 */
#ifndef BGS_PROBE_H
#define BGS_PROBE_H

#if defined(__has_include) && !defined(__swift__)
#if __has_include(<sys/sdt.h>)
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
