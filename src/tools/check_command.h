/* zerort check: what a run needs of the machines. */
#ifndef ZRT_TOOLS_CHECK_COMMAND_H
#define ZRT_TOOLS_CHECK_COMMAND_H

/* Returns the exit status. */
int check_command(int argc, char **argv);

#endif
