/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_checksum.h - the four checksums of btrfs, as it stores them
 *
 * Nothing here locks, and nothing allocates; any thread may call.
 */
#ifndef BGS_CHECKSUM_H
#define BGS_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BGS_CHECKSUM_BYTES 32

/* Values of the super block's csum_type. */
enum bgs_checksum_type {
	BGS_CHECKSUM_CRC32C = 0,
	BGS_CHECKSUM_XXHASH64 = 1,
	BGS_CHECKSUM_SHA256 = 2,
	BGS_CHECKSUM_BLAKE2B = 3,
};

/**
 * bgs_checksum() - checksum a range of memory.
 * @type:	enum bgs_checksum_type.
 * @data:	bytes.
 * @length:	how many.
 * @out:	receives all 32 bytes: the checksum as it stands on disk
 *		(numbers little-endian), then zeros.
 *
 * Return: 0, or -EOPNOTSUPP for a type that is none of the four.
 */
int bgs_checksum(unsigned int type, const void *data, size_t length, void *out);

/**
 * bgs_crc32c_raw() - crc32c without its usual first and last inversion.
 * @seed:	register to start from.
 * @data:	bytes.
 * @length:	how many; at most INT_MAX.
 *
 * Names are hashed so: with a seed of the file system's choice.
 *
 * Return: the register.
 */
uint32_t bgs_crc32c_raw(uint32_t seed, const void *data, size_t length);

#ifdef __cplusplus
}
#endif

#endif
