/* Whether all ranks run the same build of the program and of this library. */
#ifndef ZRT_LAUNCH_BINARY_H
#define ZRT_LAUNCH_BINARY_H

#include "launch/launch.h"

/* By the build IDs that the linker wrote into them (where it did). Collective; ZRT_ERR_CONFIG on all ranks, naming the first one that
 * differs from rank 0. */
zrt_status zrt__binary_compare(const zrt__group *world, const char *host);

#endif
