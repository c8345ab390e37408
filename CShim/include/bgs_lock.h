/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_lock.h - spin locks, mutexes, and the one statement of lock order.
 *
 * A spin lock is held for a bounded piece of work on memory: under it there is
 * no system call, no allocation, no callback. It spins briefly, then gives the
 * processor up, then sleeps: with more threads than cores the holder is often
 * not running, and a waiter that keeps the core (or a ticket lock, which makes
 * the next in line wait for a thread that sleeps) stops everybody.
 *
 * A thread may take a lock only if its class is above every class it holds.
 * Builds with BGS_CHECK_LOCKS keep the held classes per thread and stop at the
 * first violation; there every lock is taken from C, so one define decides for all.
 */
#ifndef BGS_LOCK_H
#define BGS_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum bgs_lock_class {
	/* Edge named by the function that takes the next lock while holding this one. */
	BGS_MUTEX_FILE = 1, /* one open inode: File.write()             -> commit, tree     */
	BGS_MUTEX_COMMIT,   /* TreeStore.commit()                       -> tree, roots      */
	BGS_MUTEX_TREE,	    /* TreeStore.change(): claims tree blocks   -> all that follow  */
	BGS_RWLOCK_ROOTS,   /* caching a group by the committed trees   -> free space, map  */
	BGS_MUTEX_CHUNKS,   /* the chunk hook: adds a group, maps it    -> map, groups      */
	BGS_MUTEX_SUMS,	    /* checksums of data that no tree records yet; nothing below    */
	BGS_RWLOCK_MAP,	    /* logical to physical; innermost of the devices                */
	BGS_MUTEX_GROUPS,   /* bgs_allocator_add_group(), _remove_group() -> free space     */
	BGS_MUTEX_STATE,    /* caching and chunk states: bgs_group_finish_caching() -> free space */
	BGS_MUTEX_CLUSTER_REFILL, /* bgs_cluster_refill()                 -> free space       */
	BGS_SPIN_MAGAZINE,	  /* bgs_magazine_open()                      -> free space       */
	BGS_SPIN_FREE_SPACE,	  /* bgs_group_give_back(), recall            -> cluster          */
	BGS_SPIN_CLUSTER,	  /* innermost                                                    */
};

/* Guards nothing by itself; whoever embeds it says what it guards. */
struct bgs_spin {
	/* 0 free, 1 held. */
	uint32_t word;
	/* enum bgs_lock_class; never changes. */
	uint32_t lock_class;
	/* Times taken; written by the holder only, read by anyone. */
	uint64_t taken;
	/* Times a taker found it held; relaxed atomic. */
	uint64_t contended;
};

struct bgs_mutex {
	pthread_mutex_t mutex;
	uint32_t lock_class;
};

/* Many readers or one writer; a reader must not take it again. */
struct bgs_rwlock {
	pthread_rwlock_t rwlock;
	uint32_t lock_class;
};

void bgs_spin_lock_slow(struct bgs_spin *lock);
/* Check and record in BGS_CHECK_LOCKS builds; see bgs_lock.c. */
void bgs_lock_check_take(uint32_t lock_class);
void bgs_lock_check_drop(uint32_t lock_class);
/* Abort unless the calling thread holds a lock of this class; checked builds only. */
void bgs_lock_check_held(uint32_t lock_class);
/* Abort if it holds a lock of this class or above. */
void bgs_lock_check_below(uint32_t lock_class);
/* Abort if the calling thread holds a spin lock: before a system call. */
void bgs_lock_check_no_spin(void);

#ifdef BGS_CHECK_LOCKS
#define BGS_ASSERT_HELD(lock)		   bgs_lock_check_held((lock)->lock_class)
#define BGS_ASSERT_LOCKS_BELOW(lock_class) bgs_lock_check_below(lock_class)
#else
#define BGS_ASSERT_HELD(lock)		   ((void)(lock))
#define BGS_ASSERT_LOCKS_BELOW(lock_class) ((void)(lock_class))
#endif

static inline void bgs_spin_init(struct bgs_spin *lock, enum bgs_lock_class lock_class)
{
	lock->word = 0;
	lock->lock_class = (uint32_t)lock_class;
	lock->taken = 0;
	lock->contended = 0;
}

static inline bool bgs_spin_trylock(struct bgs_spin *lock)
{
	uint32_t expected = 0;

	/* Acquire: pairs with the release store in bgs_spin_unlock(). */
	if (!__atomic_compare_exchange_n(&lock->word, &expected, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
#ifdef BGS_CHECK_LOCKS
	bgs_lock_check_take(lock->lock_class);
#endif
	__atomic_store_n(&lock->taken, __atomic_load_n(&lock->taken, __ATOMIC_RELAXED) + 1,
			 __ATOMIC_RELAXED);
	return true;
}

static inline void bgs_spin_lock(struct bgs_spin *lock)
{
	if (__builtin_expect(!bgs_spin_trylock(lock), 0))
		bgs_spin_lock_slow(lock);
}

static inline void bgs_spin_unlock(struct bgs_spin *lock)
{
#ifdef BGS_CHECK_LOCKS
	bgs_lock_check_drop(lock->lock_class);
#endif
	/* Release: pairs with the acquire in bgs_spin_trylock(). */
	__atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

int bgs_mutex_init(struct bgs_mutex *mutex, enum bgs_lock_class lock_class);
void bgs_mutex_destroy(struct bgs_mutex *mutex);
void bgs_mutex_lock(struct bgs_mutex *mutex);
void bgs_mutex_unlock(struct bgs_mutex *mutex);
/* Waits on condition with mutex given up meanwhile, as pthread_cond_wait(). */
void bgs_mutex_wait(struct bgs_mutex *mutex, pthread_cond_t *condition);

int bgs_rwlock_init(struct bgs_rwlock *lock, enum bgs_lock_class lock_class);
void bgs_rwlock_destroy(struct bgs_rwlock *lock);
void bgs_rwlock_read_lock(struct bgs_rwlock *lock);
void bgs_rwlock_write_lock(struct bgs_rwlock *lock);
/* Ends either. */
void bgs_rwlock_unlock(struct bgs_rwlock *lock);

#ifdef __cplusplus
}
#endif

#endif
