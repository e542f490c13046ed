/* Whether a person watches a stream. */
#ifndef ZRT_MONITOR_TERMINAL_H
#define ZRT_MONITOR_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

/* True when the stream ends in a terminal that moves its cursor. Open MPI gives rank 0 a terminal of mpirun's own even where
 * mpirun writes to a file or a pipe: then mpirun's own stream decides. */
bool zrt__is_terminal(FILE *stream);

#endif
