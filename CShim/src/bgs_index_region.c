/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index_region.c - address space for the free-space indexes.
 *
 * Regions of one size are cut, 64 at a time, out of one mapping (an arena), because a process may
 * have only 65530 mappings and there may be more groups than that. A region that is put back loses
 * its pages at once; an arena without a region in use is unmapped.
 *
 * Locks: one process-wide mutex; init and destroy of an index are rare and never under a spin lock.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bgs_index_internal.h"

struct arena {
	struct arena *next;
	unsigned char *base;
	size_t region_bytes;
	uint64_t used;
};

/* Arenas with a region to spare come first, so that the search for one looks at the first of its
 * size. */
static struct arena *arenas;
static pthread_mutex_t arenas_mutex = PTHREAD_MUTEX_INITIALIZER;

#define ARENA_REGIONS 64u
/* Larger regions get a mapping each: 64 of them would only waste address space. */
#define REGION_SHARED_MAX ((size_t)64 << 20)

static unsigned char *map_pages(size_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	/* A huge page for a few leaves would undo what the compact layout saves. Only a wish. */
	(void)madvise(base, bytes, MADV_NOHUGEPAGE);
	return base;
}

static struct arena *arena_new(size_t bytes)
{
	struct arena *arena = malloc(sizeof(*arena));

	if (!arena)
		return NULL;
	arena->base = map_pages(bytes * ARENA_REGIONS);
	if (!arena->base) {
		free(arena);
		return NULL;
	}
	arena->region_bytes = bytes;
	arena->used = 0;
	arena->next = arenas;
	arenas = arena;
	return arena;
}

unsigned char *bgs_index_region_get(size_t bytes)
{
	struct arena *arena, **link;
	unsigned char *region = NULL;
	unsigned slot;

	if (bytes > REGION_SHARED_MAX)
		return map_pages(bytes);

	pthread_mutex_lock(&arenas_mutex);
	for (link = &arenas; (arena = *link); link = &arena->next)
		if (arena->used == UINT64_MAX || arena->region_bytes == bytes)
			break;
	if (!arena || arena->used == UINT64_MAX || arena->region_bytes != bytes)
		arena = arena_new(bytes);
	if (!arena)
		goto out;
	slot = (unsigned)__builtin_ctzll(~arena->used);
	arena->used |= (uint64_t)1 << slot;
	region = arena->base + slot * bytes;
	if (arena->used == UINT64_MAX) {
		/* Full arenas go to the end of the list. */
		for (link = &arenas; *link != arena; link = &(*link)->next)
			;
		*link = arena->next;
		while (*link)
			link = &(*link)->next;
		*link = arena;
		arena->next = NULL;
	}
out:
	pthread_mutex_unlock(&arenas_mutex);
	return region;
}

void bgs_index_region_put(unsigned char *region, size_t bytes)
{
	struct arena *arena, **link;

	if (bytes > REGION_SHARED_MAX) {
		munmap(region, bytes);
		return;
	}
	/* Before the region can be handed out again: its next owner relies on zeroes. */
	if (madvise(region, bytes, MADV_DONTNEED))
		memset(region, 0, bytes);
	pthread_mutex_lock(&arenas_mutex);
	for (link = &arenas; (arena = *link); link = &arena->next)
		if (arena->region_bytes == bytes && region >= arena->base &&
		    region < arena->base + bytes * ARENA_REGIONS)
			break;
	if (arena) {
		arena->used &= ~((uint64_t)1 << ((size_t)(region - arena->base) / bytes));
		*link = arena->next;
		if (arena->used) {
			arena->next = arenas;
			arenas = arena;
		} else {
			munmap(arena->base, bytes * ARENA_REGIONS);
			free(arena);
		}
	}
	pthread_mutex_unlock(&arenas_mutex);
}
