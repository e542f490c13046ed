#include "config.h"

#include "tools/merge_command.h"

#include <stdio.h>
#include <string.h>

#include <zerort/zerort.h>

#include "tools/tool_report.h"

#define NAME "zerort merge"

int merge_command(int argc, char **argv)
{
    tool_report_install(NAME);
    if (tool_launcher_rank() != 0) /* rank 0 does it all */
        return 0;
    if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
        printf(
            "Usage: " NAME " BASE ADAPTER OUT\n"
            "Writes to the folder OUT the model of the folder BASE with the adapter of the folder ADAPTER (that train\n"
            "--lora-config or peft saved) merged in, each tensor in the type that it has in BASE, for transformers "
            "and\n"
            "zerort alike.\n\n"
            "  " NAME " Llama-2-7b-hf out Llama-2-7b-mine\n");
        return 0;
    }
    if (argc != 5)
        return tool_end_usage(NAME " takes three folders, BASE ADAPTER OUT; --help says more");
    for (int i = 2; i < 5; i++)
        if (argv[i][0] == '-') {
            char message[256];
            snprintf(message, sizeof message, NAME " has no option '%.64s'; it takes three folders, BASE ADAPTER OUT",
                     argv[i]);
            return tool_end_usage(message);
        }
    zrt_status status = zrt_adapter_merge(argv[2], argv[3], argv[4]);
    if (status != ZRT_OK)
        tool_report_error("%s", zrt_error_message());
    return zrt_status_exit_code(status);
}
