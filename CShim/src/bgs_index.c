/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_index.c - the free-space index: life cycle, argument checks, choice of code, trim.
 *
 * A region holds four areas: two for nodes, two for bitmaps. One of each kind may be in use or
 * under trim; the other one is there so that a change of form never has to wait for a trim.
 */
#include <sys/mman.h>

#include "bgs_index_internal.h"

/* Atomic only because tests change them beside others that run; any of them serves any index. */
static const struct bgs_index_operations *operations_chosen = &bgs_index_scalar;

const struct bgs_paths *bgs_paths_chosen;

static inline const struct bgs_index_operations *operations(void)
{
	return __atomic_load_n(&operations_chosen, __ATOMIC_RELAXED);
}

enum bgs_index_code bgs_index_best_code(void)
{
#ifdef __x86_64__
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") ||
	    !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("lzcnt") ||
	    !__builtin_cpu_supports("popcnt"))
		return BGS_CODE_PLAIN;
	/* Not where long vectors slow the core down: those CPUs are older than VBMI2. */
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vbmi2"))
		return BGS_CODE_AVX512;
	return BGS_CODE_AVX2;
#else
	return BGS_CODE_PLAIN;
#endif
}

void bgs_index_use_code(enum bgs_index_code code)
{
	const struct bgs_index_operations *chosen = &bgs_index_scalar;

#ifdef __x86_64__
	if (code == BGS_CODE_AVX512)
		chosen = &bgs_index_avx512;
	else if (code == BGS_CODE_AVX2)
		chosen = &bgs_index_avx2;
#endif
	(void)code;
	__atomic_store_n(&operations_chosen, chosen, __ATOMIC_RELAXED);
	__atomic_store_n(&bgs_paths_chosen, &chosen->paths, __ATOMIC_RELAXED);
}

/*
 * Before main() or at dlopen(), so that no call has to ask; and before the constructors of a
 * program that links the archive, which may call already (those without a priority come later).
 */
static __attribute__((constructor(101))) void choose_operations(void)
{
	bgs_index_use_code(bgs_index_best_code());
}

static size_t whole_lines(size_t bytes)
{
	return (bytes + 63) & ~(size_t)63;
}

/*
 * Words first, so that a page has whole chunks; behind them tables and summaries from the top, so
 * that the hot ones share a page. Return: how many lines the last page has to spare.
 */
static uint32_t lay_out_map(struct bgs_index *ix)
{
	size_t words[BGS_INDEX_LEVELS], tables[BGS_INDEX_TABLES];
	size_t at;

	words[0] = ((size_t)ix->sectors + 63) / 64;
	ix->level_count = 1;
	while (words[ix->level_count - 1] > 1) {
		words[ix->level_count] = (words[ix->level_count - 1] + 63) / 64;
		ix->level_count++;
	}
	tables[0] = ((((size_t)ix->sectors + 4095) >> BGS_CHUNK_SHIFT) + 63) / 64;
	ix->table_count = 1;
	while (tables[ix->table_count - 1] > 1) {
		tables[ix->table_count] = (tables[ix->table_count - 1] + 63) / 64;
		ix->table_count++;
	}
	at = whole_lines(words[0] * sizeof(uint64_t));
	for (unsigned t = ix->table_count; t-- > 0;
	     at += tables[t] * sizeof(struct bgs_class_table))
		*(t ? &ix->table_far[t - 1] : &ix->tables_at) = (uint32_t)at;
	for (unsigned l = ix->level_count; l-- > 1;) {
		*(l > 1 ? &ix->level_far[l - 2] : &ix->summary_at) = (uint32_t)at;
		at = whole_lines(at + words[l] * sizeof(struct bgs_level_word));
	}
	ix->map_pages = (uint32_t)bgs_pages(at);
	ix->tree_bytes_max = (uint32_t)(at - at / 6);
	/* A run costs 10 to 11 bytes in the tree: back when that is half of the bitmap. */
	ix->runs_min_usual = (uint32_t)(at / 22);
	ix->runs_min = ix->runs_min_usual;
	return (uint32_t)((bgs_map_area_bytes(ix) - at) / 64);
}

/* Tables and summaries at different places in different groups, or they compete for cache sets. */
static void shift_map(struct bgs_index *ix, uint32_t lines)
{
	uint32_t bytes = lines * 64;

	ix->tables_at += bytes;
	ix->summary_at += bytes;
	for (unsigned t = 1; t < BGS_INDEX_TABLES; t++)
		ix->table_far[t - 1] += bytes;
	for (unsigned l = 2; l < BGS_INDEX_LEVELS; l++)
		ix->level_far[l - 2] += bytes;
}

int bgs_index_init(struct bgs_index *ix, uint32_t sectors)
{
	unsigned char *region;
	uint32_t spare;

	if (!sectors || sectors > BGS_INDEX_SECTORS_MAX)
		return -EINVAL;
	memset(ix, 0, sizeof(*ix));
	ix->sectors = sectors;
	spare = lay_out_map(ix);
	region = bgs_index_region_get(bgs_region_bytes(ix));
	if (!region)
		return -ENOMEM;
	ix->area = region;
	ix->color = (uint8_t)(((uintptr_t)ix / 4096 * 7 + (uintptr_t)ix / 64 * 3 +
			       (uintptr_t)region / 4096 / 5) %
			      BGS_NEAR_LEAVES);
	shift_map(ix, ix->color % (spare + 1));
	ix->leaf_free = BGS_NONE;
	ix->node_free = BGS_NONE;
	ix->unit_next = BGS_NEAR_UNITS;
	for (unsigned j = 0; j < BGS_INDEX_SLOTS; j++)
		ix->root.key[j] = BGS_INDEX_PAD;
	return 0;
}

void bgs_index_destroy(struct bgs_index *ix)
{
	if (ix->area)
		bgs_index_region_put(bgs_area_address(ix, 0), bgs_region_bytes(ix));
	memset(ix, 0, sizeof(*ix));
}

static bool range_ok(const struct bgs_index *ix, uint32_t start, uint32_t len)
{
	return len && start < ix->sectors && len <= ix->sectors - start;
}

int bgs_index_add(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	struct bgs_run run;

	if (!range_ok(ix, start, len))
		return -EINVAL;
	return operations()->add(ix, start, len, &run);
}

int bgs_index_remove(struct bgs_index *ix, uint32_t start, uint32_t len)
{
	return range_ok(ix, start, len) ? operations()->remove(ix, start, len) : -EINVAL;
}

bool bgs_index_claim_best(struct bgs_index *ix, uint32_t len, uint32_t need, uint32_t *start_out)
{
	uint32_t run;

	need = need > len ? need : len;
	return len && need <= ix->free_sectors &&
	       operations()->claim_best(ix, len, need, start_out, &run);
}

bool bgs_index_claim_within(struct bgs_index *ix, uint32_t len, uint32_t low, uint32_t high,
			    uint32_t *start_out, uint32_t *run_out)
{
	return len && low >= len && low <= ix->free_sectors &&
	       operations()->claim_within(ix, len, low, high, start_out, run_out);
}

bool bgs_index_may_have(const struct bgs_index *ix, uint32_t low, uint32_t high)
{
	return operations()->may_have(ix, low, high);
}

bool bgs_index_claim_from(struct bgs_index *ix, uint32_t from, uint32_t end, uint32_t len,
			  uint32_t need, uint64_t align, uint64_t phase, uint32_t *start_out)
{
	need = need > len ? need : len;
	end = end < ix->sectors ? end : ix->sectors;
	if (!len || need > ix->free_sectors || from >= end || len > end - from)
		return false;
	if (align > 1)
		phase %= align;
	return operations()->claim_from(ix, from, end, len, need, align, phase, start_out);
}

bool bgs_index_claim_best_aligned(struct bgs_index *ix, uint32_t len, uint32_t need, uint64_t align,
				  uint64_t phase, uint32_t *start_out)
{
	need = need > len ? need : len;
	if (!len || need > ix->free_sectors)
		return false;
	if (align <= 1)
		return bgs_index_claim_best(ix, len, need, start_out);
	return operations()->claim_best_aligned(ix, len, need, align, phase % align, start_out);
}

uint32_t bgs_index_largest(const struct bgs_index *ix)
{
	return ix->run_count ? operations()->largest(ix) : 0;
}

bool bgs_index_next(const struct bgs_index *ix, uint32_t from, uint32_t *start_out,
		    uint32_t *len_out)
{
	return from < ix->sectors && operations()->next(ix, from, start_out, len_out);
}

bool bgs_index_is_free(const struct bgs_index *ix, uint32_t start, uint32_t len)
{
	uint32_t run_start, run_len;

	if (!len)
		return true;
	return range_ok(ix, start, len) && operations()->next(ix, start, &run_start, &run_len) &&
	       run_start <= start && run_len - (start - run_start) >= len;
}

bool bgs_index_any_free(const struct bgs_index *ix, uint32_t start, uint32_t len)
{
	uint32_t run_start, run_len;

	return len && start < ix->sectors && operations()->next(ix, start, &run_start, &run_len) &&
	       (run_start <= start || run_start - start < len);
}

size_t bgs_index_bytes(const struct bgs_index *ix)
{
	size_t bytes = sizeof(*ix);

	for (unsigned area = 0; area < 4; area++)
		bytes += bgs_area_touched(ix, area);
	return bytes;
}

void bgs_index_convert(struct bgs_index *ix, int form)
{
	operations()->convert(ix, form);
}

bool bgs_index_trim_begin(struct bgs_index *ix, struct bgs_index_trim *trim_out)
{
	unsigned area;

	if (ix->area_trimmed)
		return false;
	for (area = 0; area < 4; area++)
		if (ix->trim_wanted >> area & 1)
			break;
	if (area == 4)
		return false;
	ix->trim_wanted &= (uint8_t) ~(1u << area);
	ix->area_trimmed = (uint8_t)(area + 1);
	trim_out->address = bgs_area_address(ix, area);
	trim_out->bytes = bgs_area_touched(ix, area);
	trim_out->done = false;
	return true;
}

void bgs_index_trim_run(struct bgs_index_trim *trim)
{
	trim->done = madvise(trim->address, trim->bytes, MADV_DONTNEED) == 0;
}

void bgs_index_trim_end(struct bgs_index *ix, const struct bgs_index_trim *trim)
{
	/* An area whose pages could not go still counts, and is cleared by hand before its next
	 * use. */
	if (ix->area_trimmed > 2 && trim->done)
		ix->map_touched &= (uint8_t) ~(1u << (ix->area_trimmed - 3));
	else if (ix->area_trimmed && trim->done)
		ix->tree_touched[ix->area_trimmed - 1] = 0;
	ix->area_trimmed = 0;
}

void bgs_index_trim(struct bgs_index *ix)
{
	struct bgs_index_trim trim;

	/* At most one round an area. */
	for (unsigned area = 0; area < 4 && bgs_index_trim_begin(ix, &trim); area++) {
		bgs_index_trim_run(&trim);
		bgs_index_trim_end(ix, &trim);
	}
}
