/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_raid.h - the arithmetic of RAID 5 and 6 rebuilds
 *
 * Bytes are elements of GF(2^8) with polynomial 0x11d and generator 2, as in
 * Linux RAID 6: P is the sum of the data stripes, Q the sum of 2^i times data
 * stripe i. A lost data stripe is a linear combination of what is left; it is
 * summed up one survivor at a time, so a rebuild needs two buffers whatever the
 * number of stripes:
 *
 *	bgs_raid_plan() once, then for each survivor that has a coefficient
 *	bgs_raid_add() into a zeroed buffer.
 *
 * Nothing here locks or allocates; any thread may call.
 */
#ifndef BGS_RAID_H
#define BGS_RAID_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Data stripes beyond this have no Q coefficient of their own. */
#define BGS_RAID6_DATA_MAX 255

/* How one lost data stripe follows from the survivors. */
struct bgs_raid_plan {
	/* Coefficient of data stripe i: data_base + data_scale * 2^i, in the field. */
	uint8_t data_base;
	uint8_t data_scale;
	uint8_t p;
	uint8_t q;
};

/**
 * bgs_raid_plan_p() - rebuild one data stripe from the others and P.
 *
 * Return: the plan.
 */
struct bgs_raid_plan bgs_raid_plan_p(void);

/**
 * bgs_raid_plan_q() - rebuild data stripe @lost from the others and Q.
 * @lost:	below BGS_RAID6_DATA_MAX.
 *
 * Return: the plan.
 */
struct bgs_raid_plan bgs_raid_plan_q(unsigned int lost);

/**
 * bgs_raid_plan_pq() - rebuild data stripe @lost while @other is lost too.
 * @lost:	the stripe wanted; below BGS_RAID6_DATA_MAX.
 * @other:	the other lost data stripe; not @lost, below BGS_RAID6_DATA_MAX.
 *
 * Return: the plan.
 */
struct bgs_raid_plan bgs_raid_plan_pq(unsigned int lost, unsigned int other);

/**
 * bgs_raid_data_coefficient() - what data stripe @index is multiplied with.
 * @plan:	plan.
 * @index:	below BGS_RAID6_DATA_MAX, unless the plan is bgs_raid_plan_p()'s.
 *
 * Return: the coefficient.
 */
uint8_t bgs_raid_data_coefficient(struct bgs_raid_plan plan, unsigned int index);

/**
 * bgs_raid_add() - add @coefficient times @source to @sum, byte by byte.
 * @sum:		bytes to add to.
 * @source:		bytes of a survivor; does not overlap @sum.
 * @length:		bytes, below 2^31.
 * @coefficient:	0 changes nothing.
 */
void bgs_raid_add(void *sum, const void *source, size_t length, uint8_t coefficient);

#ifdef __cplusplus
}
#endif

#endif
