#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool_report.h"
#include "tools/train_command.h"

int main(int argc, char **argv)
{
    return train_command("train", argc, argv, 1, TRAIN_COMMAND_TRAIN);
}
