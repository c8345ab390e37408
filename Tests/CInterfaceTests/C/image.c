/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.c - a C11 program that opens a btrfs image through the header alone,
 * walks its block groups and claims from them from several threads.
 *
 *	image IMAGE...	the devices of one unmounted file system
 *
 * Claims stay in memory. Prints one line; exits 1 at the first thing that is
 * not as the header says.
 */
#include <blockgroups.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "check.h"

#define THREADS 4
#define CLAIMS	500
#define PIECE	UINT64_C(65536)

struct totals {
	struct bg_allocator *allocator;
	struct bg_fs *fs;
	uint64_t groups, bytes, free_bytes, runs, end, run_end;
};

static struct bg_claim_options wish(uint64_t length)
{
	struct bg_claim_options options;

	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.length = length;
	return options;
}

static int visit_free(void *context, uint64_t logical, uint64_t length)
{
	struct totals *totals = context;

	CHECK(length > 0 && logical >= totals->run_end);
	totals->run_end = logical + length;
	totals->free_bytes += length;
	totals->runs++;
	return 0;
}

static int visit_group(void *context, struct bg_group *group)
{
	struct totals *totals = context;
	uint64_t before = totals->free_bytes;
	struct bg_claim_options one = wish(PIECE);
	struct bg_group_stat stat;
	struct bg_extent extent;
	char bytes[512];
	int result;

	EXPECT(bg_group_stat(group, &stat), 0);
	CHECK(stat.logical >= totals->end && stat.length > 0);
	totals->end = stat.logical + stat.length;
	totals->groups++;
	totals->bytes += stat.length;

	/* A claim makes the library learn the group's free space. */
	one.flags = stat.flags;
	result = bg_group_claim(group, &one, &extent);
	CHECK(result == 0 || result == -ENOSPC || result == -EROFS);
	if (result == 0) {
		CHECK(extent.logical >= stat.logical && extent.length == PIECE);
		CHECK(extent.logical + extent.length <= totals->end);
		EXPECT(bg_give_back(totals->allocator, &extent), 0);
	}
	totals->run_end = stat.logical;
	EXPECT(bg_group_for_each_free(group, visit_free, totals), 0);
	CHECK(totals->run_end <= totals->end);
	EXPECT(bg_group_stat(group, &stat), 0);
	if (result != -EROFS) {
		EXPECT(stat.cached, 1);
		EXPECT(stat.free_bytes, totals->free_bytes - before);
	}
	EXPECT(bg_fs_pread(totals->fs, bytes, sizeof(bytes), stat.logical), 0);
	return 0;
}

struct claimer {
	pthread_t thread;
	struct bg_allocator *allocator;
	struct bg_extent extents[CLAIMS];
	unsigned int count;
};

static void *claim(void *context)
{
	struct claimer *self = context;
	struct bg_claim_options options = wish(PIECE);
	int result = 0;

	options.flags = BG_DATA;
	while (self->count < CLAIMS && result == 0) {
		result = bg_claim(self->allocator, &options, &self->extents[self->count]);
		if (result == 0)
			self->count++;
	}
	CHECK(result == 0 || result == -ENOSPC);
	return NULL;
}

static int by_address(const void *a, const void *b)
{
	const struct bg_extent *left = a, *right = b;

	return left->logical < right->logical ? -1 : left->logical > right->logical;
}

/* Returns how many claims were made, none of which overlap. */
static unsigned int claim_from_threads(struct bg_allocator *allocator)
{
	static struct claimer claimers[THREADS];
	static struct bg_extent all[THREADS * CLAIMS];
	unsigned int count = 0, index;

	for (index = 0; index < THREADS; index++) {
		claimers[index].allocator = allocator;
		claimers[index].count = 0;
		EXPECT(pthread_create(&claimers[index].thread, NULL, claim, &claimers[index]), 0);
	}
	for (index = 0; index < THREADS; index++) {
		EXPECT(pthread_join(claimers[index].thread, NULL), 0);
		memcpy(&all[count], claimers[index].extents,
		       claimers[index].count * sizeof(all[0]));
		count += claimers[index].count;
	}
	qsort(all, count, sizeof(all[0]), by_address);
	for (index = 1; index < count; index++)
		CHECK(all[index - 1].logical + all[index - 1].length <= all[index].logical);
	for (index = 0; index < count; index++)
		EXPECT(bg_give_back(allocator, &all[index]), 0);
	return count;
}

/* What cannot be opened says so, in numbers and in words. */
static void refuses_what_it_cannot_open(const char *const *paths, size_t count)
{
	const char *missing[] = {"/nonexistent/blockgroups"};
	const char *empty[] = {"/dev/null"};
	struct bg_fs *fs = NULL;

	EXPECT(bg_fs_open(missing, 1, BG_OPEN_READ_ONLY, &fs), -ENOENT);
	CHECK(strlen(bg_strerror(NULL)) > 0);
	CHECK(bg_fs_open(empty, 1, BG_OPEN_READ_ONLY, &fs) < 0);
	CHECK(strlen(bg_strerror(NULL)) > 0);
	EXPECT(bg_fs_open(paths, 0, BG_OPEN_READ_ONLY, &fs), -EINVAL);
	EXPECT(bg_fs_open(paths, count, BG_OPEN_READ_ONLY | 1u << 31, &fs), -EINVAL);
	EXPECT(bg_fs_open(paths, count, BG_OPEN_READ_ONLY, NULL), -EINVAL);
	CHECK(!fs);
	/* Without a device: it opens where other copies serve, and otherwise says what is missing.
	 */
	if (count > 1) {
		int result = bg_fs_open(paths, count - 1, BG_OPEN_READ_ONLY, &fs);

		CHECK(result == 0 || result == -ENXIO);
		CHECK(result == 0 ? fs != NULL : strlen(bg_strerror(NULL)) > 0);
		EXPECT(bg_fs_close(fs), 0);
	}
	EXPECT(bg_fs_close(NULL), 0);
}

int main(int argc, char **argv)
{
	const char *const *paths = (const char *const *)(argv + 1);
	size_t count = (size_t)argc - 1;
	uint32_t sources[] = {0, BG_OPEN_EXTENT_TREE};
	struct totals totals[2];
	unsigned int claims = 0;
	size_t index;

	if (argc < 2) {
		fprintf(stderr, "usage: image IMAGE...\n");
		return 2;
	}
	refuses_what_it_cannot_open(paths, count);
	memset(totals, 0, sizeof(totals));
	for (index = 0; index < 2; index++) {
		struct totals *now = &totals[index];
		char byte;

		if (bg_fs_open(paths, count, BG_OPEN_READ_ONLY | sources[index], &now->fs)) {
			fprintf(stderr, "image: %s: %s\n", paths[0], bg_strerror(NULL));
			return 1;
		}
		now->allocator = bg_fs_allocator(now->fs);
		CHECK(now->allocator);
		EXPECT(bg_for_each_group(now->allocator, visit_group, now), 0);
		CHECK(now->groups > 0 && now->free_bytes > 0 && now->free_bytes < now->bytes);
		claims += claim_from_threads(now->allocator);
		EXPECT(bg_fs_pread(now->fs, &byte, 1, UINT64_MAX), -EINVAL);
		EXPECT(bg_fs_close(now->fs), 0);
	}
	/* The free-space tree and the extent tree tell the same story. */
	EXPECT(totals[0].free_bytes, totals[1].free_bytes);
	EXPECT(totals[0].runs, totals[1].runs);
	CHECK(claims > 0);
	printf("image: ok, %llu groups, %llu free bytes in %llu runs, %u claims\n",
	       (unsigned long long)totals[0].groups, (unsigned long long)totals[0].free_bytes,
	       (unsigned long long)totals[0].runs, claims);
	return 0;
}
