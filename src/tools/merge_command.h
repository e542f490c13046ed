/* zerort merge: an adapter into its base model. */
#ifndef ZRT_TOOLS_MERGE_COMMAND_H
#define ZRT_TOOLS_MERGE_COMMAND_H

/* argv[2] is the first argument. Returns the exit status. */
int merge_command(int argc, char **argv);

#endif
