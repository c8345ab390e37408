/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_error_text.c - see bgs_error_text.h. */
#include "bgs_error_text.h"

static _Thread_local char text[BGS_ERROR_TEXT_BYTES] __attribute__((tls_model("initial-exec")));

char *bgs_error_text(void)
{
	return text;
}
