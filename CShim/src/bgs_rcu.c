/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bgs_rcu.c - the writer's side of bgs_rcu.h. */
#include "bgs_rcu.h"
#include "bgs_lock.h"

#ifdef BGS_TSAN
char bgs_rcu_tsan_token;
#endif

void bgs_rcu_synchronize(void)
{
	/* No read section takes a mutex, so those of the layers above may be held. */
	BGS_ASSERT_LOCKS_BELOW(BGS_MUTEX_GROUPS);
	urcu_bp_synchronize_rcu();
	BGS_TSAN_ACQUIRE(&bgs_rcu_tsan_token);
}
