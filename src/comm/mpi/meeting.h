/* Where the ranks of a host meet: a barrier and a place for notes in shared memory, one for each communicator. Who waits
 * looks for a moment and then sleeps (futex), because the core that it would spin on computes. */
#ifndef ZRT_COMM_MPI_MEETING_H
#define ZRT_COMM_MPI_MEETING_H

#include "base/error.h"
#include "comm/comm.h"
#include "comm/mpi/segment.h"

/* What a rank tells the others of the collective it is in. */
typedef struct zrt__note {
    uint32_t kind, dtype, op;
    int32_t root;
    uint64_t count;
    uint32_t send_known, recv_known; /* the buffers lie in shared memory, at: */
    uint32_t send_segment, recv_segment;
    uint64_t send_offset, recv_offset;
} zrt__note;

enum {
    ZRT__PAYLOAD_BYTES = 4096,     /* that travel with a note */
    ZRT__BOUNCE_BYTES = 512 * 1024 /* of each of the two halves through which other memory goes: about a core's cache */
};

typedef struct zrt__meeting {
    zrt__host *host; /* lent */
    zrt__segment *segment;
    uint32_t turn;     /* meetings so far */
    const char *label; /* lent */
} zrt__meeting;

/* Collective over the group, as zrt__segment_create. */
zrt_status zrt__meeting_open(const zrt__group *group, zrt__host *host, const char *label, zrt__meeting *meeting_out);
/* Local. Ranks that still wait for this one get an error. */
void zrt__meeting_close(zrt__meeting *meeting);

/* Notes and payloads are doubled: those of the turn to come are written before zrt__meet, those of the turn that was are read
 * after it and until the next one. So one meeting is enough for what fits a payload. */
zrt__note *zrt__meeting_note(const zrt__meeting *meeting); /* own, to write */
char *zrt__meeting_payload(const zrt__meeting *meeting);
const zrt__note *zrt__meeting_note_of(const zrt__meeting *meeting, int rank); /* to read */
const char *zrt__meeting_payload_of(const zrt__meeting *meeting, int rank);
/* Half 0 or 1 of a rank's bounce area. */
char *zrt__meeting_bounce(const zrt__meeting *meeting, int rank, unsigned half);

/* Waits until every rank is here. ZRT_ERR_COMM, the same on all ranks, when one has ended, closed the communicator or failed; then
 * for good. */
zrt_status zrt__meet(zrt__meeting *meeting, const char *what);
/* Makes every meeting of the other ranks fail. */
void zrt__meeting_fail(zrt__meeting *meeting);

#endif
