/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_error_text.h - what went wrong last on this thread, in words.
 *
 * Written by the thread it belongs to, so nothing guards it.
 */
#ifndef BGS_ERROR_TEXT_H
#define BGS_ERROR_TEXT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BGS_ERROR_TEXT_BYTES 512

/* BGS_ERROR_TEXT_BYTES of this thread's; ended by a 0, empty at first. */
char *bgs_error_text(void);

#ifdef __cplusplus
}
#endif

#endif
