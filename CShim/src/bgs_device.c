/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bgs_device.h"
#include "bgs_sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Opens, and tries again when a signal came first. */
static int open_retrying(const char *path, int flags, mode_t mode)
{
	int fd;

	do {
		fd = open(path, flags | O_CLOEXEC, mode);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) || S_ISBLK(b->st_mode))
		return S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether there is something at the path and it is @st. */
static bool leads_to(const char *path, const struct stat *st)
{
	struct stat found;

	return stat(path, &found) == 0 && is_same_file(&found, st);
}

/* In place: the \ooo that mountinfo has for blanks and backslashes. */
static void decode_octal(char *word)
{
	char *to = word;

	while (*word) {
		if (word[0] == '\\' && word[1] >= '0' && word[1] <= '3' && word[2] >= '0' &&
		    word[2] <= '7' && word[3] >= '0' && word[3] <= '7') {
			*to++ = (char)((word[1] - '0') << 6 | (word[2] - '0') << 3 |
				       (word[3] - '0'));
			word += 4;
		} else {
			*to++ = *word++;
		}
	}
	*to = 0;
}

/*
 * Whether a line of mountinfo mounts @st: by its device number, or by its source,
 * since btrfs shows a device number of its own making.
 *
 * Fields: id, parent, major:minor, root, mount point, options, optional ones, "-",
 * type, source, options.
 */
static bool line_mounts(char *line, const struct stat *st)
{
	unsigned int major_number, minor_number;
	char *type, *source, *rest;

	if (S_ISBLK(st->st_mode) &&
	    sscanf(line, "%*s %*s %u:%u", &major_number, &minor_number) == 2 &&
	    makedev(major_number, minor_number) == st->st_rdev)
		return true;
	type = strstr(line, " - ");
	if (!type)
		return false;
	source = strchr(type + 3, ' ');
	if (!source)
		return false;
	source++;
	rest = strpbrk(source, " \n");
	if (rest)
		*rest = 0;
	decode_octal(source);
	/* Anything else is no path: "tmpfs", "none". */
	return source[0] == '/' && leads_to(source, st);
}

static bool is_mounted(const struct stat *st)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	size_t size = 0;
	char *line = NULL;

	if (!mounts)
		return false;
	while (!found && getline(&line, &size, mounts) > 0)
		found = line_mounts(line, st);
	free(line);
	fclose(mounts);
	return found;
}

/* The kernel tells the backing file's device in the encoding of its own headers. */
static uint64_t loop_encoding(dev_t device)
{
	uint64_t minor_number = minor(device);

	return (minor_number & 0xff) | (uint64_t)major(device) << 8 |
	       (minor_number & ~0xffull) << 12;
}

/* Whether the loop device @name ("loop0") is set up over @st. */
static bool loop_is_over(const char *name, const struct stat *st)
{
	char path[PATH_MAX + 64];
	char backing[PATH_MAX];
	struct loop_info64 info;
	ssize_t length;
	bool found;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", name);
	fd = open_retrying(path, O_RDONLY, 0);
	if (fd < 0)
		return false; /* not set up */
	length = read(fd, backing, sizeof(backing) - 1);
	close(fd);
	if (length > 0) {
		backing[length] = 0;
		backing[strcspn(backing, "\n")] = 0;
		if (leads_to(backing, st))
			return true;
	}
	/* The path may be another name space's, or gone: the number of the file is not. */
	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open_retrying(path, O_RDONLY, 0);
	if (fd < 0)
		return false;
	found = !S_ISBLK(st->st_mode) && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 &&
		info.lo_inode == st->st_ino && info.lo_device == loop_encoding(st->st_dev);
	close(fd);
	return found;
}

static bool is_looped(const struct stat *st)
{
	DIR *blocks = opendir("/sys/block");
	struct dirent *entry;
	bool found = false;

	if (!blocks)
		return false;
	while (!found && (entry = readdir(blocks)))
		if (strncmp(entry->d_name, "loop", 4) == 0)
			found = loop_is_over(entry->d_name, st);
	closedir(blocks);
	return found;
}

/* Takes the lock of an open file and looks for other users. */
static int keep_alone(int fd, const struct stat *st, enum bgs_device_use *use_out)
{
	int ret;

	do {
		ret = flock(fd, LOCK_EX | LOCK_NB);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0) {
		if (errno != EWOULDBLOCK)
			return -errno;
		*use_out = BGS_DEVICE_LOCKED;
		return -EBUSY;
	}
	if (is_mounted(st)) {
		*use_out = BGS_DEVICE_MOUNTED;
		return -EBUSY;
	}
	if (is_looped(st)) {
		*use_out = BGS_DEVICE_LOOPED;
		return -EBUSY;
	}
	*use_out = BGS_DEVICE_UNUSED;
	return 0;
}

/* What a block device that cannot be claimed is used for. */
static int busy_device(const char *path, enum bgs_device_use *use_out)
{
	struct stat st;

	*use_out =
		stat(path, &st) == 0 && is_mounted(&st) ? BGS_DEVICE_MOUNTED : BGS_DEVICE_CLAIMED;
	return -EBUSY;
}

int bgs_device_open_exclusive(const char *path, enum bgs_device_use *use_out)
{
	struct stat before, st;
	int fd, ret;

	if (stat(path, &before) < 0)
		return -errno;
	if (!S_ISREG(before.st_mode) && !S_ISBLK(before.st_mode))
		return -EINVAL;
	/* O_EXCL claims a block device; for a file it has no meaning without O_CREAT. */
	fd = open_retrying(path, O_RDWR | (S_ISBLK(before.st_mode) ? O_EXCL : 0), 0);
	if (fd == -EBUSY)
		return busy_device(path, use_out);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		ret = -errno;
	else if (!is_same_file(&before, &st))
		ret = -EAGAIN; /* something else was put at the path meanwhile */
	else
		ret = keep_alone(fd, &st, use_out);
	if (ret == 0)
		return fd;
	bgs_close(fd);
	return ret;
}

int bgs_device_create(const char *path)
{
	int fd = open_retrying(path, O_RDWR | O_CREAT | O_EXCL, 0666);

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int ret = errno == EWOULDBLOCK ? -EBUSY : -errno;

		bgs_close(fd);
		return ret;
	}
	return fd;
}

int bgs_device_open_direct(int fd)
{
	char path[32];

	/* By the descriptor, since something else may be at the path now. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open_retrying(path, O_WRONLY | O_DIRECT, 0);
}

int bgs_device_resize(int fd, uint64_t size)
{
	int ret;

	if (size > INT64_MAX)
		return -EFBIG;
	do {
		ret = ftruncate(fd, (off_t)size);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

int bgs_device_is_block(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISBLK(st.st_mode);
}

int bgs_device_is_same(int a, int b)
{
	struct stat first, second;

	if (fstat(a, &first) < 0 || fstat(b, &second) < 0)
		return -errno;
	return is_same_file(&first, &second);
}

int bgs_device_remove(const char *path)
{
	return unlink(path) < 0 ? -errno : 0;
}

int bgs_random_bytes(void *buffer, uint32_t length)
{
	ssize_t count;

	if (length > 256)
		return -EINVAL;
	/* Up to 256 bytes come whole, once the source is ready. */
	do {
		count = getrandom(buffer, length, 0);
	} while (count < 0 && errno == EINTR);
	if (count < 0)
		return -errno;
	return (uint32_t)count == length ? 0 : -EIO;
}
