/*
 * host_files.h - calls about files that Swift's module of the C library lacks
 */
#ifndef HOST_FILES_H
#define HOST_FILES_H

#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/xattr.h>

/* Linux's values of SEEK_DATA and SEEK_HOLE, which need _GNU_SOURCE. */
#define HOST_SEEK_DATA 3
#define HOST_SEEK_HOLE 4

static inline unsigned int host_device_major(dev_t device)
{
	return major(device);
}

static inline unsigned int host_device_minor(dev_t device)
{
	return minor(device);
}

static inline dev_t host_device(unsigned int major_number, unsigned int minor_number)
{
	return makedev(major_number, minor_number);
}

/* Open files, as many as the process may have: deep trees hold many folders. */
static inline void host_raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

#endif
