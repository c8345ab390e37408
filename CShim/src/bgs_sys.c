/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bgs_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "device offsets need 64 bits");

/* Linux moves at most this many bytes in one call. */
#define TRANSFER_MAX ((size_t)1 << 30)

int bgs_open(const char *path, unsigned int flags)
{
	int mode = (flags & BGS_OPEN_WRITE) ? O_RDWR : O_RDONLY;
	struct stat st;
	int fd;

	/* Before it is opened: a pipe would wait for a writer, a tape would wind. */
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EINVAL;
	do {
		fd = open(path, mode | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int bgs_close(int fd)
{
	/* Linux has closed it even when it says EINTR; a second close could hit another file. */
	if (close(fd) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

int bgs_file_size(int fd, uint64_t *size_out)
{
	struct stat st;
	uint64_t bytes;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		*size_out = (uint64_t)st.st_size;
		return 0;
	}
	if (!S_ISBLK(st.st_mode))
		return -EINVAL;
	if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return -errno;
	*size_out = bytes;
	return 0;
}

int bgs_pread(int fd, void *buffer, size_t length, uint64_t offset)
{
	char *to = (char *)buffer;

	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EINVAL;
	while (length > 0) {
		ssize_t moved =
			pread(fd, to, length < TRANSFER_MAX ? length : TRANSFER_MAX, (off_t)offset);

		if (moved < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (moved == 0)
			return -ENODATA;
		to += moved;
		offset += (uint64_t)moved;
		length -= (size_t)moved;
	}
	return 0;
}

int bgs_pwrite(int fd, const void *buffer, size_t length, uint64_t offset)
{
	const char *from = (const char *)buffer;

	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EINVAL;
	while (length > 0) {
		ssize_t moved = pwrite(fd, from, length < TRANSFER_MAX ? length : TRANSFER_MAX,
				       (off_t)offset);

		if (moved < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (moved == 0)
			return -ENOSPC;
		from += moved;
		offset += (uint64_t)moved;
		length -= (size_t)moved;
	}
	return 0;
}

void bgs_start_writeback(int fd, uint64_t offset, uint64_t length)
{
	sync_file_range(fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
}

int bgs_fsync(int fd)
{
	int ret;

	do {
		ret = fsync(fd);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

uint64_t bgs_monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t bgs_realtime(uint32_t *nanoseconds_out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*nanoseconds_out = (uint32_t)now.tv_nsec;
	return (int64_t)now.tv_sec;
}

void *bgs_alloc_aligned(size_t alignment, size_t length)
{
	void *memory;

	if (posix_memalign(&memory, alignment, length) != 0)
		return NULL;
	memset(memory, 0, length);
	return memory;
}

void bgs_free(void *memory)
{
	free(memory);
}
