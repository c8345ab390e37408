/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bgs_raid.h"

#include <isa-l/erasure_code.h>

/* 2 to the power of @exponent. 2 generates the field, so exponents count modulo 255. */
static uint8_t power_of_two(unsigned int exponent)
{
	uint8_t result = 1;

	for (exponent %= 255; exponent > 0; exponent--)
		result = gf_mul(result, 2);
	return result;
}

struct bgs_raid_plan bgs_raid_plan_p(void)
{
	struct bgs_raid_plan plan = {.data_base = 1, .data_scale = 0, .p = 1, .q = 0};

	return plan;
}

/* D_x = 2^-x (Q + sum of 2^i D_i over the others) */
struct bgs_raid_plan bgs_raid_plan_q(unsigned int lost)
{
	uint8_t inverse = gf_inv(power_of_two(lost));
	struct bgs_raid_plan plan = {.data_base = 0, .data_scale = inverse, .p = 0, .q = inverse};

	return plan;
}

/*
 * With x wanted and y lost, P and the others give D_x + D_y, Q and the others
 * give 2^x D_x + 2^y D_y. Adding 2^y times the first to the second leaves
 * (2^x + 2^y) D_x.
 */
struct bgs_raid_plan bgs_raid_plan_pq(unsigned int lost, unsigned int other)
{
	uint8_t y = power_of_two(other);
	uint8_t scale = gf_inv(power_of_two(lost) ^ y);
	struct bgs_raid_plan plan = {
		.data_base = gf_mul(scale, y),
		.data_scale = scale,
		.p = gf_mul(scale, y),
		.q = scale,
	};

	return plan;
}

uint8_t bgs_raid_data_coefficient(struct bgs_raid_plan plan, unsigned int index)
{
	if (plan.data_scale == 0)
		return plan.data_base;
	return plan.data_base ^ gf_mul(plan.data_scale, power_of_two(index));
}

void bgs_raid_add(void *sum, const void *source, size_t length, uint8_t coefficient)
{
	unsigned char *to = (unsigned char *)sum;
	const unsigned char *from = (const unsigned char *)source;
	unsigned char table[32];

	if (coefficient == 0)
		return;
	if (coefficient == 1) {
		for (size_t i = 0; i < length; i++)
			to[i] ^= from[i];
		return;
	}
	gf_vect_mul_init(coefficient, table);
	/* ISA-L takes pointers to non-const, but only reads the source. */
	ec_encode_data_update((int)length, 1, 1, 0, table, (unsigned char *)(uintptr_t)from, &to);
}
