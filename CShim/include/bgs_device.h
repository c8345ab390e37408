/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_device.h - devices and image files opened so that nobody else writes them
 *
 * Who may write a device is settled by the kernel's exclusive claim on block
 * devices and by flock() on files. Neither sees an image file that a loop device
 * or a mount uses: those are looked for in /sys and /proc.
 *
 * Errors: 0 or a negative errno, unless stated otherwise.
 * Threads: any; nothing here locks. All of it may block: never under a spin lock.
 */
#ifndef BGS_DEVICE_H
#define BGS_DEVICE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Who else uses a device. */
enum bgs_device_use {
	BGS_DEVICE_UNUSED = 0,
	BGS_DEVICE_MOUNTED, /* a mount of this namespace names it                       */
	BGS_DEVICE_CLAIMED, /* the kernel, for a mount, a partition or another device   */
	BGS_DEVICE_LOOPED,  /* a loop device is set up over it                          */
	BGS_DEVICE_LOCKED,  /* a program holds its lock                                 */
};

/**
 * bgs_device_open_exclusive() - open a file or block device for writing, alone.
 * @path:	null-terminated path.
 * @use_out:	set on success, to BGS_DEVICE_UNUSED, and on -EBUSY, to who has it.
 *
 * The lock lasts until bgs_close(). A regular file keeps out only those who ask
 * for the lock, too.
 *
 * Return: a file descriptor (closed on exec), -EBUSY, -EINVAL for what is neither
 * a regular file nor a block device, or another negative errno.
 */
int bgs_device_open_exclusive(const char *path, enum bgs_device_use *use_out);

/**
 * bgs_device_create() - make an empty image file and open it as above.
 * @path:	null-terminated path; nothing may be there yet.
 *
 * Return: a file descriptor, -EEXIST, or another negative errno.
 */
int bgs_device_create(const char *path);

/**
 * bgs_device_open_direct() - open what a descriptor leads to once more, for writes past the page
 * cache (O_DIRECT).
 * @fd:		descriptor, open for writing.
 *
 * Memory, offset and length of such a write are whole multiples of the device's block;
 * BGS_DIRECT_ALIGNMENT does for nearly all. -EINVAL of bgs_pwrite() says that it is larger.
 *
 * Return: a descriptor (closed on exec), -EINVAL where the file system has no such writes, or
 * another negative errno.
 */
int bgs_device_open_direct(int fd);

/* Bytes. */
#define BGS_DIRECT_ALIGNMENT 4096

/**
 * bgs_device_resize() - set the size of a regular file; new bytes are a hole.
 * @fd:		descriptor, open for writing.
 * @size:	bytes.
 *
 * Return: 0, -EINVAL for a block device, or another negative errno.
 */
int bgs_device_resize(int fd, uint64_t size);

/**
 * bgs_device_is_block() - whether a descriptor leads to a block device.
 * @fd:	descriptor.
 *
 * Return: 1, 0, or a negative errno.
 */
int bgs_device_is_block(int fd);

/**
 * bgs_device_is_same() - whether two descriptors lead to the same file or device.
 * @a:	descriptor.
 * @b:	descriptor.
 *
 * Return: 1, 0, or a negative errno.
 */
int bgs_device_is_same(int a, int b);

/**
 * bgs_device_remove() - remove a file made by bgs_device_create().
 * @path:	null-terminated path.
 *
 * Return: 0 or a negative errno.
 */
int bgs_device_remove(const char *path);

/**
 * bgs_random_bytes() - bytes that nobody can guess, for UUIDs.
 * @buffer:	receives them.
 * @length:	bytes, at most 256.
 *
 * Return: 0 or a negative errno.
 */
int bgs_random_bytes(void *buffer, uint32_t length);

#ifdef __cplusplus
}
#endif

#endif
