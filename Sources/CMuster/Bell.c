// SPDX-License-Identifier: Apache-2.0
//
// The bell of a process: a robust lock in shared memory that its first thread holds for good. The kernel marks it and wakes
// who waits for it when that thread ends: before it takes the process' memory apart, and so before a pidfd is readable.
#define _GNU_SOURCE 1

#include "CMuster.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

// The kernel and the C library agree on where the lock's word is; everybody else has to know.
_Static_assert(offsetof(pthread_mutex_t, __data.__lock) == 0, "the word is elsewhere");
_Static_assert(sizeof(pthread_mutex_t) <= CMUSTER_BELL_SIZE, "the lock needs more room");
_Static_assert(sizeof(struct cmuster_futex) == 24, "this is struct futex_waitv, which older headers lack");

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
enum { flag_32_bits = 2, flag_private = 128 };

int cmuster_bell_hold(void *bell) {
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);
    if (error != 0) return error;
    error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (error == 0) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (error == 0) error = pthread_mutex_init(bell, &attributes);
    if (error == 0) error = pthread_mutex_lock(bell);
    pthread_mutexattr_destroy(&attributes);
    return error;
}

uint32_t cmuster_bell_listen(void *bell) {
    _Atomic uint32_t *word = bell;
    uint32_t value = atomic_load(word);
    // Its end wakes only who has said so in the word.
    do {
        if ((value & FUTEX_TID_MASK) == 0) return 0;
    } while (!atomic_compare_exchange_weak(word, &value, value | FUTEX_WAITERS));
    return value | FUTEX_WAITERS;
}

bool cmuster_bell_has_rung(const void *bell) {
    return (atomic_load((const _Atomic uint32_t *)bell) & FUTEX_OWNER_DIED) != 0;
}

struct cmuster_futex cmuster_futex_of(const void *word, uint32_t value, bool is_shared) {
    return (struct cmuster_futex){
        .value = value, .address = (uintptr_t)word, .flags = flag_32_bits | (is_shared ? 0 : flag_private)};
}

int cmuster_futex_wait_any(const struct cmuster_futex *futexes, int count) {
    return syscall(SYS_futex_waitv, futexes, count, 0, NULL, 0) < 0 ? errno : 0;
}

void cmuster_futex_wake(const void *word) {
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}
