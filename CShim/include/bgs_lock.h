/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BGS_LOCK_H
#define BGS_LOCK_H
#include <stdint.h>
static inline int bgs_placeholder(void) { return 1; }
#endif
