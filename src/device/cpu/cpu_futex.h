/* Sleeping on a word and waking who sleeps there (Linux futex), within one process. */
#ifndef ZRT_DEVICE_CPU_CPU_FUTEX_H
#define ZRT_DEVICE_CPU_CPU_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Turns that a waiter looks again before it sleeps: a few hundred ns, because the core that it would spin on computes. */
#define ZRT__CPU_SPINS 64

static inline void zrt__cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static inline void zrt__cpu_futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static inline void zrt__cpu_futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
