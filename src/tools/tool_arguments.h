/* The configuration's training arguments as options of the command line. */
#ifndef ZRT_TOOLS_TOOL_ARGUMENTS_H
#define ZRT_TOOLS_TOOL_ARGUMENTS_H

#include <zerort/config.h>

/* The i-th argument's name with '_', NULL after the last. */
const char *tool_argument_name(int index);
bool tool_argument_is_switch(int index);
/* As zrt_config_argument, with the group's heading in --help and NULL for what is empty. */
bool tool_argument_get(int index, zrt_argument_info *info_out);

#endif
