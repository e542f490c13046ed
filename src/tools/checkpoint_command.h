/* zerort inspect, verify, export, import. */
#ifndef ZRT_TOOLS_CHECKPOINT_COMMAND_H
#define ZRT_TOOLS_CHECKPOINT_COMMAND_H

/* Their options begin at argv[2]. Give the exit status. */
int inspect_command(int argc, char **argv);
int verify_command(int argc, char **argv);
int export_command(int argc, char **argv);
int import_command(int argc, char **argv);

#endif
