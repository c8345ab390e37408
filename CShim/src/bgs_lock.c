/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bgs_lock.c - the waiting side of spin locks, mutexes, and the check of lock order.
 */
#include "bgs_lock.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/*
 * How long a waiter keeps the core, then how often it offers it, before it
 * sleeps. A holder that runs is done within some hundred ns; one that does not
 * run needs this core.
 */
#define SPIN_TURNS     100
#define YIELD_TURNS    32
#define SLEEP_NS_FIRST 20000
#define SLEEP_NS_MAX   1000000

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

void bgs_spin_lock_slow(struct bgs_spin *lock)
{
	long sleep_ns = SLEEP_NS_FIRST;
	unsigned turn;

	__atomic_fetch_add(&lock->contended, 1, __ATOMIC_RELAXED);
	/* Ends when the lock is taken: a holder never blocks, and every turn here ends. */
	for (turn = 0;; turn++) {
		if (__atomic_load_n(&lock->word, __ATOMIC_RELAXED) == 0 && bgs_spin_trylock(lock))
			return;
		if (turn < SPIN_TURNS) {
			cpu_relax();
		} else if (turn < SPIN_TURNS + YIELD_TURNS) {
			sched_yield();
		} else {
			struct timespec pause = {.tv_sec = 0, .tv_nsec = sleep_ns};

			nanosleep(&pause, NULL);
			if (sleep_ns < SLEEP_NS_MAX)
				sleep_ns *= 2;
		}
	}
}

/* Locks a thread holds, in the order taken; deeper than any order above allows. */
#define HELD_MAX 16
static _Thread_local uint32_t held[HELD_MAX];
static _Thread_local unsigned held_count;

static void order_violation(const char *what, uint32_t lock_class)
{
	unsigned i;

	fprintf(stderr, "blockgroups: lock order: %s class %u while holding", what, lock_class);
	for (i = 0; i < held_count; i++)
		fprintf(stderr, " %u", held[i]);
	fprintf(stderr, "\n");
	abort();
}

void bgs_lock_check_take(uint32_t lock_class)
{
	unsigned i;

	for (i = 0; i < held_count; i++)
		if (held[i] >= lock_class)
			order_violation("taking", lock_class);
	if (held_count == HELD_MAX)
		order_violation("too many locks, taking", lock_class);
	held[held_count++] = lock_class;
}

void bgs_lock_check_drop(uint32_t lock_class)
{
	unsigned i;

	for (i = held_count; i > 0; i--) {
		if (held[i - 1] != lock_class)
			continue;
		for (; i < held_count; i++)
			held[i - 1] = held[i];
		held_count--;
		return;
	}
	order_violation("dropping", lock_class);
}

void bgs_lock_check_held(uint32_t lock_class)
{
	unsigned i;

	for (i = 0; i < held_count; i++)
		if (held[i] == lock_class)
			return;
	order_violation("not holding", lock_class);
}

void bgs_lock_check_below(uint32_t lock_class)
{
	unsigned i;

	for (i = 0; i < held_count; i++)
		if (held[i] >= lock_class)
			order_violation("waiting for others below", lock_class);
}

void bgs_lock_check_no_spin(void)
{
	unsigned i;

	for (i = 0; i < held_count; i++)
		if (held[i] >= BGS_SPIN_MAGAZINE)
			order_violation("making a system call", 0);
}

int bgs_mutex_init(struct bgs_mutex *mutex, enum bgs_lock_class lock_class)
{
	mutex->lock_class = (uint32_t)lock_class;
	return -pthread_mutex_init(&mutex->mutex, NULL);
}

void bgs_mutex_destroy(struct bgs_mutex *mutex)
{
	pthread_mutex_destroy(&mutex->mutex);
}

void bgs_mutex_lock(struct bgs_mutex *mutex)
{
#ifdef BGS_CHECK_LOCKS
	bgs_lock_check_take(mutex->lock_class);
#endif
	pthread_mutex_lock(&mutex->mutex);
}

void bgs_mutex_unlock(struct bgs_mutex *mutex)
{
	pthread_mutex_unlock(&mutex->mutex);
#ifdef BGS_CHECK_LOCKS
	bgs_lock_check_drop(mutex->lock_class);
#endif
}

void bgs_mutex_wait(struct bgs_mutex *mutex, pthread_cond_t *condition)
{
	pthread_cond_wait(condition, &mutex->mutex);
}

int bgs_rwlock_init(struct bgs_rwlock *lock, enum bgs_lock_class lock_class)
{
	lock->lock_class = (uint32_t)lock_class;
	return -pthread_rwlock_init(&lock->rwlock, NULL);
}

void bgs_rwlock_destroy(struct bgs_rwlock *lock)
{
	pthread_rwlock_destroy(&lock->rwlock);
}

void bgs_rwlock_read_lock(struct bgs_rwlock *lock)
{
#ifdef BGS_CHECK_LOCKS
	bgs_lock_check_take(lock->lock_class);
#endif
	pthread_rwlock_rdlock(&lock->rwlock);
}

void bgs_rwlock_write_lock(struct bgs_rwlock *lock)
{
#ifdef BGS_CHECK_LOCKS
	bgs_lock_check_take(lock->lock_class);
#endif
	pthread_rwlock_wrlock(&lock->rwlock);
}

void bgs_rwlock_unlock(struct bgs_rwlock *lock)
{
	pthread_rwlock_unlock(&lock->rwlock);
#ifdef BGS_CHECK_LOCKS
	bgs_lock_check_drop(lock->lock_class);
#endif
}
