/* The commands that share train's options: train itself, zerort plan, zerort generate. */
#ifndef ZRT_TOOLS_TRAIN_COMMAND_H
#define ZRT_TOOLS_TRAIN_COMMAND_H

typedef enum train_command_kind { TRAIN_COMMAND_TRAIN, TRAIN_COMMAND_PLAN, TRAIN_COMMAND_GENERATE } train_command_kind;

/* Runs the command whose options begin at argv[first]; `name` is what messages call it. Returns the exit status. */
int train_command(const char *name, int argc, char **argv, int first, train_command_kind kind);

#endif
