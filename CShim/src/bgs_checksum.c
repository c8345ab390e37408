/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bgs_checksum.h"

#include <endian.h>
#include <errno.h>
#include <isa-l/crc.h>
#include <sodium.h>
#include <string.h>
#include <xxhash.h>

/*
 * ISA-L leaves both inversions of CRC-32C to its caller, takes an int and a
 * pointer to non-const; hence the pieces and the cast.
 */
static uint32_t crc32c(const unsigned char *data, size_t length)
{
	const size_t piece_max = 1u << 30;
	uint32_t crc = ~0u;

	while (length > 0) {
		size_t piece = length < piece_max ? length : piece_max;

		crc = crc32_iscsi((unsigned char *)(uintptr_t)data, (int)piece, crc);
		data += piece;
		length -= piece;
	}
	return ~crc;
}

int bgs_checksum(unsigned int type, const void *data, size_t length, void *out)
{
	unsigned char *bytes = (unsigned char *)out;
	uint32_t crc;
	uint64_t hash;

	if (type > BGS_CHECKSUM_BLAKE2B)
		return -EOPNOTSUPP;
	memset(bytes, 0, BGS_CHECKSUM_BYTES);
	switch (type) {
	case BGS_CHECKSUM_CRC32C:
		crc = htole32(crc32c((const unsigned char *)data, length));
		memcpy(bytes, &crc, sizeof(crc));
		break;
	case BGS_CHECKSUM_XXHASH64:
		hash = htole64(XXH64(data, length, 0));
		memcpy(bytes, &hash, sizeof(hash));
		break;
	case BGS_CHECKSUM_SHA256:
		crypto_hash_sha256(bytes, (const unsigned char *)data, length);
		break;
	default:
		crypto_generichash_blake2b(bytes, BGS_CHECKSUM_BYTES, (const unsigned char *)data,
					   length, NULL, 0);
		break;
	}
	return 0;
}

uint32_t bgs_crc32c_raw(uint32_t seed, const void *data, size_t length)
{
	return crc32_iscsi((unsigned char *)(uintptr_t)data, (int)length, seed);
}

/* Lets libsodium choose the code for this machine; its hashes are right without it, only slower. */
__attribute__((constructor)) static void choose_implementation(void)
{
	(void)!sodium_init();
}
