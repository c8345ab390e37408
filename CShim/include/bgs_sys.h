/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_sys.h - files, clock and aligned memory, without errno and varargs
 *
 * Errors: 0 or a negative errno, unless stated otherwise.
 * Signals and short transfers: EINTR is retried, a short transfer goes on
 * where it stopped. A device that moves nothing more ends the loop.
 * Threads: any; nothing here locks. All of it may block: never under a spin lock.
 */
#ifndef BGS_SYS_H
#define BGS_SYS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* bgs_open() flags */
#define BGS_OPEN_WRITE (1u << 0)

/**
 * bgs_open() - open a file or block device.
 * @path:	null-terminated path.
 * @flags:	BGS_OPEN_*; without any, for reading only.
 *
 * Return: a file descriptor (closed on exec), -EINVAL for what is neither of the two, or another
 * negative errno.
 */
int bgs_open(const char *path, unsigned int flags);

/**
 * bgs_close() - close a descriptor from bgs_open().
 * @fd:	descriptor.
 *
 * Return: 0 or a negative errno; the descriptor is gone in either case.
 */
int bgs_close(int fd);

/**
 * bgs_file_size() - size of a regular file or block device.
 * @fd:		descriptor.
 * @size_out:	bytes; set on success.
 *
 * Return: 0, -EINVAL for what is neither of the two, or a negative errno.
 */
int bgs_file_size(int fd, uint64_t *size_out);

/**
 * bgs_pread() - read all of a range.
 * @fd:		descriptor.
 * @buffer:	receives the bytes; undefined after an error.
 * @length:	bytes.
 * @offset:	first byte.
 *
 * Return: 0, -ENODATA where the file ends inside the range, or a negative errno.
 */
int bgs_pread(int fd, void *buffer, size_t length, uint64_t offset);

/**
 * bgs_pwrite() - write all of a range.
 * @fd:		descriptor.
 * @buffer:	bytes to write.
 * @length:	how many.
 * @offset:	first byte.
 *
 * Return: 0, -ENOSPC where the device takes nothing more, or a negative errno.
 * Any part may have been written when it fails.
 */
int bgs_pwrite(int fd, const void *buffer, size_t length, uint64_t offset);

/**
 * bgs_start_writeback() - have written bytes go to the device meanwhile.
 * @fd:		descriptor.
 * @offset:	first byte.
 * @length:	bytes.
 *
 * Only a hint, for long streams: the device works while more is being made, and
 * a later bgs_fsync() has less to wait for. Makes nothing durable, and keeps
 * quiet about errors, which bgs_fsync() tells of.
 */
void bgs_start_writeback(int fd, uint64_t offset, uint64_t length);

/**
 * bgs_fsync() - wait until everything written is durable.
 * @fd:	descriptor.
 *
 * Return: 0 or a negative errno.
 */
int bgs_fsync(int fd);

/**
 * bgs_monotonic_ns() - nanoseconds of a clock that only goes forward.
 *
 * Return: nanoseconds since some fixed point.
 */
uint64_t bgs_monotonic_ns(void);

/**
 * bgs_realtime() - the time of day.
 * @nanoseconds_out:	0 to 999999999, to be added to the seconds.
 *
 * Return: seconds since 1970.
 */
int64_t bgs_realtime(uint32_t *nanoseconds_out);

/**
 * bgs_alloc_aligned() - zeroed memory for transfers.
 * @alignment:	a power of two, at least the size of a pointer.
 * @length:	bytes, not 0.
 *
 * Return: memory to be freed with bgs_free(), or NULL.
 */
void *bgs_alloc_aligned(size_t alignment, size_t length);

/**
 * bgs_free() - free memory from bgs_alloc_aligned().
 * @memory:	memory; NULL is fine.
 */
void bgs_free(void *memory);

#ifdef __cplusplus
}
#endif

#endif
