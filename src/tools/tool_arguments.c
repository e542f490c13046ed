#include "config.h"

#include "tools/tool_arguments.h"

#include <string.h>

static const char *text_of(const char *text)
{
    return text && *text ? text : NULL;
}

const char *tool_argument_name(int index)
{
    zrt_argument_info info;
    return zrt_config_argument(index, &info) ? info.name : NULL;
}

bool tool_argument_is_switch(int index)
{
    zrt_argument_info info;
    return zrt_config_argument(index, &info) && info.is_switch;
}

static const char *heading_of(const char *group)
{
    static const char *const headings[][2] = {
        {"batch", "Batch"},         {"schedule", "Steps and learning rate"}, {"optimizer", "Optimizer"},
        {"precision", "Precision"}, {"memory", "Memory and machine"},        {"run", "What is run"},
    };
    for (size_t i = 0; i < sizeof headings / sizeof *headings; i++)
        if (strcmp(headings[i][0], group) == 0)
            return headings[i][1];
    return group;
}

bool tool_argument_get(int index, zrt_argument_info *info_out)
{
    if (!zrt_config_argument(index, info_out))
        return false;
    info_out->group = heading_of(info_out->group);
    info_out->placeholder = text_of(info_out->placeholder);
    info_out->default_text = text_of(info_out->default_text);
    return true;
}
