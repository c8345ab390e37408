/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_directory.c - see bgs_directory.h. */
#include "bgs_directory_find.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A thread that has not claimed for this long no longer has a lane. */
#define LANE_IDLE_MS 500

int bgs_directory_init(struct bgs_directory *directory)
{
	memset(directory, 0, sizeof(*directory));
	return 0;
}

void bgs_directory_destroy(struct bgs_directory *directory)
{
	uint32_t i;

	for (i = 0; i < directory->block_count; i++)
		free(directory->blocks[i]);
	for (i = 0; i < directory->node_count; i++)
		free(directory->nodes[i]);
	for (i = 0; i < directory->retired_count; i++)
		free(directory->retired[i]);
	free(directory->blocks);
	free(directory->nodes);
}

static void *zeroed_lines(size_t bytes)
{
	void *memory;

	bytes = (bytes + BGS_CACHE_LINE - 1) & ~(size_t)(BGS_CACHE_LINE - 1);
	memory = aligned_alloc(BGS_CACHE_LINE, bytes);
	if (memory)
		memset(memory, 0, bytes);
	return memory;
}

/* Make room for one more block pointer, and for the node over it. */
static int grow(struct bgs_directory *directory)
{
	uint32_t capacity = directory->block_capacity ? directory->block_capacity * 2 : 64;
	uint32_t node_capacity = capacity / BGS_NODE_BLOCKS;
	struct bgs_block **blocks = calloc(capacity, sizeof(*blocks));
	struct bgs_node **nodes = calloc(node_capacity, sizeof(*nodes));

	if (!blocks || !nodes || directory->retired_count + 2 > 64) {
		free(blocks);
		free(nodes);
		return -ENOMEM;
	}
	if (directory->block_capacity) {
		memcpy(blocks, directory->blocks, directory->block_count * sizeof(*blocks));
		memcpy(nodes, directory->nodes, directory->node_count * sizeof(*nodes));
		directory->retired[directory->retired_count++] = directory->blocks;
		directory->retired[directory->retired_count++] = directory->nodes;
	}
	bgs_publish(directory->blocks, blocks);
	bgs_publish(directory->nodes, nodes);
	directory->block_capacity = capacity;
	return 0;
}

/* Never written; not const, as the blocks beside it are not. */
static struct bgs_block no_block;

static struct bgs_node *new_node(void)
{
	struct bgs_node *node = zeroed_lines(sizeof(*node));

	for (unsigned i = 0; node && i < BGS_FEW_BLOCKS; i++)
		node->few[i] = &no_block;
	return node;
}

static void add_to_node(struct bgs_node *node, unsigned place, struct bgs_block *block)
{
	bgs_publish(node->blocks[place], block);
	if (place < BGS_FEW_BLOCKS)
		bgs_publish(node->few[place], block);
	else
		bgs_publish(node->few[0], (struct bgs_block *)NULL);
}

static int add_block(struct bgs_directory *directory)
{
	uint32_t number = directory->block_count;
	struct bgs_block *block;

	if (number == directory->block_capacity && grow(directory))
		return -ENOMEM;
	if (number / BGS_NODE_BLOCKS == directory->node_count) {
		struct bgs_node *node = new_node();

		if (!node)
			return -ENOMEM;
		bgs_publish(directory->nodes[directory->node_count], node);
		directory->node_count++;
	}
	block = zeroed_lines(sizeof(*block));
	if (!block)
		return -ENOMEM;
	block->number = number;
	block->node = directory->nodes[number / BGS_NODE_BLOCKS];
	add_to_node(block->node, number % BGS_NODE_BLOCKS, block);
	bgs_publish(directory->blocks[number], block);
	/* Release: pairs with the acquire of block_count by every reader. */
	__atomic_store_n(&directory->block_count, number + 1, __ATOMIC_RELEASE);
	bgs_publish(directory->only_node, directory->node_count == 1 ? block->node : NULL);
	return 0;
}

int bgs_directory_slot_take(struct bgs_directory *directory, struct bgs_block **block_out,
			    uint8_t *slot_out)
{
	struct bgs_block *block;
	uint32_t slot = directory->slot_count;

	/* Slots given up are used first. */
	if (directory->group_count < directory->slot_count) {
		for (slot = 0; slot < directory->slot_count; slot++) {
			block = directory->blocks[slot / BGS_BLOCK_GROUPS];
			if (block->vacant & (1u << slot % BGS_BLOCK_GROUPS))
				break;
		}
	}
	if (slot == directory->slot_count) {
		if (slot == directory->block_count * BGS_BLOCK_GROUPS && add_block(directory))
			return -ENOMEM;
		/* Release: pairs with the acquire in bgs_directory_home(). */
		__atomic_store_n(&directory->slot_count, slot + 1, __ATOMIC_RELEASE);
	}
	block = directory->blocks[slot / BGS_BLOCK_GROUPS];
	slot %= BGS_BLOCK_GROUPS;
	block->vacant &= (uint16_t) ~(1u << slot);
	directory->group_count++;
	*block_out = block;
	*slot_out = (uint8_t)slot;
	return 0;
}

void bgs_directory_link(struct bgs_block *block, unsigned slot, struct bgs_group *group)
{
	bgs_publish(block->groups[slot], group);
}

void bgs_directory_unlink(struct bgs_block *block, unsigned slot)
{
	bgs_publish(block->groups[slot], (struct bgs_group *)NULL);
}

void bgs_directory_slot_free(struct bgs_directory *directory, struct bgs_block *block,
			     unsigned slot)
{
	block->vacant |= (uint16_t)(1u << slot);
	directory->group_count--;
}

void bgs_node_set(struct bgs_node *node, const struct bgs_block *block, unsigned bin)
{
	__atomic_fetch_or(&node->bits[bin], UINT64_C(1) << (block->number % BGS_NODE_BLOCKS),
			  __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&node->summary[bin / 64], UINT64_C(1) << (bin % 64), __ATOMIC_SEQ_CST);
}

void bgs_node_clear_bit(struct bgs_node *node, const struct bgs_block *block, unsigned bin)
{
	uint64_t bit = UINT64_C(1) << (block->number % BGS_NODE_BLOCKS);

	__atomic_fetch_and(&node->bits[bin], ~bit, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&block->bits[bin], __ATOMIC_SEQ_CST))
		__atomic_fetch_or(&node->bits[bin], bit, __ATOMIC_SEQ_CST);
}

void bgs_node_clear_summary(struct bgs_node *node, unsigned bin)
{
	uint64_t bit = UINT64_C(1) << (bin % 64);

	__atomic_fetch_and(&node->summary[bin / 64], ~bit, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&node->bits[bin], __ATOMIC_SEQ_CST))
		__atomic_fetch_or(&node->summary[bin / 64], bit, __ATOMIC_SEQ_CST);
}

struct bgs_group *bgs_directory_find_far(struct bgs_directory *directory,
					 const struct bgs_range *range, unsigned *bin)
{
	struct bgs_node **nodes = bgs_dereference(directory->nodes);
	uint32_t n = range->first / BGS_NODE_BLOCKS, last = range->last / BGS_NODE_BLOCKS;
	unsigned best = BGS_BINS;
	struct bgs_group *group = NULL;

	for (; n <= last && best > *bin; n++) {
		uint32_t base = n * BGS_NODE_BLOCKS;
		unsigned here = *bin;
		struct bgs_group *candidate =
			find_in_node(bgs_dereference(nodes[n]), range_mask(range, base),
				     range->slots, &here, best);

		if (candidate) {
			group = candidate;
			best = here;
		}
	}
	*bin = best;
	return group;
}

static uint32_t coarse_ms(void)
{
	struct timespec now;
	uint32_t ms;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	ms = (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
	return ms ? ms : 1;
}

/* Count the threads that claimed lately, and find which of them this one is. */
static void lanes_refresh(struct bgs_lanes *lanes, unsigned self)
{
	uint32_t now = coarse_ms();
	uint32_t active = 0, rank = 0;
	unsigned i;

	__atomic_store_n(&lanes->seen_ms[self], now, __ATOMIC_RELAXED);
	for (i = 0; i < BGS_LANE_SLOTS; i++) {
		uint32_t seen = __atomic_load_n(&lanes->seen_ms[i], __ATOMIC_RELAXED);

		if (!seen || now - seen > LANE_IDLE_MS)
			continue;
		if (i < self)
			rank++;
		active++;
	}
	__atomic_store_n(&lanes->lane_of[self], (uint8_t)(rank + 1), __ATOMIC_RELAXED);
	if (__atomic_load_n(&lanes->count, __ATOMIC_RELAXED) != active)
		__atomic_store_n(&lanes->count, active, __ATOMIC_RELAXED);
}

bool bgs_directory_home_slow(struct bgs_directory *directory, struct bgs_lanes *lanes,
			     struct bgs_range *range_out)
{
	unsigned self = bgs_thread_ordinal() % BGS_LANE_SLOTS;
	uint32_t blocks, groups, count, lane, first, last;

	if (!bgs_directory_all(directory, range_out))
		return false;
	if (bgs_thread_self.ticks % BGS_LANE_TICKS == 1 ||
	    !__atomic_load_n(&lanes->lane_of[self], __ATOMIC_RELAXED))
		lanes_refresh(lanes, self);
	count = __atomic_load_n(&lanes->count, __ATOMIC_RELAXED);
	if (count <= 1)
		return true;

	lane = (__atomic_load_n(&lanes->lane_of[self], __ATOMIC_RELAXED) - 1u) % count;
	blocks = range_out->last + 1;
	if (count <= blocks) {
		range_out->first = (uint32_t)((uint64_t)blocks * lane / count);
		range_out->last = (uint32_t)((uint64_t)blocks * (lane + 1) / count) - 1;
		return true;
	}
	/* More threads than blocks: some slots of one block. */
	groups = __atomic_load_n(&directory->slot_count, __ATOMIC_ACQUIRE);
	/* The first block is there a moment before its first slot is used. */
	if (!groups)
		return true;
	if (count > groups)
		count = groups;
	lane %= count;
	first = (uint32_t)((uint64_t)groups * lane / count);
	last = (uint32_t)((uint64_t)groups * (lane + 1) / count) - 1;
	if (last / BGS_BLOCK_GROUPS != first / BGS_BLOCK_GROUPS)
		last = first | (BGS_BLOCK_GROUPS - 1);
	range_out->first = range_out->last = first / BGS_BLOCK_GROUPS;
	range_out->slots = (uint16_t)(((2u << (last % BGS_BLOCK_GROUPS)) - 1) &
				      ~((1u << (first % BGS_BLOCK_GROUPS)) - 1));
	return true;
}

struct bgs_group *bgs_directory_next(struct bgs_directory *directory, uint32_t *position)
{
	uint32_t count = __atomic_load_n(&directory->block_count, __ATOMIC_ACQUIRE);
	struct bgs_block **blocks = bgs_dereference(directory->blocks);

	for (; *position < count * BGS_BLOCK_GROUPS; (*position)++) {
		struct bgs_block *block = bgs_dereference(blocks[*position / BGS_BLOCK_GROUPS]);
		struct bgs_group *group =
			bgs_dereference(block->groups[*position % BGS_BLOCK_GROUPS]);

		if (group) {
			(*position)++;
			return group;
		}
	}
	return NULL;
}
