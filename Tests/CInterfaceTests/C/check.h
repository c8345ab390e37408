/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check.h - the assertion of these programs. Unlike assert() it is never
 * compiled out, and it says both sides of a comparison of errnos.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* The value of a call must be this one. */
#define EXPECT(call, value)                                                                        \
	do {                                                                                       \
		long long got_ = (long long)(call), want_ = (long long)(value);                    \
		if (got_ != want_) {                                                               \
			fprintf(stderr, "%s:%d: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__,  \
				#call, got_, #value, want_);                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

#endif
