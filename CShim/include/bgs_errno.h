/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_errno.h - errno values under names that Swift sees without its Glibc module. */
#ifndef BGS_ERRNO_H
#define BGS_ERRNO_H

#include <errno.h>
#include <stdint.h>

static const int32_t bgs_enospc = ENOSPC;
static const int32_t bgs_einval = EINVAL;
static const int32_t bgs_efault = EFAULT;
static const int32_t bgs_eexist = EEXIST;
static const int32_t bgs_enoent = ENOENT;
static const int32_t bgs_ebusy = EBUSY;
static const int32_t bgs_erofs = EROFS;
static const int32_t bgs_eio = EIO;
static const int32_t bgs_euclean = EUCLEAN;
static const int32_t bgs_enomem = ENOMEM;
static const int32_t bgs_eagain = EAGAIN;
static const int32_t bgs_enxio = ENXIO;
static const int32_t bgs_eopnotsupp = EOPNOTSUPP;

#endif
