/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_state.c - who caches a group, who asks for a chunk, and who waits for them;
 * see bgs_allocator.h.
 */
#include "bgs_allocator.h"

#include <errno.h>

bool bgs_caching_begin(struct bgs_allocator *allocator, struct bgs_group *group)
{
	bool mine = false;

	if (__atomic_load_n(&group->caching, __ATOMIC_ACQUIRE) >= BGS_CACHING_FINISHED)
		return false;
	bgs_mutex_lock(&allocator->state_mutex);
	if (group->caching == BGS_CACHING_NONE) {
		bgs_spin_lock(&group->lock);
		__atomic_store_n(&group->caching, BGS_CACHING_STARTED, __ATOMIC_RELAXED);
		bgs_spin_unlock(&group->lock);
		group->cacher = bgs_thread_ordinal();
		mine = true;
	}
	while (!mine && group->caching == BGS_CACHING_STARTED &&
	       group->cacher != bgs_thread_ordinal())
		bgs_mutex_wait(&allocator->state_mutex, &allocator->state_changed);
	bgs_mutex_unlock(&allocator->state_mutex);
	return mine;
}

void bgs_caching_end(struct bgs_allocator *allocator, struct bgs_group *group, int error)
{
	bgs_mutex_lock(&allocator->state_mutex);
	bgs_group_finish_caching(group, error);
	pthread_cond_broadcast(&allocator->state_changed);
	bgs_mutex_unlock(&allocator->state_mutex);
}

uint64_t bgs_chunk_generation(struct bgs_allocator *allocator, uint64_t flags)
{
	/* Acquire: pairs with the release in bgs_chunk_end(), so that the chunk is seen, too. */
	return __atomic_load_n(&allocator->chunk[flags & BGS_FLAGS_TYPE].generation,
			       __ATOMIC_ACQUIRE);
}

bool bgs_chunk_begin(struct bgs_allocator *allocator, uint64_t flags, uint32_t sectors,
		     uint64_t generation, int *result_out)
{
	struct bgs_chunk_state *chunk = &allocator->chunk[flags & BGS_FLAGS_TYPE];
	bool mine = false;

	bgs_mutex_lock(&allocator->state_mutex);
	while (chunk->in_progress)
		bgs_mutex_wait(&allocator->state_mutex, &allocator->state_changed);
	if (chunk->generation == generation ||
	    (chunk->result && (chunk->flags != flags || chunk->sectors > sectors))) {
		chunk->in_progress = true;
		chunk->flags = flags;
		chunk->sectors = sectors;
		mine = true;
	} else {
		*result_out = chunk->result;
	}
	bgs_mutex_unlock(&allocator->state_mutex);
	return mine;
}

void bgs_chunk_end(struct bgs_allocator *allocator, uint64_t flags, int result)
{
	struct bgs_chunk_state *chunk = &allocator->chunk[flags & BGS_FLAGS_TYPE];

	bgs_mutex_lock(&allocator->state_mutex);
	chunk->in_progress = false;
	chunk->result = result;
	__atomic_store_n(&chunk->generation, chunk->generation + 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&allocator->state_changed);
	bgs_mutex_unlock(&allocator->state_mutex);
}
