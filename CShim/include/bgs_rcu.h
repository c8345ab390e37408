/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_rcu.h - read sections and publishing, on userspace RCU (urcu-bp).
 *
 * urcu-bp registers a thread at its first read section, so a caller of the
 * library need not know. A read section is short and takes no mutex; no pointer
 * found in it outlives it without a reference. bgs_rcu_synchronize() is called
 * with no lock of the allocator held (of the layers above: they may be, no read
 * section waits for them).
 */
#ifndef BGS_RCU_H
#define BGS_RCU_H

#ifndef _LGPL_SOURCE
#define _LGPL_SOURCE 1
#endif
#include <urcu/urcu-bp.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * ThreadSanitizer does not see the ordering that RCU gets from the kernel: tell
 * it that what happened in a read section comes before the end of a grace period.
 */
#ifdef BGS_TSAN
extern char bgs_rcu_tsan_token;
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define BGS_TSAN_ACQUIRE(address) __tsan_acquire(address)
#define BGS_TSAN_RELEASE(address) __tsan_release(address)
#else
#define BGS_TSAN_ACQUIRE(address) ((void)0)
#define BGS_TSAN_RELEASE(address) ((void)0)
#endif

static inline void bgs_rcu_read_lock(void)
{
	urcu_bp_read_lock();
}

static inline void bgs_rcu_read_unlock(void)
{
	BGS_TSAN_RELEASE(&bgs_rcu_tsan_token);
	urcu_bp_read_unlock();
}

/* Waits until every read section that began before the call has ended. */
void bgs_rcu_synchronize(void);

/* Publish with release; a reader's acquire load sees everything written before. */
#define bgs_publish(pointer, value) __atomic_store_n(&(pointer), (value), __ATOMIC_RELEASE)
#define bgs_dereference(pointer)    __atomic_load_n(&(pointer), __ATOMIC_ACQUIRE)

#ifdef __cplusplus
}
#endif

#endif
