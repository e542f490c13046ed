/* What the CPU's events give to a backend that orders the host's streams with its own: tickets that something other than a stream
 * reaches, and a copy of the last ticket where a device can see it. Defined by device/cpu, for events of the CPU device. */
#ifndef ZRT_DEVICE_HOST_EVENTS_H
#define ZRT_DEVICE_HOST_EVENTS_H

#include "device/device.h"

/* As recording it, in a stream that is not the CPU's: the ticket. Of the thread that enqueues. */
uint32_t zrt__host_event_begin(zrt__event *event);
/* That stream got there. Any thread; tickets in order. */
void zrt__host_event_complete(zrt__event *event, uint32_t ticket);
/* The last ticket given out. Of the thread that enqueues. */
uint32_t zrt__host_event_last(const zrt__event *event);
/* Tickets that are reached are written there too (lent; before the first record). */
void zrt__host_event_mirror(zrt__event *event, uint32_t *copy);

#endif
