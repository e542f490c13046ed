/* zerort tokenize: text to a file of tokens. */
#ifndef ZRT_TOOLS_TOKENIZE_COMMAND_H
#define ZRT_TOOLS_TOKENIZE_COMMAND_H

/* zerort tokenize FOLDER FILE... --out tokens.bin; argv[2] is the folder. Returns the exit status. */
int tokenize_command(int argc, char **argv);

#endif
