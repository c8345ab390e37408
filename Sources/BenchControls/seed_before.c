/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seed_before.c - the allocator before the patch: a mutex per group.
 *
 * The mutex is held from before the search in a group until the range has left
 * the trees, so whoever wants the same group sleeps behind the whole search.
 * The mutex does not spin first, as the kernel's did not in 2008.
 */
#include "controls.h"
#include "seed_groups.h"

#include <errno.h>
#include <stdlib.h>

static void lock_group(struct seed_group *group)
{
	bool contended = pthread_mutex_trylock(&group->mutex) != 0;

	if (contended)
		pthread_mutex_lock(&group->mutex);
	group->lock_taken++;
	group->lock_contended += contended;
}

static bool find_before(struct seed_group *group, uint64_t search_start, uint64_t bytes,
			uint64_t empty_size, uint64_t hint_limit, uint64_t *address_out)
{
	struct seed_entry *entry;
	bool found = false;

	lock_group(group);
	entry = seed_tree_search(group, search_start, bytes + empty_size);
	if (entry && entry->offset + bytes <= group->end && entry->offset <= hint_limit) {
		*address_out = entry->offset;
		free(seed_tree_take(group, entry, bytes));
		found = true;
	}
	pthread_mutex_unlock(&group->mutex);
	return found;
}

static int before_claim(void *state, uint64_t bytes, uint64_t *address_out)
{
	return seed_find_free_extent(state, bytes, address_out, find_before) ? -ENOSPC : 0;
}

static int before_add_free(void *state, size_t index, uint64_t address, uint64_t bytes)
{
	struct seed_group *group = &((struct seed_groups *)state)->groups[index];
	struct seed_entry *gone[2];
	struct seed_entry *spare = malloc(sizeof(*spare));

	if (!spare)
		return -ENOMEM;
	lock_group(group);
	seed_tree_add(group, spare, address, bytes, gone);
	pthread_mutex_unlock(&group->mutex);
	free(gone[0]);
	free(gone[1]);
	return 0;
}

static int before_give_back(void *state, uint64_t address, uint64_t bytes)
{
	struct seed_groups *all = state;

	return before_add_free(all, address / all->group_bytes, address, bytes);
}

static void *before_create(const struct bench_competitor *self, const struct bench_space *space)
{
	return seed_groups_create(self, space, before_add_free);
}

const struct bench_competitor bench_seed_before = {
	.name = "seed-before",
	.summary = "btrfs 2008 before the patch: a mutex per group over the search",
	.traits = BENCH_TRAIT_TREES_OF_OTHER,
	.work_divisor = 1,
	.create = before_create,
	.destroy = seed_groups_destroy,
	.claim = before_claim,
	.give_back = before_give_back,
	.add_free = before_add_free,
	.describe = seed_groups_describe,
};

const struct bench_competitor bench_seed_before_cluster = {
	.name = "seed-before-cluster",
	.summary = "seed-before, asking for 2 MiB to spare first",
	.traits = BENCH_TRAIT_BY_NAME,
	.work_divisor = 5,
	.context = &seed_empty_cluster,
	.create = before_create,
	.destroy = seed_groups_destroy,
	.claim = before_claim,
	.give_back = before_give_back,
	.add_free = before_add_free,
	.describe = seed_groups_describe,
};
