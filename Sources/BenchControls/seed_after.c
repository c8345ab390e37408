/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seed_after.c - the allocator after the patch: a spin lock over the trees alone.
 *
 * Finding claims at the same moment. What the checks refuse afterwards is given
 * back, which takes the lock a second time. The spin lock tests, then sets, and
 * never gives the processor up: the kernel needs no more, since nobody is
 * preempted there while holding one. The ticket lock the kernel had by then does
 * not finish in user space once threads outnumber processors.
 */
#include "controls.h"
#include "seed_groups.h"

#include <errno.h>
#include <stdlib.h>

static void lock_tree(struct seed_group *group)
{
	bool contended = false;

	while (atomic_exchange_explicit(&group->spin, true, memory_order_acquire)) {
		contended = true;
		while (atomic_load_explicit(&group->spin, memory_order_relaxed)) {
#if defined(__x86_64__)
			__builtin_ia32_pause();
#elif defined(__aarch64__)
			__asm__ volatile("yield");
#endif
		}
	}
	group->lock_taken++;
	group->lock_contended += contended;
}

static void unlock_tree(struct seed_group *group)
{
	atomic_store_explicit(&group->spin, false, memory_order_release);
}

static int add_to_group(struct seed_group *group, uint64_t address, uint64_t bytes)
{
	struct seed_entry *gone[2];
	struct seed_entry *spare = malloc(sizeof(*spare));

	if (!spare)
		return -ENOMEM;
	lock_tree(group);
	seed_tree_add(group, spare, address, bytes, gone);
	unlock_tree(group);
	free(gone[0]);
	free(gone[1]);
	return 0;
}

static bool find_after(struct seed_group *group, uint64_t search_start, uint64_t bytes,
		       uint64_t empty_size, uint64_t hint_limit, uint64_t *address_out)
{
	struct seed_entry *entry;
	struct seed_entry *used_up = NULL;
	uint64_t offset = 0;

	lock_tree(group);
	entry = seed_tree_search(group, search_start, bytes + empty_size);
	if (entry) {
		offset = entry->offset;
		used_up = seed_tree_take(group, entry, bytes);
	}
	unlock_tree(group);
	free(used_up);
	if (!entry)
		return false;
	if (offset + bytes > group->end || offset > hint_limit) {
		add_to_group(group, offset, bytes);
		return false;
	}
	*address_out = offset;
	return true;
}

static int after_claim(void *state, uint64_t bytes, uint64_t *address_out)
{
	return seed_find_free_extent(state, bytes, address_out, find_after) ? -ENOSPC : 0;
}

static int after_add_free(void *state, size_t index, uint64_t address, uint64_t bytes)
{
	return add_to_group(&((struct seed_groups *)state)->groups[index], address, bytes);
}

static int after_give_back(void *state, uint64_t address, uint64_t bytes)
{
	struct seed_groups *all = state;

	return add_to_group(&all->groups[address / all->group_bytes], address, bytes);
}

static void *after_create(const struct bench_competitor *self, const struct bench_space *space)
{
	return seed_groups_create(self, space, after_add_free);
}

const struct bench_competitor bench_seed_after = {
	.name = "seed-after",
	.summary = "btrfs 2008 after the patch: a spin lock over the trees, claim on find",
	.work_divisor = 1,
	.create = after_create,
	.destroy = seed_groups_destroy,
	.claim = after_claim,
	.give_back = after_give_back,
	.add_free = after_add_free,
	.describe = seed_groups_describe,
};

const struct bench_competitor bench_seed_after_cluster = {
	.name = "seed-after-cluster",
	.summary = "seed-after, asking for 2 MiB to spare first",
	.traits = BENCH_TRAIT_BY_NAME,
	.work_divisor = 5,
	.context = &seed_empty_cluster,
	.create = after_create,
	.destroy = seed_groups_destroy,
	.claim = after_claim,
	.give_back = after_give_back,
	.add_free = after_add_free,
	.describe = seed_groups_describe,
};
