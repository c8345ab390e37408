/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blockgroups.h - the btrfs extent allocator as a userspace library.
 *
 * Two ways in:
 *   - bg_allocator_create(): a pure in-memory allocator. You say which block
 *     groups exist and what is free in them.
 *   - bg_fs_open(): the block groups of a real btrfs file system, on devices
 *     or image files; bg_fs_allocator() is then its allocator.
 *
 * Errors:  every function that can fail returns 0 or a negative errno, and
 *          leaves its out-parameters alone when it fails. A refused call
 *          changes nothing. (A walk returns what its callback stopped it with.)
 * Units:   addresses and lengths are bytes; addresses are logical (the file
 *          system's own address space), never device offsets.
 * Threads: every function may be called from any thread at any time, on the
 *          same handles, except the destroying ones (bg_allocator_destroy(),
 *          bg_fs_close()), which must be the last call on their handle. No
 *          thread needs to be registered. A struct bg_extent is a plain value.
 * Memory:  handles are opaque. A claim and a give-back allocate nothing and
 *          never return -ENOMEM.
 */
#ifndef BLOCKGROUPS_H
#define BLOCKGROUPS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BG_VERSION_MAJOR 0
#define BG_VERSION_MINOR 2
#define BG_VERSION_PATCH 0

/* What a block group holds: exactly one of these, or BG_DATA | BG_METADATA (mixed). */
#define BG_DATA	    (UINT64_C(1) << 0)
#define BG_SYSTEM   (UINT64_C(1) << 1)
#define BG_METADATA (UINT64_C(1) << 2)
/* How it lies on devices: at most one; none means single. Values as on disk. */
#define BG_RAID0   (UINT64_C(1) << 3)
#define BG_RAID1   (UINT64_C(1) << 4)
#define BG_DUP	   (UINT64_C(1) << 5)
#define BG_RAID10  (UINT64_C(1) << 6)
#define BG_RAID5   (UINT64_C(1) << 7)
#define BG_RAID6   (UINT64_C(1) << 8)
#define BG_RAID1C3 (UINT64_C(1) << 9)
#define BG_RAID1C4 (UINT64_C(1) << 10)

/*
 * The single profile has no bit on disk. In bg_claim_options::flags this one
 * (the kernel's in-memory bit for it) asks for single and nothing else.
 */
#define BG_AVAIL_SINGLE (UINT64_C(1) << 48)

/* bg_fs_open() flags */
#define BG_OPEN_READ_ONLY (1u << 0)
/* Take free space from the extent tree even where a free-space tree is valid. */
#define BG_OPEN_EXTENT_TREE (1u << 1)

/* bg_format_options::flags */
/* Devices may hold something already; it is lost. */
#define BG_FORMAT_OVERWRITE (1u << 0)
/* Data and metadata in the same groups: for small file systems. */
#define BG_FORMAT_MIXED (1u << 1)
/* Block groups in a tree of their own, for quicker mounts; needs Linux 6.1. */
#define BG_FORMAT_BLOCK_GROUP_TREE (1u << 2)

/* bg_format_options::checksum, values as on disk */
#define BG_CHECKSUM_CRC32C   0u
#define BG_CHECKSUM_XXHASH64 1u
#define BG_CHECKSUM_SHA256   2u
#define BG_CHECKSUM_BLAKE2B  3u

/* bg_allocator_options::flags */
/* Small claims take the locked path too: for measurements. */
#define BG_ALLOCATOR_NO_MAGAZINES (1u << 0)

struct bg_allocator;
struct bg_group;
struct bg_fs;

/* A range of the logical address space, in bytes. */
struct bg_extent {
	uint64_t logical;
	uint64_t length;
};

/*
 * How an allocator is made. Zero the struct, then set .size = sizeof it.
 *
 * Hooks run on the thread whose claim needed them, outside every lock of the
 * library, and may call any function on the allocator they are given except
 * bg_allocator_destroy(), bg_claim(), and what would cache another group:
 * bg_group_claim() and bg_group_for_each_free() wait for whoever caches it. They
 * return 0 or a negative errno.
 */
struct bg_allocator_options {
	uint32_t size;
	/* Smallest unit of space, bytes: a power of two from 512 to 65536; 0 means 4096. */
	uint32_t sector_size;
	/* BG_ALLOCATOR_* */
	uint32_t flags;
	uint32_t reserved;
	/* Passed to every hook. */
	void *context;
	/*
	 * Called once for each group, when a claim first needs it, however many
	 * threads arrive at once: report the group's free ranges with
	 * bg_group_add_free_space(). An error is kept with the group (-ENOMEM as
	 * -EIO) and every later claim passes the group by. NULL: a group starts out cached.
	 */
	int (*cache_group)(void *context, struct bg_group *group);
	/*
	 * Called by one thread, while others that ran out of space wait for it:
	 * add a group of these flags with room for length bytes, where that is
	 * possible, or return -ENOSPC. NULL: there are never more groups.
	 */
	int (*allocate_chunk)(void *context, struct bg_allocator *allocator, uint64_t flags,
			      uint64_t length);
};

/*
 * What a claim asks for. Zero the struct, then set .size = sizeof it; a field
 * left at zero states no wish. All in bytes.
 */
struct bg_claim_options {
	uint32_t size;
	/* Must be 0. */
	uint32_t reserved;
	/* BG_DATA, BG_METADATA, BG_SYSTEM | a profile bit; no profile bit: any profile. */
	uint64_t flags;
	/* Bytes wanted: a non-zero multiple of the sector size. */
	uint64_t length;
	/* The least that will do: the request is halved down to it. 0: all or nothing. */
	uint64_t length_min;
	/* The run claimed from must have this much more than length. */
	uint64_t empty_size;
	/* The address claimed is a multiple of this: any multiple of the sector size. */
	uint64_t alignment;
	/* Look in this address's group first. */
	uint64_t hint;
	/* Only at or above this address ... */
	uint64_t search_start;
	/* ... and ending at or below this one. 0: no bound. */
	uint64_t search_end;
	/* Nothing that touches [exclude_start, exclude_start + exclude_length). */
	uint64_t exclude_start;
	uint64_t exclude_length;
};

/* A snapshot of one group. Bytes, except run_count. */
struct bg_group_stat {
	uint64_t logical;
	uint64_t length;
	/* Type and profile bits as on disk. */
	uint64_t flags;
	/* Free and claimable, magazines and clusters included. */
	uint64_t free_bytes;
	/* Claimed and not yet given back. */
	uint64_t claimed_bytes;
	/* Longest free run. */
	uint64_t largest_run;
	/* Number of free runs. */
	uint64_t run_count;
	uint32_t read_only;
	/* 1 when its free space is known. */
	uint32_t cached;
};

/**
 * bg_version() - version of the library in use, "major.minor.patch".
 *
 * Return: a static string.
 */
const char *bg_version(void);

/* ---- allocator ---------------------------------------------------------- */

/**
 * bg_allocator_create() - make an in-memory allocator without any group.
 * @options:		how; NULL for the defaults.
 * @allocator_out:	set on success; ends with bg_allocator_destroy().
 *
 * Return: 0, -EINVAL (size, sector size, flags or reserved bytes) or -ENOMEM.
 */
int bg_allocator_create(const struct bg_allocator_options *options,
			struct bg_allocator **allocator_out);

/**
 * bg_allocator_destroy() - free an allocator and its groups.
 * @allocator:	from bg_allocator_create(); NULL is fine.
 *
 * Claims still out are forgotten. References from bg_group_get() must have
 * been put. Waits for readers on other threads to leave.
 */
void bg_allocator_destroy(struct bg_allocator *allocator);

/**
 * bg_allocator_add_group() - add a block group in which nothing is free yet.
 * @allocator:	allocator.
 * @logical:	first byte; a multiple of the sector size; 0 is an address like any other.
 * @length:	bytes; a non-zero multiple of the sector size, fewer than 2^31 sectors.
 * @flags:	type bits and at most one profile bit.
 *
 * Reserves what the group will ever need, so that later calls on it need none.
 * May block on other threads that add or remove groups.
 *
 * Return: 0, -EINVAL, -EEXIST (overlaps a group) or -ENOMEM.
 */
int bg_allocator_add_group(struct bg_allocator *allocator, uint64_t logical, uint64_t length,
			   uint64_t flags);

/**
 * bg_allocator_remove_group() - take a group away while others may be searching.
 * @allocator:	allocator.
 * @logical:	the group's first byte.
 *
 * Its memory goes when the last reference is put. Waits for a grace period.
 *
 * Return: 0, -EINVAL, -ENOENT (no group starts there), -EBUSY (claims are out, or
 * its free space is just being read) or -ENOMEM.
 */
int bg_allocator_remove_group(struct bg_allocator *allocator, uint64_t logical);

/**
 * bg_group_get() - take a reference to the group that holds an address.
 * @allocator:	allocator.
 * @logical:	any address.
 *
 * Lock-free. Return: the group, to be put with bg_group_put(), or NULL.
 */
struct bg_group *bg_group_get(struct bg_allocator *allocator, uint64_t logical);

/**
 * bg_group_put() - end a reference from bg_group_get().
 * @group:	group; NULL is fine.
 */
void bg_group_put(struct bg_group *group);

/**
 * bg_group_add_free_space() - say that a range of a group is free.
 * @group:	group.
 * @logical:	first byte; sector-aligned.
 * @length:	bytes; a non-zero multiple of the sector size.
 *
 * For space that no claim holds: a claim ends with bg_give_back(). Never fails
 * for want of memory.
 *
 * Return: 0, -EINVAL (unaligned, or not inside the group) or -EEXIST (some of
 * it is free already).
 */
int bg_group_add_free_space(struct bg_group *group, uint64_t logical, uint64_t length);

/**
 * bg_add_free_space() - say that many ranges are free, of any groups, in any order.
 * @allocator:	allocator.
 * @extents:	ranges, each whole sectors of one group; sorted by address when the call returns.
 * @count:	how many; 0 is fine.
 * @added_out:	how many of them, the first of the sorted array, are free now: all, or those
 *		before the one that was refused. Set whenever no pointer is NULL.
 *
 * As bg_group_add_free_space() for each in order of address, until one is refused, and
 * several times faster for the free space of shattered groups: give it all you have at
 * once. Sorts in place, so that it never fails for want of memory; two ranges may not
 * overlap. Claims go on meanwhile and see each range as it is added.
 *
 * Return: 0, -EINVAL (a pointer is NULL, or a range unaligned or not inside one group)
 * or -EEXIST (some of a range is free already).
 */
int bg_add_free_space(struct bg_allocator *allocator, struct bg_extent *extents, size_t count,
		      size_t *added_out);

/**
 * bg_group_remove_free_space() - say that a free range of a group is in use.
 * @group:	group.
 * @logical:	first byte; sector-aligned.
 * @length:	bytes; a non-zero multiple of the sector size.
 *
 * Return: 0, -EINVAL (unaligned, or not inside the group) or -ENOENT (some of
 * it is not free).
 */
int bg_group_remove_free_space(struct bg_group *group, uint64_t logical, uint64_t length);

/**
 * bg_group_claim() - claim space in one group: the seed's find_space_for_alloc.
 * @group:	group.
 * @options:	length, empty_size, alignment and search_start count; the other
 *		wishes do not, but must be valid; flags may be 0.
 * @extent_out:	set on success; end it with bg_give_back().
 *
 * Claims the tightest run that holds length + empty_size, lowest address first;
 * with a search_start the first one at or above it.
 *
 * Return: 0, -EINVAL, -ENOSPC, -EROFS (the group is read-only), an error of the
 * cache hook, or -EAGAIN (called by the hook that caches this very group).
 */
int bg_group_claim(struct bg_group *group, const struct bg_claim_options *options,
		   struct bg_extent *extent_out);

/**
 * bg_group_set_read_only() - stop or allow claims from a group.
 * @group:	group.
 * @read_only:	non-zero to stop.
 *
 * When it returns, no claim that began later takes from the group. Giving back
 * still works.
 *
 * Return: 0 or -EINVAL.
 */
int bg_group_set_read_only(struct bg_group *group, int read_only);

/**
 * bg_group_stat() - describe a group.
 * @group:	group.
 * @stat_out:	filled in.
 *
 * Return: 0 or -EINVAL.
 */
int bg_group_stat(struct bg_group *group, struct bg_group_stat *stat_out);

/**
 * bg_group_for_each_free() - visit the free runs of a group in address order.
 * @group:	group.
 * @visit:	called without any lock held, so it may call anything; non-zero stops.
 * @context:	passed to @visit.
 *
 * Each run is free at the moment it is looked up; runs that change meanwhile may
 * be seen as they were or as they are.
 *
 * Caches the group first where that was not done: may run the cache hook.
 *
 * Return: 0, -EINVAL, an error of the cache hook, or what @visit returned.
 */
int bg_group_for_each_free(struct bg_group *group,
			   int (*visit)(void *context, uint64_t logical, uint64_t length),
			   void *context);

/**
 * bg_for_each_group() - visit the groups in address order.
 * @allocator:	allocator.
 * @visit:	called without any lock held, with a reference that ends when it
 *		returns; non-zero stops.
 * @context:	passed to @visit.
 *
 * Return: 0, -EINVAL, or what @visit returned.
 */
int bg_for_each_group(struct bg_allocator *allocator,
		      int (*visit)(void *context, struct bg_group *group), void *context);

/**
 * bg_claim() - take a range out of free space: the seed's reserve_extent.
 * @allocator:	allocator.
 * @options:	what is wanted.
 * @extent_out:	set on success; end it with bg_give_back().
 *
 * May run the cache hook, and the chunk hook when the groups ran out.
 *
 * Return: 0, -EINVAL, -ENOSPC, or -EIO, -EUCLEAN or another error of the cache
 * hook where a group that might have served could not be cached.
 */
int bg_claim(struct bg_allocator *allocator, const struct bg_claim_options *options,
	     struct bg_extent *extent_out);

/**
 * bg_give_back() - undo a claim, or a part of one.
 * @allocator:	allocator.
 * @extent:	a claimed range; need not be the whole of what one claim returned.
 *
 * Never fails for want of memory.
 *
 * Return: 0, -EINVAL (unaligned, in no group, across a group's end, or more than
 * the group has claimed) or -EEXIST (some of it is free already).
 */
int bg_give_back(struct bg_allocator *allocator, const struct bg_extent *extent);

/**
 * bg_explain() - say why a claim is refused, group by group.
 * @allocator:	allocator.
 * @options:	the claim.
 * @text:	receives the text, cut to fit and ended by a 0; may be NULL if @size is 0.
 * @size:	bytes at @text. A line for each group that was looked at: 300 bytes each are plenty.
 *
 * A text of @size - 1 bytes may have been cut; nothing tells how much longer the whole is.
 *
 * Return: 0 or -EINVAL.
 */
int bg_explain(struct bg_allocator *allocator, const struct bg_claim_options *options, char *text,
	       size_t size);

/* ---- file systems ------------------------------------------------------- */

/*
 * What a new file system is to be like. Zero the struct, then set .size = sizeof it; a field
 * left at zero states no wish.
 */
struct bg_format_options {
	uint32_t size;
	/* BG_FORMAT_* */
	uint32_t flags;
	/*
	 * A profile bit, or BG_AVAIL_SINGLE. No wish: single for data; for metadata dup on one
	 * device and raid1 on several.
	 */
	uint64_t data_profile;
	uint64_t metadata_profile;
	/*
	 * Bytes of a tree block: a power of two from 4096 to 65536; no wish: 16384. Mixed
	 * groups need, and get, 4096.
	 */
	uint32_t node_size;
	/* BG_CHECKSUM_* */
	uint32_t checksum;
	/*
	 * Bytes of each device to use; no wish: all. Image files that are shorter, or not
	 * there, are made as long.
	 */
	uint64_t device_bytes;
	/* Null-terminated UTF-8, at most 255 bytes without a line end; NULL: none. */
	const char *label;
	/* The bytes of the file system's UUID; all zero: a random one. */
	uint8_t uuid[16];
	/* Must be 0. */
	uint64_t reserved[4];
};

/**
 * bg_fs_format() - make an empty btrfs file system.
 * @paths:	its image files or block devices.
 * @path_count:	how many.
 * @options:	what it is to be like; NULL for the defaults.
 *
 * All checks come first: where one device is refused, all are as they were. The file system
 * is durable when this returns; until then the devices hold none. Blocks on the devices.
 *
 * Return: 0, -EINVAL (wishes that cannot be met, a device named twice), -EBUSY (a device is
 * mounted or in use), -EEXIST (a device holds a file system, a partition table or the like,
 * and BG_FORMAT_OVERWRITE is not set), -ENOSPC (a device is too small), -EOPNOTSUPP (raid5
 * and raid6), -ENOENT and the like from open(2), -EIO or -ENOMEM; bg_strerror(NULL) says
 * more.
 */
int bg_fs_format(const char *const *paths, size_t path_count,
		 const struct bg_format_options *options);

/**
 * bg_fs_open() - open the btrfs file system on these devices or image files.
 * @paths:	its devices, in any order.
 * @path_count:	how many.
 * @flags:	BG_OPEN_*; without BG_OPEN_READ_ONLY it is opened for writing.
 * @fs_out:	set on success; ends with bg_fs_close().
 *
 * Claims on a file system opened read-only stay in memory.
 *
 * Opened for writing, the devices are this process's alone until bg_fs_close(). Nothing
 * is written before the first commit. What cannot be kept right is refused: features that
 * are not known, a log tree to replay, quotas, a balance or device replacement under way,
 * a free-space tree that is not valid, raid5 and raid6, sectors of other than 4096 bytes,
 * seeds, and devices that are missing or behind the others.
 *
 * Return: 0, -EINVAL, -ENOENT and the like from open(2), -EIO, -EUCLEAN (damaged),
 * -ENXIO (a device is missing without which some chunk cannot be read, or, for writing, any),
 * -EOPNOTSUPP (a feature that we do not know, or do not write), -EBUSY (for writing: a device
 * is mounted, or open for writing elsewhere), -EROFS (for writing: a device that cannot be
 * written) or -ENOMEM; bg_strerror(NULL) says more.
 */
int bg_fs_open(const char *const *paths, size_t path_count, uint32_t flags, struct bg_fs **fs_out);

/**
 * bg_fs_close() - commit what is left, close a file system and free its allocator.
 * @fs:	from bg_fs_open(); NULL is fine.
 *
 * The file system is closed whatever this returns: what could not be committed is lost, and
 * the last commit is whole.
 *
 * Return: 0, what bg_fs_commit() returns, or -EROFS where an earlier commit had failed.
 */
int bg_fs_close(struct bg_fs *fs);

/**
 * bg_fs_commit() - make durable what was recorded before the call.
 * @fs:	file system.
 *
 * Other threads go on claiming, writing and recording meanwhile; commits that arrive while
 * one is being written share the next one. Blocks until the devices have everything.
 *
 * Return: 0, -EINVAL, -EROFS (opened read-only, or an earlier commit failed), or why this
 * one failed: -EIO and other errors of the devices, -ENOSPC, -EUCLEAN. After a failure the
 * file system is read-only; its last commit is whole.
 */
int bg_fs_commit(struct bg_fs *fs);

/**
 * bg_fs_allocator() - the file system's own allocator, valid until bg_fs_close().
 * @fs:	file system.
 *
 * Return: the allocator, not to be destroyed.
 */
struct bg_allocator *bg_fs_allocator(struct bg_fs *fs);

/**
 * bg_fs_claim() - claim space for data, and get space back for it where that must be.
 * @fs:		file system, opened for writing.
 * @options:	as for bg_claim(); flags: BG_DATA, and a profile bit or none.
 * @extent_out:	what was claimed: give it to bg_file_attach(), or back to bg_fs_allocator().
 *
 * bg_claim() on bg_fs_allocator() is faster and only takes what is free. This one, where nothing
 * is, removes what a crash left, commits, and takes empty block groups of metadata away, as often
 * as that helps. On a file system whose groups data and metadata share, it leaves what the next
 * commits need, which bg_claim() does not: there a commit may then fail with -ENOSPC.
 *
 * Return: 0, -EINVAL, -ENOSPC, -EROFS, or -EIO, -EUCLEAN or another error of a commit or of reading
 * what is free.
 */
int bg_fs_claim(struct bg_fs *fs, const struct bg_claim_options *options,
		struct bg_extent *extent_out);

/**
 * bg_fs_pread() - read bytes by logical address, from a good copy.
 * @fs:		file system.
 * @buffer:	receives the bytes; its content is undefined after an error.
 * @length:	bytes.
 * @logical:	first byte.
 *
 * Data of which a checksum is recorded is verified. Opened for writing, a bad copy is
 * repaired from a good one; bg_fs_statistics() counts them.
 *
 * Return: 0, -EINVAL (no chunk holds some of the range), -EIO (no copy can be read, or none
 * is right) or -EUCLEAN (the checksum tree is damaged).
 */
int bg_fs_pread(struct bg_fs *fs, void *buffer, size_t length, uint64_t logical);

/**
 * bg_fs_pwrite() - write bytes to every copy of space that the caller claimed for data.
 * @fs:		file system, opened for writing.
 * @buffer:	the bytes.
 * @length:	bytes.
 * @logical:	first byte.
 *
 * The space is a claim of BG_DATA, by bg_fs_claim() or on bg_fs_allocator(). The bytes are durable
 * when a commit that began later is; the extent is part of the file system once it is attached to a
 * file. Checksums are kept until then. Two writes of the same bytes at once, or a write beside the
 * attaching of its extent, are the caller's to prevent.
 *
 * Return: 0, -EINVAL (some of the range is free, in no group, or in one that is not for
 * data), -EBUSY (a tree records some of it), -EROFS, or -EIO and other errors of the devices.
 */
int bg_fs_pwrite(struct bg_fs *fs, const void *buffer, size_t length, uint64_t logical);

/**
 * bg_fs_remove_group() - take away a block group that nothing is in.
 * @fs:		file system, opened for writing.
 * @logical:	the group's first byte.
 *
 * The hole that it leaves on the devices can be used after the next commit.
 *
 * Return: 0, -EINVAL, -ENOENT (no group begins there), -EBUSY (claims, extents, or what the
 * next commit frees are in it, it is the last one of metadata or SYSTEM, or the next commit may
 * need its space), -EROFS, -ENOMEM.
 */
int bg_fs_remove_group(struct bg_fs *fs, uint64_t logical);

/* What reading and writing have met since bg_fs_open(). */
struct bg_fs_statistics {
	/* Reads that one copy failed, or failed its checksum, and another served. */
	uint64_t corrected_reads;
	/* Sectors of data whose checksum was wrong on a copy. */
	uint64_t checksum_mismatches;
	/* Copies, of data sectors and tree blocks, that were bad and were written anew. */
	uint64_t repaired_copies;
	/* Reads of devices that failed; writes and flushes that failed. */
	uint64_t read_errors;
	uint64_t write_errors;
	uint64_t reserved[3];
};

/**
 * bg_fs_statistics() - tell the counters of this moment.
 * @fs:			file system.
 * @statistics_out:	filled in.
 *
 * Return: 0 or -EINVAL.
 */
int bg_fs_statistics(struct bg_fs *fs, struct bg_fs_statistics *statistics_out);

/* ---- files -------------------------------------------------------------- */

/*
 * Files and directories of the default subvolume, by path: names divided by '/', from its top;
 * empty names and "." are passed over, ".." is refused. A name is 1 to 255 bytes, any but 0 and
 * '/'. Symbolic links are not followed, permissions are recorded but not enforced.
 *
 * Nothing is durable before bg_fs_commit(). Each call is in a commit wholly or not at all, but for
 * writes and truncations of more than 128 MiB or of thousands of extents.
 *
 * Every call with a path may return -EINVAL (a NULL pointer, a path that cannot be), -ENAMETOOLONG,
 * -ENOENT, -ENOTDIR, -EOPNOTSUPP (another subvolume begins on the way), -EIO or -EUCLEAN (damaged);
 * every call that changes something, besides, -EROFS, and where it may take space, -ENOSPC. Below,
 * "as above" stands for these.
 */
struct bg_file;

struct bg_time {
	/* Since 1970; may be negative. */
	int64_t seconds;
	/* 0 to 999999999. */
	uint32_t nanoseconds;
	uint32_t reserved;
};

/* bg_attributes::set: which fields count. */
#define BG_SET_MODE		 (1u << 0)
#define BG_SET_OWNER		 (1u << 1)
#define BG_SET_GROUP		 (1u << 2)
#define BG_SET_ACCESS_TIME	 (1u << 3)
#define BG_SET_MODIFICATION_TIME (1u << 4)
#define BG_SET_CREATION_TIME	 (1u << 5)

/*
 * Attributes of a new file, or changes to those of an old one. Zero the struct, then set .size =
 * sizeof it. What .set does not name is left alone; in a new file it is mode 0644 (directories:
 * 0755), owner and group 0, and the time now.
 */
struct bg_attributes {
	uint32_t size;
	/* BG_SET_* */
	uint32_t set;
	/* The lower twelve bits of a mode. */
	uint32_t mode;
	uint32_t owner;
	uint32_t group;
	/* Must be 0. */
	uint32_t reserved;
	struct bg_time access_time;
	struct bg_time modification_time;
	struct bg_time creation_time;
};

/* What is known of a file, directory or other inode. */
struct bg_stat {
	uint64_t inode;
	/* Bytes. */
	uint64_t size;
	/* Bytes that the data takes, without holes. */
	uint64_t allocated_bytes;
	/* Device number of a device file. */
	uint64_t device;
	/* With the bits that say what it is, as in stat(2). */
	uint32_t mode;
	uint32_t owner;
	uint32_t group;
	uint32_t link_count;
	struct bg_time access_time;
	/* When anything but the access time was last changed. */
	struct bg_time change_time;
	struct bg_time modification_time;
	struct bg_time creation_time;
};

/* One name in a directory; valid while bg_readdir()'s callback runs. */
struct bg_dirent {
	/* Ended by a 0. */
	const char *name;
	/* Bytes, without the 0. */
	size_t name_length;
	uint64_t inode;
	/* What it is: the upper bits of a mode (S_IFMT). */
	uint32_t mode;
	/* Another subvolume begins here, which these calls do not enter. */
	uint32_t is_subvolume;
};

/**
 * bg_file_create() - make an empty regular file and open it.
 * @fs:		file system.
 * @path:	where.
 * @attributes:	may be NULL.
 * @file_out:	set on success; ends with bg_file_close().
 *
 * Return: 0, as above, or -EEXIST.
 */
int bg_file_create(struct bg_fs *fs, const char *path, const struct bg_attributes *attributes,
		   struct bg_file **file_out);

/**
 * bg_file_create_with() - make a regular file with all of its contents.
 * @fs:		file system.
 * @path:	where.
 * @attributes:	may be NULL.
 * @buffer:	the contents.
 * @length:	bytes.
 *
 * Up to 128 MiB it is one change; the quickest way to make a small file.
 *
 * Return: 0, as above, or -EEXIST.
 */
int bg_file_create_with(struct bg_fs *fs, const char *path, const struct bg_attributes *attributes,
			const void *buffer, size_t length);

/**
 * bg_file_open() - open a regular file.
 * @fs:		file system.
 * @path:	where.
 * @file_out:	set on success; ends with bg_file_close().
 *
 * Return: 0, as above, -EISDIR, -ELOOP (a symbolic link) or -EINVAL (no regular file).
 */
int bg_file_open(struct bg_fs *fs, const char *path, struct bg_file **file_out);

/**
 * bg_file_close() - close a file.
 * @file:	NULL is fine. To be closed before bg_fs_close().
 *
 * The handle is gone in either case. The last close of a file that was removed meanwhile
 * removes its data.
 *
 * Return: 0, or what kept the data of a removed file from being removed.
 */
int bg_file_close(struct bg_file *file);

/**
 * bg_file_pread() - read bytes.
 * @file:	file.
 * @buffer:	receives the bytes; its content is undefined after an error.
 * @length:	bytes wanted.
 * @offset:	first byte.
 * @length_out:	how many were read: fewer than wanted only where the file ends.
 *
 * Return: 0, -EINVAL, -EIO (no copy can be read, none has the right checksum, or none is recorded
 * of a file that has checksums), -EOPNOTSUPP (compressed data) or -EUCLEAN.
 */
int bg_file_pread(struct bg_file *file, void *buffer, size_t length, uint64_t offset,
		  size_t *length_out);

/**
 * bg_file_pwrite() - write bytes; all of them, or it fails.
 * @file:	file.
 * @buffer:	bytes.
 * @length:	how many.
 * @offset:	where; the file grows where they pass its end.
 *
 * Data is never overwritten in place: a crash leaves each sector as it was or as it was
 * written. Writes to one file wait for each other.
 *
 * Return: 0, -EINVAL, -EFBIG, -EPERM (marked as immutable), -ENOSPC, -EROFS, -EIO, -EOPNOTSUPP (a
 * part of a compressed sector) or -EUCLEAN.
 */
int bg_file_pwrite(struct bg_file *file, const void *buffer, size_t length, uint64_t offset);

/**
 * bg_file_truncate() - give a file another size.
 * @file:	file.
 * @size:	bytes; what is new reads as zeroes.
 *
 * Return: 0, -EINVAL, -EFBIG, -EPERM, -EROFS, -EIO, -EUCLEAN; -ENOSPC for lengthening, and for
 * shortening and removing only where somebody else left less metadata than any commit needs.
 */
int bg_file_truncate(struct bg_file *file, uint64_t size);

/**
 * bg_file_stat() - tell what is known of an open file.
 * @file:	file.
 * @stat_out:	filled in.
 *
 * Return: 0, -EINVAL, -EIO or -EUCLEAN.
 */
int bg_file_stat(struct bg_file *file, struct bg_stat *stat_out);

/**
 * bg_file_attach() - make a claimed extent, written by bg_fs_pwrite(), a part of a file.
 * @file:	file.
 * @offset:	where: a multiple of the sector size. The file grows to hold all of it.
 * @extent:	from bg_fs_claim(), or from bg_claim() on the file system's allocator, of BG_DATA.
 *
 * On success the file owns the extent, in place of what it had there; on failure it is still the
 * caller's, to be attached elsewhere or given back.
 *
 * Return: 0, -EINVAL (unaligned, or no claim of data), -EBUSY (a tree records some of it), -EFBIG,
 * -EPERM, -ENOSPC, -EROFS, -EIO or -EUCLEAN.
 */
int bg_file_attach(struct bg_file *file, uint64_t offset, const struct bg_extent *extent);

/**
 * bg_mkdir() - make a directory.
 * @fs:		file system.
 * @path:	where.
 * @attributes:	may be NULL.
 *
 * Return: 0, as above, or -EEXIST.
 */
int bg_mkdir(struct bg_fs *fs, const char *path, const struct bg_attributes *attributes);

/**
 * bg_mknod() - make a device file, pipe or socket.
 * @fs:		file system.
 * @path:	where.
 * @mode:	what: S_IFCHR, S_IFBLK, S_IFIFO or S_IFSOCK alone.
 * @device:	number of a device file, otherwise 0.
 * @attributes:	may be NULL.
 *
 * Return: 0, as above, or -EEXIST.
 */
int bg_mknod(struct bg_fs *fs, const char *path, uint32_t mode, uint64_t device,
	     const struct bg_attributes *attributes);

/**
 * bg_symlink() - make a symbolic link.
 * @fs:		file system.
 * @target:	where it leads: 1 to 4095 bytes.
 * @path:	where it is made.
 * @attributes:	may be NULL.
 *
 * Return: 0, as above, or -EEXIST.
 */
int bg_symlink(struct bg_fs *fs, const char *target, const char *path,
	       const struct bg_attributes *attributes);

/**
 * bg_readlink() - tell where a symbolic link leads.
 * @fs:		file system.
 * @path:	the link.
 * @target:	receives the target, cut to fit, without a 0 at its end; may be NULL if @size is 0.
 * @size:	bytes at @target.
 * @length_out:	bytes of the whole target.
 *
 * Return: 0, as above, or -EINVAL (no symbolic link).
 */
int bg_readlink(struct bg_fs *fs, const char *path, char *target, size_t size, size_t *length_out);

/**
 * bg_link() - give a file another name.
 * @fs:		file system.
 * @existing:	a name that it has; not a directory.
 * @path:	the new one.
 *
 * Return: 0, as above, -EEXIST, -EPERM (a directory, or marked as immutable) or -EMLINK.
 */
int bg_link(struct bg_fs *fs, const char *existing, const char *path);

/**
 * bg_rename() - give a file or directory another name, anywhere.
 * @fs:		file system.
 * @from:	its name.
 * @to:		the new one. A file, or an empty directory, of that name is replaced by one of its
 *		own sort.
 *
 * Return: 0, as above, -EISDIR, -ENOTEMPTY, -EMLINK, -EPERM, -EBUSY (the top directory) or -EINVAL
 *(a directory into itself).
 */
int bg_rename(struct bg_fs *fs, const char *from, const char *to);

/**
 * bg_unlink() - remove a name of anything but a directory.
 * @fs:		file system.
 * @path:	the name.
 *
 * With the last name, and once it is open no more, the file goes. Never refused for want of space.
 *
 * Return: 0, as above, -EISDIR or -EPERM (marked as immutable).
 */
int bg_unlink(struct bg_fs *fs, const char *path);

/**
 * bg_rmdir() - remove an empty directory.
 * @fs:		file system.
 * @path:	its name.
 *
 * Return: 0, as above, -ENOTEMPTY, -EPERM or -EBUSY (the top directory).
 */
int bg_rmdir(struct bg_fs *fs, const char *path);

/**
 * bg_readdir() - visit the names in a directory, without "." and "..", in the order they were made.
 * @fs:		file system.
 * @path:	directory.
 * @visit:	called without any lock held; non-zero stops.
 * @context:	passed to @visit.
 *
 * Return: 0, as above, or what @visit returned.
 */
int bg_readdir(struct bg_fs *fs, const char *path,
	       int (*visit)(void *context, const struct bg_dirent *entry), void *context);

/**
 * bg_stat() - tell what is known of a file, directory or other inode.
 * @fs:		file system.
 * @path:	where; a symbolic link is not followed.
 * @stat_out:	filled in.
 *
 * Return: 0 or as above.
 */
int bg_stat(struct bg_fs *fs, const char *path, struct bg_stat *stat_out);

/**
 * bg_set_attributes() - change mode, owner, group or times.
 * @fs:		file system.
 * @path:	whose.
 * @attributes:	what bg_attributes::set names is changed.
 *
 * Return: 0, as above, or -EPERM (marked as immutable).
 */
int bg_set_attributes(struct bg_fs *fs, const char *path, const struct bg_attributes *attributes);

/**
 * bg_set_xattr() - set an extended attribute, or remove it.
 * @fs:		file system.
 * @path:	whose.
 * @name:	such as "user.note": 1 to 255 bytes.
 * @value:	bytes; NULL removes the attribute.
 * @length:	how many.
 *
 * Return: 0, as above, -EPERM, -E2BIG (more than a tree block holds) or -ENODATA (none to remove).
 */
int bg_set_xattr(struct bg_fs *fs, const char *path, const char *name, const void *value,
		 size_t length);

/**
 * bg_get_xattr() - read an extended attribute.
 * @fs:		file system.
 * @path:	whose.
 * @name:	its name.
 * @value:	receives the value, cut to fit; may be NULL if @size is 0.
 * @size:	bytes at @value.
 * @length_out:	bytes of the whole value.
 *
 * Return: 0, as above, or -ENODATA (there is none of this name).
 */
int bg_get_xattr(struct bg_fs *fs, const char *path, const char *name, void *value, size_t size,
		 size_t *length_out);

/**
 * bg_list_xattrs() - visit the names of all extended attributes.
 * @fs:		file system.
 * @path:	whose.
 * @visit:	called without any lock held, with a name ended by a 0; non-zero stops.
 * @context:	passed to @visit.
 *
 * Return: 0, as above, or what @visit returned.
 */
int bg_list_xattrs(struct bg_fs *fs, const char *path,
		   int (*visit)(void *context, const char *name), void *context);

/**
 * bg_strerror() - what went wrong last on this thread, in words.
 * @fs:	file system; NULL for a failed bg_fs_open() or bg_fs_format(), and for allocators.
 *
 * Return: a string, valid until this thread's next failing call; empty when
 * nothing has failed.
 */
const char *bg_strerror(struct bg_fs *fs);

#ifdef __cplusplus
}
#endif

#endif
