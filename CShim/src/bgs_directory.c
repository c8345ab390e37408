/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_directory.c - see bgs_directory.h. */
#include "bgs_directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A thread that has not claimed for this long no longer has a lane. */
#define LANE_IDLE_MS 500
/* Claims between two looks at the clock, a power of two. */
#define LANE_TICKS 1024

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

static int add_block(struct bgs_directory *directory)
{
	uint32_t number = directory->block_count;
	struct bgs_block *block;

	if (number == directory->block_capacity && grow(directory))
		return -ENOMEM;
	if (number / BGS_NODE_BLOCKS == directory->node_count) {
		struct bgs_node *node = zeroed_lines(sizeof(*node));

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
	bgs_publish(directory->blocks[number], block);
	/* Release: pairs with the acquire of block_count by every reader. */
	__atomic_store_n(&directory->block_count, number + 1, __ATOMIC_RELEASE);
	return 0;
}

int bgs_directory_link(struct bgs_directory *directory, struct bgs_group *group,
		       struct bgs_block **block_out, uint32_t *slot_out)
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
		directory->slot_count++;
	}
	block = directory->blocks[slot / BGS_BLOCK_GROUPS];
	slot %= BGS_BLOCK_GROUPS;
	block->vacant &= (uint16_t)~(1u << slot);
	directory->group_count++;
	*block_out = block;
	*slot_out = slot;
	bgs_publish(block->groups[slot], group);
	return 0;
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

void bgs_block_set(struct bgs_block *block, unsigned slot, unsigned size_class)
{
	unsigned word = size_class / 64;
	uint64_t bit = UINT64_C(1) << (size_class % 64);

	/* The group's own bit is known to be clear, so adding sets it. */
	__atomic_fetch_add(&block->bits[size_class], (uint16_t)(1u << slot), __ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&block->node->bits[size_class], __ATOMIC_SEQ_CST) &
	      (UINT64_C(1) << (block->number % BGS_NODE_BLOCKS))))
		__atomic_fetch_or(&block->node->bits[size_class],
				  UINT64_C(1) << (block->number % BGS_NODE_BLOCKS),
				  __ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&block->node->summary[word], __ATOMIC_SEQ_CST) & bit))
		__atomic_fetch_or(&block->node->summary[word], bit, __ATOMIC_SEQ_CST);
}

void bgs_block_clear(struct bgs_block *block, unsigned slot, unsigned size_class)
{
	/* What is above is cleared by whoever finds it empty. */
	__atomic_fetch_sub(&block->bits[size_class], (uint16_t)(1u << slot), __ATOMIC_SEQ_CST);
}

/* Clear a bit above that was found empty below, unless it filled meanwhile. */
static void clear_node_bit(struct bgs_node *node, const struct bgs_block *block,
			   unsigned size_class)
{
	uint64_t bit = UINT64_C(1) << (block->number % BGS_NODE_BLOCKS);

	__atomic_fetch_and(&node->bits[size_class], ~bit, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&block->bits[size_class], __ATOMIC_SEQ_CST))
		__atomic_fetch_or(&node->bits[size_class], bit, __ATOMIC_SEQ_CST);
}

static void clear_node_summary(struct bgs_node *node, unsigned size_class)
{
	unsigned word = size_class / 64;
	uint64_t bit = UINT64_C(1) << (size_class % 64);

	__atomic_fetch_and(&node->summary[word], ~bit, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&node->bits[size_class], __ATOMIC_SEQ_CST))
		__atomic_fetch_or(&node->summary[word], bit, __ATOMIC_SEQ_CST);
}

/* The 16 step bytes of one class, as two words. */
struct step_bytes {
	uint64_t low, high;
};

static inline struct step_bytes load_steps(const struct bgs_block *block, unsigned size_class,
					   unsigned step)
{
	/* Bytes written by other threads: whatever mix is seen is a hint as good as any. */
	const uint64_t *words = (const uint64_t *)(const void *)block->steps[size_class];
	uint64_t mask = UINT64_C(0x0101010101010101) * (0xffu << step & 0xffu);
	struct step_bytes bytes = {
		.low = __atomic_load_n(&words[0], __ATOMIC_RELAXED) & mask,
		.high = __atomic_load_n(&words[1], __ATOMIC_RELAXED) & mask,
	};

	return bytes;
}

/* The lowest step that any of the bytes has; BGS_STEPS: none. */
static inline unsigned lowest_step(struct step_bytes bytes)
{
	uint64_t any = bytes.low | bytes.high;

	if (!any)
		return BGS_STEPS;
	any |= any >> 32;
	any |= any >> 16;
	any |= any >> 8;
	return (unsigned)__builtin_ctzll(any);
}

/* The slots whose byte has the step. */
static inline uint16_t slots_of_step(struct step_bytes bytes, unsigned step)
{
	/* One bit of each byte, gathered into the top byte by a multiplication. */
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t gather = UINT64_C(0x0102040810204080);
	uint64_t low = (bytes.low >> step & ones) * gather >> 56;
	uint64_t high = (bytes.high >> step & ones) * gather >> 56;

	return (uint16_t)(low | high << 8);
}

/* Blocks of one class that a search looks into for the best step, before it takes what it has. */
#define STEP_BLOCKS_MAX 8

/*
 * The slots of a block with the lowest step at or above fit->step in one class; in a
 * class above the request's own any slot of the class will do. 0: none.
 */
static inline uint16_t slots_in_block(struct bgs_block *block, uint16_t slots,
				      const struct bgs_fit *fit, unsigned *step_out)
{
	uint16_t bits = __atomic_load_n(&block->bits[fit->size_class], __ATOMIC_RELAXED) & slots;
	struct step_bytes bytes;
	uint16_t found;
	unsigned step;

	*step_out = 0;
	if (!bits || fit->size_class < BGS_STEPS_FROM - 1)
		return bits;
	bytes = load_steps(block, fit->size_class, fit->step);
	for (step = lowest_step(bytes); step < BGS_STEPS; step++) {
		found = slots_of_step(bytes, step) & bits;
		if (found) {
			*step_out = step;
			return found;
		}
	}
	*step_out = BGS_STEPS;
	return fit->size_class == fit->floor_class ? 0 : bits;
}

/* The best of the blocks of a node, among those of mask, in one class. */
static struct bgs_group *find_in_class(struct bgs_node *node, struct bgs_block *const *blocks,
				       uint64_t mask, uint16_t slot_mask, struct bgs_fit *fit)
{
	uint64_t bits = __atomic_load_n(&node->bits[fit->size_class], __ATOMIC_RELAXED) & mask;
	struct bgs_block *best = NULL;
	unsigned best_step = BGS_STEPS + 1, looked;
	uint16_t best_slots = 0;

	for (looked = 0; bits && looked < STEP_BLOCKS_MAX; bits &= bits - 1, looked++) {
		struct bgs_block *block = bgs_dereference(blocks[__builtin_ctzll(bits)]);
		unsigned step;
		uint16_t slots = slots_in_block(block, slot_mask, fit, &step);

		if (slots && step < best_step) {
			best = block;
			best_step = step;
			best_slots = slots;
			if (step <= fit->step)
				break;
		} else if (!slots &&
			   !__atomic_load_n(&block->bits[fit->size_class], __ATOMIC_RELAXED)) {
			clear_node_bit(node, block, fit->size_class);
		}
	}
	if (!best)
		return NULL;
	fit->step = best_step;
	return bgs_dereference(best->groups[__builtin_ctz(best_slots)]);
}

/* The first class of a summary at or above one; BGS_INDEX_CLASSES: none. */
static inline unsigned next_class(const uint64_t *summary, unsigned size_class)
{
	unsigned word = size_class / 64;
	uint64_t classes;

	if (size_class >= BGS_INDEX_CLASSES)
		return BGS_INDEX_CLASSES;
	classes = __atomic_load_n(&summary[word], __ATOMIC_RELAXED) &
		  (~UINT64_C(0) << (size_class % 64));
	while (!classes) {
		if (++word == BGS_SUMMARY_WORDS)
			return BGS_INDEX_CLASSES;
		classes = __atomic_load_n(&summary[word], __ATOMIC_RELAXED);
	}
	return word * 64 + (unsigned)__builtin_ctzll(classes);
}

/* The tightest of one node's blocks in mask, in classes below limit. */
static struct bgs_group *find_in_node(struct bgs_node *node, struct bgs_block *const *blocks,
				      uint64_t mask, uint16_t slot_mask, struct bgs_fit *fit,
				      unsigned limit)
{
	unsigned size_class = next_class(node->summary, fit->size_class);

	for (; size_class < limit; size_class = next_class(node->summary, size_class + 1)) {
		struct bgs_group *group;

		if (size_class != fit->size_class) {
			fit->size_class = size_class;
			fit->step = 0;
		}
		group = find_in_class(node, blocks, mask, slot_mask, fit);
		if (group)
			return group;
		if (!__atomic_load_n(&node->bits[size_class], __ATOMIC_RELAXED))
			clear_node_summary(node, size_class);
	}
	return NULL;
}

struct bgs_group *bgs_directory_find(struct bgs_directory *directory,
				     const struct bgs_range *range, struct bgs_fit *fit)
{
	struct bgs_block **blocks = bgs_dereference(directory->blocks);
	struct bgs_node **nodes = bgs_dereference(directory->nodes);
	uint32_t first = range->first / BGS_NODE_BLOCKS, last = range->last / BGS_NODE_BLOCKS, n;
	struct bgs_fit best = {.size_class = BGS_INDEX_CLASSES};
	struct bgs_group *group = NULL;

	for (n = first; n <= last; n++) {
		uint32_t base = n * BGS_NODE_BLOCKS;
		uint64_t mask = ~UINT64_C(0);
		struct bgs_fit here = *fit;
		struct bgs_group *candidate;

		if (range->first > base)
			mask &= ~UINT64_C(0) << (range->first - base);
		if (range->last - base < BGS_NODE_BLOCKS - 1)
			mask &= (UINT64_C(2) << (range->last - base)) - 1;
		candidate = find_in_node(bgs_dereference(nodes[n]), blocks + base, mask,
					 range->slots, &here, best.size_class);
		if (candidate) {
			group = candidate;
			best = here;
		}
	}
	if (group)
		*fit = best;
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

bool bgs_directory_home(struct bgs_directory *directory, struct bgs_lanes *lanes,
			struct bgs_range *range_out)
{
	unsigned self = bgs_thread_ordinal() % BGS_LANE_SLOTS;
	uint32_t blocks, groups, count, lane, first, last;

	if (!bgs_directory_all(directory, range_out))
		return false;
	if (bgs_thread_self.ticks++ % LANE_TICKS == 0 ||
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
	groups = __atomic_load_n(&directory->slot_count, __ATOMIC_RELAXED);
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
