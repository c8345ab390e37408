/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * files.c - a C11 program that makes, writes, reads and removes files on a btrfs image through the
 * header alone, from several threads, and places an extent itself.
 *
 *	files IMAGE...	the devices of one unmounted file system, which are written to
 *
 * Prints one line; exits 1 at the first thing that is not as the header says.
 */
#include <blockgroups.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define THREADS 4
#define FILES	50
#define PIECE	UINT64_C(65536)

static struct bg_fs *fs;

static void fill(char *bytes, size_t length, int seed)
{
	for (size_t index = 0; index < length; index++)
		bytes[index] = (char)(index * 7 + (size_t)seed);
}

/* Expects a file to hold what fill() makes for a seed. */
static void expect_content(const char *path, size_t length, int seed)
{
	char *expected = malloc(length + 1), *found = malloc(length + 1);
	struct bg_file *file;
	size_t count;

	CHECK(expected && found);
	fill(expected, length, seed);
	EXPECT(bg_file_open(fs, path, &file), 0);
	EXPECT(bg_file_pread(file, found, length + 1, 0, &count), 0);
	CHECK(count == length && memcmp(found, expected, length) == 0);
	EXPECT(bg_file_pread(file, found, 1, length, &count), 0);
	CHECK(count == 0);
	EXPECT(bg_file_close(file), 0);
	free(expected);
	free(found);
}

static void *write_files(void *argument)
{
	int number = *(int *)argument;
	char path[64], bytes[20000];

	snprintf(path, sizeof(path), "/t%d", number);
	EXPECT(bg_mkdir(fs, path, NULL), 0);
	for (int index = 0; index < FILES; index++) {
		size_t length = (size_t)(index * 397);

		fill(bytes, length, number + index);
		snprintf(path, sizeof(path), "/t%d/%d", number, index);
		EXPECT(bg_file_create_with(fs, path, NULL, bytes, length), 0);
	}
	return NULL;
}

static int count_entry(void *context, const struct bg_dirent *entry)
{
	int *count = context;

	CHECK(strlen(entry->name) == entry->name_length && entry->inode > 256);
	CHECK(!entry->is_subvolume);
	++*count;
	return 0;
}

static int count_name(void *context, const char *name)
{
	CHECK(strcmp(name, "user.note") == 0);
	++*(int *)context;
	return 0;
}

static int stop(void *context, const struct bg_dirent *entry)
{
	(void)entry;
	++*(int *)context;
	return 7;
}

/* An extent that the caller claims and writes becomes a part of a file. */
static void place(void)
{
	struct bg_allocator *allocator = bg_fs_allocator(fs);
	struct bg_claim_options options;
	struct bg_extent extent;
	struct bg_file *file;
	struct bg_stat stat;
	char *bytes = malloc(PIECE);

	CHECK(bytes);
	fill(bytes, PIECE, 99);
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.flags = BG_DATA;
	options.length = PIECE;
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	EXPECT(bg_fs_pwrite(fs, bytes, PIECE, extent.logical), 0);
	EXPECT(bg_file_create(fs, "/placed", NULL, &file), 0);
	EXPECT(bg_file_attach(file, 1, &extent), -EINVAL);
	EXPECT(bg_file_attach(file, 0, &extent), 0);
	EXPECT(bg_file_attach(file, 0, &extent), -EBUSY);
	EXPECT(bg_file_stat(file, &stat), 0);
	CHECK(stat.size == PIECE && stat.allocated_bytes == PIECE && stat.link_count == 1);
	EXPECT(bg_file_close(file), 0);
	expect_content("/placed", PIECE, 99);

	/* What is not attached goes back. */
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	EXPECT(bg_give_back(allocator, &extent), 0);
	free(bytes);
}

static void names_and_attributes(void)
{
	struct bg_attributes attributes;
	struct bg_stat stat;
	struct bg_file *file = NULL;
	char target[8], value[4];
	size_t length;
	int count = 0;

	memset(&attributes, 0, sizeof(attributes));
	EXPECT(bg_mkdir(fs, "/d", &attributes), -EINVAL);
	attributes.size = sizeof(attributes);
	attributes.set = BG_SET_MODE | BG_SET_OWNER | BG_SET_MODIFICATION_TIME;
	attributes.mode = 0710;
	attributes.owner = 5;
	attributes.modification_time.seconds = 1000;
	EXPECT(bg_mkdir(fs, "/d", &attributes), 0);
	EXPECT(bg_mkdir(fs, "/d", NULL), -EEXIST);
	EXPECT(bg_stat(fs, "/d", &stat), 0);
	CHECK(stat.mode == (0040000 | 0710) && stat.owner == 5 && stat.group == 0);
	CHECK(stat.modification_time.seconds == 1000);
	EXPECT(bg_file_create(fs, "/d/a", NULL, &file), 0);
	EXPECT(bg_file_pwrite(file, "hello", 5, 3), 0);
	EXPECT(bg_file_truncate(file, 6), 0);
	EXPECT(bg_rmdir(fs, "/d"), -ENOTEMPTY);
	EXPECT(bg_link(fs, "/d/a", "/d/b"), 0);
	EXPECT(bg_rename(fs, "/d/b", "/c"), 0);
	EXPECT(bg_unlink(fs, "/d/a"), 0);
	EXPECT(bg_unlink(fs, "/c"), 0);
	EXPECT(bg_stat(fs, "/c", &stat), -ENOENT);
	/* Removed, but open. */
	EXPECT(bg_file_pread(file, value, 4, 2, &length), 0);
	CHECK(length == 4 && memcmp(value, "\0hel", 4) == 0);
	EXPECT(bg_file_close(file), 0);
	EXPECT(bg_symlink(fs, "far/away/from/here", "/d/link", NULL), 0);
	EXPECT(bg_readlink(fs, "/d/link", target, sizeof(target), &length), 0);
	CHECK(length == 18 && memcmp(target, "far/away", 8) == 0);
	EXPECT(bg_file_open(fs, "/d/link", &file), -ELOOP);
	EXPECT(bg_mknod(fs, "/d/pipe", 0010000, 0, NULL), 0);
	EXPECT(bg_mknod(fs, "/d/pipe", 0100000, 0, NULL), -EINVAL);
	EXPECT(bg_set_xattr(fs, "/d", "user.note", "text", 4), 0);
	EXPECT(bg_get_xattr(fs, "/d", "user.note", value, sizeof(value), &length), 0);
	CHECK(length == 4 && memcmp(value, "text", 4) == 0);
	EXPECT(bg_list_xattrs(fs, "/d", count_name, &count), 0);
	CHECK(count == 1);
	EXPECT(bg_set_xattr(fs, "/d", "user.note", NULL, 0), 0);
	EXPECT(bg_get_xattr(fs, "/d", "user.note", value, sizeof(value), &length), -ENODATA);
	count = 0;
	EXPECT(bg_readdir(fs, "/d", count_entry, &count), 0);
	CHECK(count == 2);
	EXPECT(bg_readdir(fs, "/d", stop, &count), 7);
	CHECK(count == 3);
	EXPECT(bg_set_attributes(fs, "/d/pipe", &attributes), 0);
	EXPECT(bg_file_create(fs, "/d/../x", NULL, &file), -EINVAL);
	EXPECT(bg_mkdir(NULL, "/x", NULL), -EINVAL);
}

int main(int count, char **paths)
{
	const char *const *names = (const char *const *)(paths + 1);
	pthread_t threads[THREADS];
	int numbers[THREADS];
	char path[64];

	CHECK(count > 1);
	EXPECT(bg_fs_open(names, (size_t)count - 1, 0, &fs), 0);
	for (int index = 0; index < THREADS; index++) {
		numbers[index] = index;
		CHECK(pthread_create(&threads[index], NULL, write_files, &numbers[index]) == 0);
	}
	EXPECT(bg_fs_commit(fs), 0);
	for (int index = 0; index < THREADS; index++)
		CHECK(pthread_join(threads[index], NULL) == 0);
	place();
	names_and_attributes();
	EXPECT(bg_fs_close(fs), 0);

	EXPECT(bg_fs_open(names, (size_t)count - 1, 0, &fs), 0);
	expect_content("/placed", PIECE, 99);
	EXPECT(bg_unlink(fs, "/placed"), 0);
	for (int index = 0; index < THREADS; index++) {
		for (int number = 0; number < FILES; number++) {
			snprintf(path, sizeof(path), "/t%d/%d", index, number);
			expect_content(path, (size_t)(number * 397), index + number);
			EXPECT(bg_unlink(fs, path), 0);
		}
		snprintf(path, sizeof(path), "/t%d", index);
		EXPECT(bg_rmdir(fs, path), 0);
	}
	EXPECT(bg_unlink(fs, "/d/link"), 0);
	EXPECT(bg_unlink(fs, "/d/pipe"), 0);
	EXPECT(bg_rmdir(fs, "/d"), 0);
	EXPECT(bg_fs_close(fs), 0);
	printf("%d files written, read back and removed\n", THREADS * FILES);
	return 0;
}
