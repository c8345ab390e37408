/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_rcu.c - the writer's side of bgs_rcu.h. */
#include "bgs_rcu.h"
#include "bgs_lock.h"

#ifdef BGS_TSAN
char bgs_rcu_tsan_token;
#endif

void bgs_rcu_synchronize(void)
{
	BGS_ASSERT_NO_LOCKS();
	urcu_bp_synchronize_rcu();
	BGS_TSAN_ACQUIRE(&bgs_rcu_tsan_token);
}
