#include "config.h"

#include "comm/mpi/meeting.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    SPINS = 100,                 /* a few microseconds: about what sleeping and waking cost */
    SLICE_NANOSECONDS = 50000000 /* a sleeper looks this often whether those it waits for are alive */
};

/* One rank's part of the segment. The first rank's head is the one in use. */
typedef struct part {
    struct {
        _Alignas(64) _Atomic uint32_t arrived;
        _Alignas(64) _Atomic uint32_t turn; /* sleepers wait on it */
        _Atomic uint32_t sleepers, broken;  /* broken: why, and by which rank; 0 while all is well */
    } head;
    _Alignas(64) _Atomic uint32_t reached; /* the last meeting this rank came to */
    _Atomic uint32_t closed;
    _Alignas(64) zrt__note notes[2];
    _Alignas(4096) char payloads[2][ZRT__PAYLOAD_BYTES];
    _Alignas(4096) char bounce[2][ZRT__BOUNCE_BYTES];
} part;

static part *part_of(const zrt__meeting *meeting, int rank)
{
    return (part *)meeting->segment->parts[rank];
}

static part *own(const zrt__meeting *meeting)
{
    return part_of(meeting, meeting->host->rank);
}

/* The other side is another process: no FUTEX_PRIVATE_FLAG. */
static void sleep_on(_Atomic uint32_t *word, uint32_t value)
{
    struct timespec slice = {.tv_nsec = SLICE_NANOSECONDS};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &slice, NULL, 0);
}

static void wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

zrt_status zrt__meeting_open(const zrt__group *group, zrt__host *host, const char *label, zrt__meeting *meeting_out)
{
    zrt__meeting meeting = {.host = host, .label = label};
    ZRT_TRY(zrt__segment_create(group, host, sizeof(part), offsetof(part, bounce), true, false, &meeting.segment));
    *meeting_out = meeting;
    return ZRT_OK;
}

void zrt__meeting_close(zrt__meeting *meeting)
{
    if (meeting->segment == NULL)
        return;
    atomic_store(&own(meeting)->closed, 1);
    wake(&part_of(meeting, 0)->head.turn);
    zrt__segment_destroy(meeting->host, &meeting->segment);
}

zrt__note *zrt__meeting_note(const zrt__meeting *meeting)
{
    return &own(meeting)->notes[(meeting->turn + 1) & 1];
}

char *zrt__meeting_payload(const zrt__meeting *meeting)
{
    return own(meeting)->payloads[(meeting->turn + 1) & 1];
}

const zrt__note *zrt__meeting_note_of(const zrt__meeting *meeting, int rank)
{
    return &part_of(meeting, rank)->notes[meeting->turn & 1];
}

const char *zrt__meeting_payload_of(const zrt__meeting *meeting, int rank)
{
    return part_of(meeting, rank)->payloads[meeting->turn & 1];
}

char *zrt__meeting_bounce(const zrt__meeting *meeting, int rank, unsigned half)
{
    return part_of(meeting, rank)->bounce[half & 1];
}

/* Why a communicator cannot go on, with the rank in the low bits. */
enum { FAILED = 1 << 28, ENDED = 2 << 28, CLOSED = 3 << 28, RANK_BITS = (1 << 28) - 1 };

static void break_off(const zrt__meeting *meeting, uint32_t reason, int rank)
{
    part *first = part_of(meeting, 0);
    uint32_t none = 0;
    atomic_compare_exchange_strong(&first->head.broken, &none, reason | (uint32_t)rank);
    wake(&first->head.turn);
}

void zrt__meeting_fail(zrt__meeting *meeting)
{
    break_off(meeting, FAILED, meeting->host->rank);
}

static zrt_status broken(const zrt__meeting *meeting, const char *what, uint32_t why)
{
    int rank = (int)(why & RANK_BITS);
    switch (why & ~(uint32_t)RANK_BITS) {
    case ENDED:
        return zrt__fail(ZRT_ERR_COMM, "%s: rank %d ended while others waited for it (here in %s)", meeting->label,
                         rank, what);
    case CLOSED:
        return zrt__fail(ZRT_ERR_COMM, "%s: rank %d closed the communicator while others waited for it (here in %s)",
                         meeting->label, rank, what);
    default:
        return zrt__fail(ZRT_ERR_COMM, "%s: %s cannot run since rank %d failed in this communicator: see its message",
                         meeting->label, what, rank);
    }
}

/* A look at those that are not here yet. */
static void look_around(const zrt__meeting *meeting)
{
    const zrt__host *host = meeting->host;
    int dead = zrt__host_dead_rank(host);
    if (atomic_load(&part_of(meeting, 0)->head.turn) == meeting->turn)
        return; /* it came before it ended */
    if (dead >= 0) {
        break_off(meeting, ENDED, dead);
        return;
    }
    for (int i = 0; i < host->size; i++) {
        part *other = part_of(meeting, i);
        if (atomic_load(&other->closed) != 0 && atomic_load(&other->reached) != meeting->turn)
            break_off(meeting, CLOSED, i);
    }
}

static zrt_status wait_for_others(zrt__meeting *meeting, const char *what)
{
    part *first = part_of(meeting, 0);
    uint32_t turn = meeting->turn, seen, why;
    for (int i = meeting->host->crowded ? SPINS : 0; i < SPINS; i++) {
        if (atomic_load_explicit(&first->head.turn, memory_order_acquire) == turn)
            return ZRT_OK;
        pause_briefly();
    }
    zrt_status status = ZRT_OK;
    atomic_fetch_add(&first->head.sleepers, 1);
    while ((seen = atomic_load(&first->head.turn)) != turn) {
        if ((why = atomic_load(&first->head.broken)) != 0) {
            status = broken(meeting, what, why);
            break;
        }
        sleep_on(&first->head.turn, seen);
        if (atomic_load(&first->head.turn) != turn)
            look_around(meeting);
    }
    atomic_fetch_sub(&first->head.sleepers, 1);
    return status;
}

zrt_status zrt__meet(zrt__meeting *meeting, const char *what)
{
    part *first = part_of(meeting, 0);
    uint32_t why = atomic_load_explicit(&first->head.broken, memory_order_relaxed), turn = ++meeting->turn;
    if (why != 0)
        return broken(meeting, what, why);
    atomic_store_explicit(&own(meeting)->reached, turn, memory_order_release);
    if (atomic_fetch_add(&first->head.arrived, 1) + 1 < (uint32_t)meeting->host->size)
        return wait_for_others(meeting, what);
    atomic_store(&first->head.arrived, 0);
    atomic_store(&first->head.turn, turn);
    if (atomic_load(&first->head.sleepers) != 0)
        wake(&first->head.turn);
    return ZRT_OK;
}
