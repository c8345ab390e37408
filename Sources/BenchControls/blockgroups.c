/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blockgroups.c - our own library, through its exported C header and nothing else.
 *
 * The functions are found in one of two ways: linked into the program (the
 * references are weak, so a program without them links and this competitor says
 * that it is unavailable), or from a shared library named by bench_use_library(),
 * which is what a C user of the Embedded build gets.
 *
 * blockgroups has magazines for small sizes; blockgroups-lock has none.
 */
#include "controls.h"

#include <blockgroups.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#pragma weak bg_allocator_create
#pragma weak bg_allocator_destroy
#pragma weak bg_allocator_add_group
#pragma weak bg_group_get
#pragma weak bg_group_put
#pragma weak bg_group_add_free_space
#pragma weak bg_add_free_space
#pragma weak bg_group_stat
#pragma weak bg_claim
#pragma weak bg_give_back

struct library {
	int (*create)(const struct bg_allocator_options *options, struct bg_allocator **out);
	void (*destroy)(struct bg_allocator *allocator);
	int (*add_group)(struct bg_allocator *allocator, uint64_t logical, uint64_t length,
			 uint64_t flags);
	struct bg_group *(*group_get)(struct bg_allocator *allocator, uint64_t logical);
	void (*group_put)(struct bg_group *group);
	int (*add_free_space)(struct bg_group *group, uint64_t logical, uint64_t length);
	int (*add_free_spaces)(struct bg_allocator *allocator, struct bg_extent *extents,
			       size_t count, size_t *added_out);
	int (*stat)(struct bg_group *group, struct bg_group_stat *out);
	int (*claim)(struct bg_allocator *allocator, const struct bg_claim_options *options,
		     struct bg_extent *out);
	int (*give_back)(struct bg_allocator *allocator, const struct bg_extent *extent);
};

struct our_state {
	struct bg_allocator *allocator;
	size_t group_count;
	/* References, held so that add_free() finds its group by index. */
	struct bg_group *groups[];
};

static struct library library;

static void use_linked_functions(void)
{
	library.create = bg_allocator_create;
	library.destroy = bg_allocator_destroy;
	library.add_group = bg_allocator_add_group;
	library.group_get = bg_group_get;
	library.group_put = bg_group_put;
	library.add_free_space = bg_group_add_free_space;
	library.add_free_spaces = bg_add_free_space;
	library.stat = bg_group_stat;
	library.claim = bg_claim;
	library.give_back = bg_give_back;
}

const char *bench_use_library(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	struct library found;
	const struct {
		const char *name;
		void *slot;
	} wanted[] = {
		{"bg_allocator_create", &found.create},
		{"bg_allocator_destroy", &found.destroy},
		{"bg_allocator_add_group", &found.add_group},
		{"bg_group_get", &found.group_get},
		{"bg_group_put", &found.group_put},
		{"bg_group_add_free_space", &found.add_free_space},
		{"bg_group_stat", &found.stat},
		{"bg_claim", &found.claim},
		{"bg_give_back", &found.give_back},
	};

	if (!handle)
		return dlerror();
	/* A library from before 0.2 has it not. */
	*(void **)&found.add_free_spaces = dlsym(handle, "bg_add_free_space");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		void *symbol = dlsym(handle, wanted[i].name);

		if (!symbol)
			return dlerror();
		memcpy(wanted[i].slot, &symbol, sizeof(symbol));
	}
	library = found;
	return NULL;
}

static const char *our_unavailable(const struct bench_competitor *self)
{
	(void)self;
	if (!library.claim)
		use_linked_functions();
	if (!library.create || !library.claim || !library.give_back || !library.stat)
		return "the library is not linked in; name one with --library";
	return NULL;
}

static void our_destroy(void *opaque)
{
	struct our_state *state = opaque;

	for (size_t i = 0; i < state->group_count; i++)
		library.group_put(state->groups[i]);
	library.destroy(state->allocator);
	free(state);
}

static int add_group(struct our_state *state, const struct bench_space *space, size_t index)
{
	uint64_t logical = index * space->group_bytes;
	int result;

	result = library.add_group(state->allocator, logical, space->group_bytes, BG_DATA);
	if (result)
		return result;
	state->groups[index] = library.group_get(state->allocator, logical);
	if (!state->groups[index])
		return -ENOENT;
	state->group_count = index + 1;
	if (!space->all_free)
		return 0;
	return library.add_free_space(state->groups[index], logical, space->group_bytes);
}

static void *our_create(const struct bench_competitor *self, const struct bench_space *space)
{
	size_t count = space->total_bytes / space->group_bytes;
	struct bg_allocator_options options = {.size = sizeof(options)};
	struct our_state *state;

	if (our_unavailable(self))
		return NULL;
	options.sector_size = (uint32_t)BENCH_SECTOR;
	options.flags = self->context ? *(const uint32_t *)self->context : 0;
	state = calloc(1, sizeof(*state) + count * sizeof(state->groups[0]));
	if (!state)
		return NULL;
	if (library.create(&options, &state->allocator)) {
		free(state);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		if (add_group(state, space, i)) {
			our_destroy(state);
			return NULL;
		}
	}
	return state;
}

static int our_claim(void *opaque, uint64_t bytes, uint64_t *address_out)
{
	/* Set up once a thread, as a program that claims in a loop would. */
	static _Thread_local struct bg_claim_options options = {
		.size = sizeof(struct bg_claim_options),
		.flags = BG_DATA,
	};
	struct our_state *state = opaque;
	struct bg_extent extent;
	int result;

	options.length = bytes;
	result = library.claim(state->allocator, &options, &extent);
	if (result)
		return result;
	*address_out = extent.logical;
	return 0;
}

static int our_give_back(void *opaque, uint64_t address, uint64_t bytes)
{
	struct our_state *state = opaque;
	struct bg_extent extent = {.logical = address, .length = bytes};

	return library.give_back(state->allocator, &extent);
}

static int our_add_free(void *opaque, size_t group, uint64_t address, uint64_t bytes)
{
	struct our_state *state = opaque;

	return library.add_free_space(state->groups[group], address, bytes);
}

static int our_add_free_many(void *opaque, struct bench_range *ranges, size_t count)
{
	struct our_state *state = opaque;
	size_t added;

	_Static_assert(sizeof(*ranges) == sizeof(struct bg_extent), "the same two words");
	if (!library.add_free_spaces)
		return -ENOSYS;
	return library.add_free_spaces(state->allocator, (struct bg_extent *)ranges, count, &added);
}

static void our_describe(void *opaque, struct bench_free_space *out)
{
	struct our_state *state = opaque;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < state->group_count; i++) {
		struct bg_group_stat stat;

		if (library.stat(state->groups[i], &stat))
			continue;
		out->free_extents += stat.run_count;
		out->free_bytes += stat.free_bytes;
		if (stat.largest_run > out->largest_run_bytes)
			out->largest_run_bytes = stat.largest_run;
	}
}

static const uint32_t no_magazines = BG_ALLOCATOR_NO_MAGAZINES;

const struct bench_competitor bench_blockgroups = {
	.name = "blockgroups",
	.summary = "this library through blockgroups.h",
	.work_divisor = 1,
	.unavailable = our_unavailable,
	.create = our_create,
	.destroy = our_destroy,
	.claim = our_claim,
	.give_back = our_give_back,
	.add_free = our_add_free,
	.add_free_many = our_add_free_many,
	.describe = our_describe,
};

const struct bench_competitor bench_blockgroups_lock = {
	.name = "blockgroups-lock",
	.summary = "this library without magazines",
	.work_divisor = 1,
	.context = &no_magazines,
	.unavailable = our_unavailable,
	.create = our_create,
	.destroy = our_destroy,
	.claim = our_claim,
	.give_back = our_give_back,
	.add_free = our_add_free,
	.add_free_many = our_add_free_many,
	.describe = our_describe,
};
