/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * use.c - a C11 program that knows the library by its header alone: the
 * in-memory allocator, from one thread and from several, and every error
 * number that the header promises for it.
 *
 * Prints one line; exits 1 at the first thing that is not as the header says.
 */
#include <blockgroups.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "check.h"

#define SECTOR	     UINT64_C(4096)
#define MIB	     (UINT64_C(1) << 20)
#define GROUP_LENGTH (64 * MIB)

static struct bg_claim_options wish(uint64_t flags, uint64_t length)
{
	struct bg_claim_options options;

	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.flags = flags;
	options.length = length;
	return options;
}

static struct bg_allocator_options how(void)
{
	struct bg_allocator_options options;

	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.sector_size = SECTOR;
	return options;
}

/* An allocator with one data group at address 0, all of it free. */
static struct bg_allocator *one_group(void)
{
	struct bg_allocator_options options = how();
	struct bg_allocator *allocator = NULL;
	struct bg_group *group;

	EXPECT(bg_allocator_create(&options, &allocator), 0);
	CHECK(allocator);
	EXPECT(bg_allocator_add_group(allocator, 0, GROUP_LENGTH, BG_DATA), 0);
	group = bg_group_get(allocator, 0);
	CHECK(group);
	EXPECT(bg_group_add_free_space(group, 0, GROUP_LENGTH), 0);
	bg_group_put(group);
	return allocator;
}

static struct bg_group_stat stat_at(struct bg_allocator *allocator, uint64_t logical)
{
	struct bg_group *group = bg_group_get(allocator, logical);
	struct bg_group_stat stat;

	CHECK(group);
	EXPECT(bg_group_stat(group, &stat), 0);
	bg_group_put(group);
	return stat;
}

/* ---- walking ------------------------------------------------------------ */

struct walk {
	uint64_t end, bytes, count, stop_after;
};

static int visit_free(void *context, uint64_t logical, uint64_t length)
{
	struct walk *walk = context;

	CHECK(length > 0 && logical >= walk->end);
	walk->end = logical + length;
	walk->bytes += length;
	return ++walk->count == walk->stop_after ? 77 : 0;
}

static int visit_group(void *context, struct bg_group *group)
{
	struct walk *walk = context;
	struct bg_group_stat stat;

	EXPECT(bg_group_stat(group, &stat), 0);
	CHECK(stat.logical >= walk->end);
	walk->end = stat.logical + stat.length;
	return ++walk->count == walk->stop_after ? 78 : 0;
}

static void walks_groups_and_runs(void)
{
	struct bg_allocator *allocator = one_group();
	struct bg_group *group = bg_group_get(allocator, GROUP_LENGTH - 1);
	struct walk walk = {0, 0, 0, 0}, stopped = {0, 0, 0, 1};
	struct walk groups = {0, 0, 0, 0}, first = {0, 0, 0, 1};

	CHECK(group);
	CHECK(!bg_group_get(allocator, GROUP_LENGTH));
	EXPECT(bg_allocator_add_group(allocator, 2 * GROUP_LENGTH, MIB, BG_METADATA | BG_RAID1), 0);
	EXPECT(bg_allocator_add_group(allocator, GROUP_LENGTH, MIB, BG_SYSTEM | BG_DUP), 0);
	EXPECT(bg_group_remove_free_space(group, MIB, MIB), 0);
	EXPECT(bg_group_for_each_free(group, visit_free, &walk), 0);
	EXPECT(walk.count, 2);
	EXPECT(walk.bytes, GROUP_LENGTH - MIB);
	EXPECT(bg_group_for_each_free(group, visit_free, &stopped), 77);
	EXPECT(bg_for_each_group(allocator, visit_group, &groups), 0);
	EXPECT(groups.count, 3);
	EXPECT(bg_for_each_group(allocator, visit_group, &first), 78);
	bg_group_put(group);
	bg_allocator_destroy(allocator);
}

/* ---- claims from many threads ------------------------------------------- */

#define THREADS 4
#define STEPS	20000
#define HELD	64

static atomic_uchar owner[GROUP_LENGTH / SECTOR];

static void own(const struct bg_extent *extent, unsigned char before, unsigned char after)
{
	uint64_t sector = extent->logical / SECTOR;
	uint64_t end = (extent->logical + extent->length) / SECTOR;

	CHECK(extent->logical + extent->length <= GROUP_LENGTH);
	for (; sector < end; sector++)
		EXPECT(atomic_exchange(&owner[sector], after), before);
}

struct claimer {
	pthread_t thread;
	struct bg_allocator *allocator;
	uint64_t random;
	unsigned char name;
};

static void *claim_and_give_back(void *context)
{
	struct claimer *self = context;
	struct bg_extent held[HELD];
	unsigned int step, slot;

	memset(held, 0, sizeof(held));
	for (step = 0; step < STEPS + HELD; step++) {
		struct bg_extent *extent = &held[step % HELD];
		struct bg_claim_options options;

		if (extent->length) {
			own(extent, self->name, 0);
			EXPECT(bg_give_back(self->allocator, extent), 0);
			extent->length = 0;
		}
		if (step >= STEPS)
			continue;
		self->random = self->random * UINT64_C(6364136223846793005) + 1;
		options = wish(BG_DATA, SECTOR * (1 + (self->random >> 40) % 32));
		EXPECT(bg_claim(self->allocator, &options, extent), 0);
		EXPECT(extent->length, options.length);
		own(extent, 0, self->name);
	}
	for (slot = 0; slot < HELD; slot++)
		EXPECT(held[slot].length, 0);
	return NULL;
}

static void no_sector_has_two_owners(void)
{
	struct bg_allocator *allocator = one_group();
	struct claimer claimers[THREADS];
	struct bg_claim_options whole = wish(BG_DATA, GROUP_LENGTH);
	struct bg_extent extent;
	struct bg_group_stat stat;
	int index;

	for (index = 0; index < THREADS; index++) {
		claimers[index].allocator = allocator;
		claimers[index].random = (uint64_t)index;
		claimers[index].name = (unsigned char)(index + 1);
		EXPECT(pthread_create(&claimers[index].thread, NULL, claim_and_give_back,
				      &claimers[index]),
		       0);
	}
	for (index = 0; index < THREADS; index++)
		EXPECT(pthread_join(claimers[index].thread, NULL), 0);
	stat = stat_at(allocator, 0);
	EXPECT(stat.claimed_bytes, 0);
	EXPECT(stat.free_bytes, GROUP_LENGTH);
	/* Whatever still lies in magazines must merge again for this one. */
	EXPECT(bg_claim(allocator, &whole, &extent), 0);
	EXPECT(extent.logical, 0);
	EXPECT(bg_give_back(allocator, &extent), 0);
	bg_allocator_destroy(allocator);
}

/* ---- wishes ------------------------------------------------------------- */

static void wishes_are_kept(void)
{
	struct bg_allocator *allocator = one_group();
	struct bg_group *group = bg_group_get(allocator, 0);
	struct bg_claim_options options = wish(BG_DATA, MIB);
	struct bg_extent extent, second;

	options.search_start = 10 * MIB + SECTOR;
	options.alignment = 3 * SECTOR;
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	CHECK(extent.logical >= options.search_start && extent.logical % (3 * SECTOR) == 0);
	EXPECT(bg_give_back(allocator, &extent), 0);

	/* An exact fit between the bounds is a fit. */
	options = wish(BG_DATA, MIB);
	options.search_start = 5 * MIB;
	options.search_end = 6 * MIB;
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	EXPECT(extent.logical, 5 * MIB);
	EXPECT(bg_claim(allocator, &options, &second), -ENOSPC);
	EXPECT(bg_give_back(allocator, &extent), 0);

	options = wish(BG_DATA, MIB);
	options.exclude_start = 0;
	options.exclude_length = GROUP_LENGTH - MIB;
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	EXPECT(extent.logical, GROUP_LENGTH - MIB);
	EXPECT(bg_give_back(allocator, &extent), 0);

	/* Of this group 64 KiB are left; a request of 1 MiB comes down to that. */
	EXPECT(bg_group_remove_free_space(group, 65536, GROUP_LENGTH - 65536), 0);
	options = wish(BG_DATA, MIB);
	options.length_min = SECTOR;
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	EXPECT(extent.length, 65536);
	second.logical = extent.logical + SECTOR;
	second.length = extent.length - SECTOR;
	extent.length = SECTOR;
	EXPECT(bg_give_back(allocator, &second), 0);
	EXPECT(stat_at(allocator, 0).claimed_bytes, SECTOR);
	EXPECT(bg_give_back(allocator, &extent), 0);
	options = wish(BG_DATA, 65536);
	options.empty_size = SECTOR;
	EXPECT(bg_group_claim(group, &options, &extent), -ENOSPC);
	bg_group_put(group);
	bg_allocator_destroy(allocator);
}

static void profiles_are_kept_apart(void)
{
	struct bg_allocator *allocator = NULL;
	struct bg_claim_options options = wish(BG_METADATA, SECTOR);
	struct bg_group *group;
	struct bg_extent extent;

	EXPECT(bg_allocator_create(NULL, &allocator), 0);
	EXPECT(bg_allocator_add_group(allocator, MIB, MIB, BG_METADATA | BG_RAID1), 0);
	group = bg_group_get(allocator, MIB);
	EXPECT(bg_group_add_free_space(group, MIB, MIB), 0);
	bg_group_put(group);
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	EXPECT(bg_give_back(allocator, &extent), 0);
	options.flags = BG_METADATA | BG_RAID1;
	EXPECT(bg_claim(allocator, &options, &extent), 0);
	EXPECT(bg_give_back(allocator, &extent), 0);
	options.flags = BG_METADATA | BG_DUP;
	EXPECT(bg_claim(allocator, &options, &extent), -ENOSPC);
	options.flags = BG_METADATA | BG_AVAIL_SINGLE;
	EXPECT(bg_claim(allocator, &options, &extent), -ENOSPC);
	options.flags = BG_DATA;
	EXPECT(bg_claim(allocator, &options, &extent), -ENOSPC);
	bg_allocator_destroy(allocator);
}

/* ---- hooks -------------------------------------------------------------- */

struct hooked {
	atomic_int cached, chunks;
	int answer;
};

static int cache_all(void *context, struct bg_group *group)
{
	struct hooked *hooked = context;
	struct bg_group_stat stat;

	atomic_fetch_add(&hooked->cached, 1);
	if (hooked->answer)
		return hooked->answer;
	EXPECT(bg_group_stat(group, &stat), 0);
	return bg_group_add_free_space(group, stat.logical, stat.length);
}

static int next_chunk(void *context, struct bg_allocator *allocator, uint64_t flags,
		      uint64_t length)
{
	struct hooked *hooked = context;

	if (length > GROUP_LENGTH || atomic_fetch_add(&hooked->chunks, 1) >= 2)
		return -ENOSPC;
	return bg_allocator_add_group(allocator, GROUP_LENGTH * atomic_load(&hooked->chunks),
				      GROUP_LENGTH, flags & (BG_DATA | BG_METADATA | BG_SYSTEM));
}

static void hooks_cache_once_and_add_chunks(void)
{
	struct hooked hooked = {0, 0, 0};
	struct bg_allocator_options options = how();
	struct bg_claim_options whole = wish(BG_DATA, GROUP_LENGTH);
	struct bg_claim_options two = wish(BG_DATA, 2 * GROUP_LENGTH);
	struct bg_allocator *allocator = NULL;
	struct bg_extent extent;
	int index;

	options.context = &hooked;
	options.cache_group = cache_all;
	options.allocate_chunk = next_chunk;
	EXPECT(bg_allocator_create(&options, &allocator), 0);
	EXPECT(bg_allocator_add_group(allocator, 0, GROUP_LENGTH, BG_DATA), 0);
	EXPECT(bg_claim(allocator, &two, &extent), -ENOSPC);
	for (index = 0; index < 3; index++)
		EXPECT(bg_claim(allocator, &whole, &extent), 0);
	EXPECT(bg_claim(allocator, &whole, &extent), -ENOSPC);
	EXPECT(atomic_load(&hooked.cached), 3);
	bg_allocator_destroy(allocator);

	hooked.answer = -EIO;
	options.allocate_chunk = NULL;
	EXPECT(bg_allocator_create(&options, &allocator), 0);
	EXPECT(bg_allocator_add_group(allocator, 0, GROUP_LENGTH, BG_DATA), 0);
	EXPECT(bg_claim(allocator, &whole, &extent), -EIO);
	EXPECT(bg_claim(allocator, &whole, &extent), -EIO);
	EXPECT(atomic_load(&hooked.cached), 4);
	bg_allocator_destroy(allocator);
}

/* ---- errors ------------------------------------------------------------- */

static void bad_arguments_are_refused(void)
{
	struct bg_allocator *allocator = one_group(), *none = NULL;
	struct bg_group *group = bg_group_get(allocator, 0);
	struct bg_allocator_options options = how();
	struct bg_claim_options claim;
	struct bg_extent extent = {1, 2};

	options.sector_size = 3000;
	EXPECT(bg_allocator_create(&options, &none), -EINVAL);
	options = how();
	options.size = 1;
	EXPECT(bg_allocator_create(&options, &none), -EINVAL);
	options = how();
	options.reserved = 1;
	EXPECT(bg_allocator_create(&options, &none), -EINVAL);
	CHECK(!none);

	EXPECT(bg_allocator_add_group(allocator, GROUP_LENGTH + 1, MIB, BG_DATA), -EINVAL);
	EXPECT(bg_allocator_add_group(allocator, GROUP_LENGTH, 0, BG_DATA), -EINVAL);
	EXPECT(bg_allocator_add_group(allocator, GROUP_LENGTH, 5000, BG_DATA), -EINVAL);
	EXPECT(bg_allocator_add_group(allocator, GROUP_LENGTH, MIB, 0), -EINVAL);
	EXPECT(bg_allocator_add_group(allocator, GROUP_LENGTH, MIB, BG_DATA | BG_DUP | BG_RAID1),
	       -EINVAL);
	EXPECT(bg_allocator_add_group(allocator, -SECTOR, 2 * SECTOR, BG_DATA), -EINVAL);

	EXPECT(bg_group_add_free_space(group, GROUP_LENGTH, SECTOR), -EINVAL);
	EXPECT(bg_group_add_free_space(group, 0, 0), -EINVAL);
	EXPECT(bg_group_remove_free_space(group, 100, SECTOR), -EINVAL);
	EXPECT(bg_group_remove_free_space(group, GROUP_LENGTH - SECTOR, 2 * SECTOR), -EINVAL);
	EXPECT(bg_group_stat(group, NULL), -EINVAL);
	EXPECT(bg_group_for_each_free(group, NULL, NULL), -EINVAL);
	EXPECT(bg_for_each_group(allocator, NULL, NULL), -EINVAL);

	EXPECT(bg_claim(allocator, NULL, &extent), -EINVAL);
	claim = wish(BG_DATA, 0);
	EXPECT(bg_claim(allocator, &claim, &extent), -EINVAL);
	claim = wish(BG_DATA, 5000);
	EXPECT(bg_claim(allocator, &claim, &extent), -EINVAL);
	EXPECT(bg_group_claim(group, &claim, &extent), -EINVAL);
	claim = wish(BG_DATA, SECTOR);
	EXPECT(bg_claim(allocator, &claim, NULL), -EINVAL);
	claim.size = 8;
	EXPECT(bg_claim(allocator, &claim, &extent), -EINVAL);
	claim = wish(BG_DATA, SECTOR);
	claim.reserved = 1;
	EXPECT(bg_claim(allocator, &claim, &extent), -EINVAL);
	claim = wish(BG_DATA, SECTOR);
	claim.alignment = 5000;
	EXPECT(bg_claim(allocator, &claim, &extent), -EINVAL);
	EXPECT(bg_explain(allocator, NULL, NULL, 0), -EINVAL);
	CHECK(extent.logical == 1 && extent.length == 2);

	extent.logical = 8 * GROUP_LENGTH;
	extent.length = SECTOR;
	EXPECT(bg_give_back(allocator, &extent), -EINVAL);
	extent.logical = 0;
	extent.length = 100;
	EXPECT(bg_give_back(allocator, &extent), -EINVAL);
	EXPECT(bg_give_back(allocator, NULL), -EINVAL);
	EXPECT(stat_at(allocator, 0).free_bytes, GROUP_LENGTH);
	bg_group_put(group);
	bg_group_put(NULL);
	bg_allocator_destroy(allocator);
	bg_allocator_destroy(NULL);
}

static void a_refusal_changes_nothing_and_explains_itself(void)
{
	struct bg_allocator *allocator = one_group();
	struct bg_group *group = bg_group_get(allocator, 0);
	struct bg_claim_options claim = wish(BG_DATA, MIB);
	struct bg_claim_options large = wish(BG_DATA, 2 * GROUP_LENGTH);
	struct bg_extent extent, untouched = {1, 2};
	char text[4096], cut[8];
	int length;

	EXPECT(bg_allocator_add_group(allocator, GROUP_LENGTH - MIB, MIB, BG_DATA), -EEXIST);
	EXPECT(bg_allocator_remove_group(allocator, SECTOR), -ENOENT);
	EXPECT(bg_group_add_free_space(group, MIB, SECTOR), -EEXIST);

	EXPECT(bg_claim(allocator, &claim, &extent), 0);
	EXPECT(bg_allocator_remove_group(allocator, 0), -EBUSY);
	EXPECT(bg_group_remove_free_space(group, extent.logical, SECTOR), -ENOENT);
	EXPECT(bg_give_back(allocator, &extent), 0);
	length = bg_give_back(allocator, &extent);
	CHECK(length == -EEXIST || length == -EINVAL);
	EXPECT(stat_at(allocator, 0).free_bytes, GROUP_LENGTH);

	EXPECT(bg_claim(allocator, &large, &untouched), -ENOSPC);
	CHECK(untouched.logical == 1 && untouched.length == 2);
	EXPECT(bg_explain(allocator, &large, NULL, 0), 0);
	EXPECT(bg_explain(allocator, &large, text, sizeof(text)), 0);
	CHECK(strlen(text) > 7 && strlen(text) < sizeof(text) - 1);
	EXPECT(bg_explain(allocator, &large, cut, sizeof(cut)), 0);
	EXPECT(strlen(cut), 7);
	EXPECT(strncmp(cut, text, 7), 0);

	EXPECT(bg_group_set_read_only(group, 1), 0);
	EXPECT(stat_at(allocator, 0).read_only, 1);
	EXPECT(bg_group_claim(group, &claim, &untouched), -EROFS);
	EXPECT(bg_claim(allocator, &claim, &untouched), -ENOSPC);
	EXPECT(bg_group_set_read_only(group, 0), 0);
	EXPECT(bg_group_claim(group, &claim, &extent), 0);
	EXPECT(bg_give_back(allocator, &extent), 0);

	EXPECT(bg_allocator_remove_group(allocator, 0), 0);
	CHECK(!bg_group_get(allocator, 0));
	EXPECT(bg_claim(allocator, &claim, &untouched), -ENOSPC);
	bg_group_put(group);
	bg_allocator_destroy(allocator);
}

int main(void)
{
	char header[32];

	snprintf(header, sizeof(header), "%d.%d.%d", BG_VERSION_MAJOR, BG_VERSION_MINOR,
		 BG_VERSION_PATCH);
	EXPECT(strcmp(bg_version(), header), 0);
	walks_groups_and_runs();
	wishes_are_kept();
	profiles_are_kept_apart();
	hooks_cache_once_and_add_chunks();
	bad_arguments_are_refused();
	a_refusal_changes_nothing_and_explains_itself();
	no_sector_has_two_owners();
	printf("use: ok, version %s, %d threads, %d claims each\n", bg_version(), THREADS, STEPS);
	return 0;
}
