/* One run from its options to its end. */
#ifndef ZRT_TOOLS_TRAIN_RUN_H
#define ZRT_TOOLS_TRAIN_RUN_H

#include <zerort/zerort.h>

#include "tools/default_text.h"
#include "tools/train_options.h"
#include "tools/train_settings.h"

typedef struct train_run {
    const train_options *options;
    zrt_context *context;
    zrt_config *config;
    zrt_model *model;
    zrt_engine *engine;
    zrt_dataset *train_data, *eval_data;
    zrt_loader *train_loader, *eval_loader;
    default_text text;  /* of a run that names no file */
    const char **paths; /* what is trained on; lent from the options or the text */
    int n_paths;
    bool is_text;             /* bytes in, bytes out */
    zrt_tokenizer *tokenizer; /* of JSONL and of a folder that has one; NULL: none */
    bool is_jsonl;
    train_settings settings;
    int64_t length;                      /* tokens a row */
    int64_t n_steps;                     /* of the whole run */
    double eval_loss;                    /* of the last evaluation */
    zrt_classification classification;   /* likewise, of a classifier */
    bool stopped;                        /* by a signal */
    bool preempted;                      /* likewise, to be started again */
    char *folder;                        /* rank 0's, once it is made */
    int64_t first_step;                  /* done before this run: 0, or those of the checkpoint that it goes on from */
    int64_t logged_step, logged_skipped; /* of the last row before it */
} train_run;

/* True when the options ask for checkpoints. */
bool train_run_saves(const train_run *run);

/* Reads the configuration and opens the model. Collective, as all below: all ranks get the same status and the message is out. */
zrt_status train_run_configure(train_run *run);
/* Opens the data and counts the steps. */
zrt_status train_run_open_data(train_run *run);
/* Counts the steps of a run that is only planned. */
zrt_status train_run_plan_steps(train_run *run);
/* Opens the tokenizer where there is one to open. */
zrt_status train_samples_open_tokenizer(train_run *run);
/* Opens JSONL files and says on rank 0 what became of their lines. held_out_out NULL: what is held out is left out. */
zrt_status train_samples_open(train_run *run, const tool_list *files, double held_out_fraction, zrt_dataset **data_out,
                              zrt_dataset **held_out_out);
/* Copies the tokenizer's files into a folder. Local. */
zrt_status train_samples_copy_tokenizer(const train_run *run, const char *folder);

/* Compiles, allocates, loads weights. */
zrt_status train_run_create_engine(train_run *run);
/* Makes the run folder with resolved.json and plan.txt. */
zrt_status train_run_begin_folder(train_run *run);

/* Steps, evaluations, the log, until the last step or a signal. */
zrt_status train_loop(train_run *run);
/* Whether the prompt is one that the model takes: known before a run that ends with it. */
zrt_status train_check_prompt(const train_run *run);
/* Generates from the prompt and writes it to standard output. */
zrt_status train_sample(const train_run *run);

void train_run_release(train_run *run);

#endif
