#include "config.h"

#include "tools/train_command.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/run_folder.h"
#include "tools/tool_report.h"
#include "tools/train_resume.h"
#include "tools/train_run.h"
#include "tools/train_signals.h"
#include "tools/train_weights.h"

/* Counting more than this would take longer than a user wants to wait. */
#define LARGEST_COUNTED (INT64_C(64) << 20)

static void print_help(const char *name, train_command_kind kind, const train_options *options)
{
    static const char *const purposes[] = {
        [TRAIN_COMMAND_TRAIN] = "Trains a model on the ranks that mpirun or srun starts, or on one.",
        [TRAIN_COMMAND_PLAN] =
            "Prints the memory plan and the schedule of a run without running it; the options are train's.",
        [TRAIN_COMMAND_GENERATE] = "Continues a prompt with a model.",
    };
    static const char *const examples[] = {
        [TRAIN_COMMAND_TRAIN] =
            "  mpirun -np 4 train\n"
            "  mpirun -np 2 train --deepspeed ds.json --model gpt2 --train-file 'tokens/*.bin' --max-steps 1000\n"
            "  train --model llama-2-70b --plan --plan-ranks 64\n",
        [TRAIN_COMMAND_PLAN] = "  zerort plan --model llama-2-70b --plan-ranks 64\n",
        [TRAIN_COMMAND_GENERATE] = "  zerort generate FOLDER --prompt 'Once upon a time' --temperature 0\n"
                                   "  zerort generate --model gpt2 --prompt '15496 11 995'\n",
    };
    printf("Usage: %s [OPTION]...\n%s\n\n%s\n"
           "Options take --name VALUE or --name=VALUE, and '_' for '-'. Defaults are in [brackets].\n",
           name, purposes[kind], examples[kind]);
    tool_options_print(&options->parsed, stdout);
    train_recipe_print(stdout);
    printf("\nExit status: 0 done, 1 the machine, input and output or memory failed, 2 options, configuration or input "
           "are\n"
           "wrong, 75 a rank hung or was lost (--collective-timeout), 85 preempted by SIGUSR1 or SIGUSR2 (under srun "
           "SIGTERM\n"
           "too) and saved: start again with --resume-from-checkpoint auto.\n");
}

/* ---- what ends before training ---- */

static int n_pretended_ranks(const train_run *run)
{
    return run->options->plan_ranks > 0 ? (int)run->options->plan_ranks : zrt_size(run->context);
}

static zrt_status print_config(train_run *run)
{
    zrt_status status = ZRT_OK;
    if (zrt_rank(run->context) == 0) {
        char *json = NULL;
        status =
            zrt_config_print(run->config, n_pretended_ranks(run), zrt_model_get_info(run->model)->hidden_size, &json);
        if (status == ZRT_OK)
            fputs(json, stdout);
        free(json);
    }
    return tool_agree(run->context, status);
}

static zrt_status print_plan(train_run *run)
{
    zrt_status status = ZRT_OK;
    ZRT_TRY(train_run_plan_steps(run));
    if (zrt_rank(run->context) == 0)
        status = zrt_plan_print(run->context, run->model, run->config, n_pretended_ranks(run), stdout);
    return tool_agree(run->context, status);
}

/* ---- a run ---- */

static zrt_status check_folder(const train_run *run)
{
    ZRT_TRY(tool_agree(run->context, train_resume_check(run)));
    return tool_agree(run->context, zrt_rank(run->context) == 0
                                        ? run_folder_check(run->options->output_dir, train_resume_takes_folder(run))
                                        : ZRT_OK);
}

/* What counting would have reached on the same text. */
static zrt_status compare_with_trigram(const train_run *run)
{
    double nats;
    int64_t counted;
    if (zrt_rank(run->context) != 0 || !run->is_text || zrt_dataset_n_tokens(run->train_data) > LARGEST_COUNTED)
        return ZRT_OK;
    ZRT_TRY(zrt_dataset_ngram_loss(run->train_data, run->eval_data, 3, &nats, &counted));
    printf("held-out loss %.4f nats a byte; trigram counts of the training text reach %.4f: %.4f %s\n", run->eval_loss,
           nats, fabs(nats - run->eval_loss), run->eval_loss < nats ? "below" : "above");
    return ZRT_OK;
}

static zrt_status train(train_run *run)
{
    /* Text of one's own is only continued where there is a prompt. */
    bool samples = run->options->sample_tokens > 0 && (!run->is_jsonl || run->options->prompt) &&
                   zrt_model_get_info(run->model)->n_classes == 0;
    ZRT_TRY(check_folder(run));
    ZRT_TRY(train_run_open_data(run));
    if (samples)
        ZRT_TRY(train_check_prompt(run));
    ZRT_TRY(train_run_create_engine(run));
    ZRT_TRY(train_run_begin_folder(run));
    ZRT_TRY(train_loop(run));
    ZRT_TRY(train_load_best(run));
    if (!run->preempted)
        ZRT_TRY(train_weights_save(run));
    if (run->eval_data && !run->stopped)
        ZRT_TRY(tool_agree(run->context, compare_with_trigram(run)));
    if (samples && !run->stopped)
        ZRT_TRY(train_sample(run));
    if (zrt_rank(run->context) == 0)
        printf("run folder: %s (resolved.json, metrics.jsonl, plan.txt)\n", run->folder);
    return ZRT_OK;
}

static zrt_status generate(train_run *run)
{
    if (zrt_model_get_info(run->model)->n_classes > 0)
        return tool_agree(run->context,
                          tool_fail(ZRT_ERR_NOT_SUPPORTED, "model '%s' is a classifier: it cannot generate",
                                    zrt_model_get_name(run->model)));
    ZRT_TRY(train_check_prompt(run));
    ZRT_TRY(train_run_create_engine(run));
    return train_sample(run);
}

static zrt_status run_all(train_run *run, train_command_kind kind)
{
    const train_options *options = run->options;
    ZRT_TRY(train_run_configure(run));
    ZRT_TRY(tool_agree(run->context,
                       zrt_watchdog_start(run->context, run->settings.collective_timeout, tool_end_hang, NULL)));
    if (options->print_config)
        return print_config(run);
    if (kind == TRAIN_COMMAND_PLAN || options->plan || options->plan_ranks > 0)
        return print_plan(run);
    return kind == TRAIN_COMMAND_GENERATE ? generate(run) : train(run);
}

static int start(train_options *options, train_command_kind kind)
{
    train_run run = {.options = options};
    if (kind == TRAIN_COMMAND_TRAIN)
        train_signals_watch();
    zrt_status status = zrt_init(NULL, NULL, &run.context);
    if (status != ZRT_OK) {
        if (tool_launcher_rank() == 0 || status != ZRT_ERR_USAGE) /* srun's tasks all make the same mistake */
            tool_report_error("%s", zrt_error_message());
        return zrt_status_exit_code(status);
    }
    status = run_all(&run, kind);
    train_run_release(&run);
    zrt_finalize(&run.context);
    return status == ZRT_OK && run.preempted ? TRAIN_EXIT_PREEMPTED : zrt_status_exit_code(status);
}

int train_command(const char *name, int argc, char **argv, int first, train_command_kind kind)
{
    train_options options;
    char message[1024];
    int exit_status = 0;
    tool_report_install(name);
    train_options_init(&options, kind == TRAIN_COMMAND_GENERATE);
    if (kind == TRAIN_COMMAND_GENERATE && first < argc && argv[first][0] != '-')
        options.model = argv[first++];
    bool parsed = tool_options_parse(&options.parsed, argc, argv, first, message, sizeof message);
    if (!parsed)
        exit_status = tool_end_usage(message);
    else if (options.help || options.version) {
        /* Before MPI starts, so that it answers at once; one rank is enough to say it. */
        if (tool_launcher_rank() == 0 && options.version)
            printf("%s (zerort) %s\n", name, zrt_version());
        else if (tool_launcher_rank() == 0)
            print_help(name, kind, &options);
    } else
        exit_status = start(&options, kind);
    train_options_release(&options);
    return exit_status;
}
