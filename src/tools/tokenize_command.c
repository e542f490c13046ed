#include "config.h"

#include "tools/tokenize_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zerort/zerort.h>

#include "tools/tool_options.h"
#include "tools/tool_report.h"

#define NAME "zerort tokenize"

typedef struct tokenize_options {
    const char *folder, *out, *text_column, *document, *end_token;
    tool_list files;
    int64_t n_threads;
    bool special, skip_bad_lines, help;
} tokenize_options;

enum { N_OPTIONS = 9 };

static void fill_table(tokenize_options *o, tool_option table[N_OPTIONS])
{
    const tool_option rows[N_OPTIONS] = {
        {.name = "file",
         .kind = TOOL_LIST,
         .value = &o->files,
         .group = "Input",
         .placeholder = "FILE...",
         .help = "the same as FILE... before the options"},
        {.name = "text-column",
         .kind = TOOL_TEXT,
         .value = &o->text_column,
         .group = "Input",
         .placeholder = "NAME",
         .fallback = "text",
         .help = "of .jsonl, .json and their .gz, where each line is a document"},
        {.name = "document",
         .kind = TOOL_TEXT,
         .value = &o->document,
         .group = "Input",
         .placeholder = "file|paragraph|line",
         .fallback = "file",
         .help = "what a document is in other text files; documents are shared out to the cores"},
        {.name = "skip-bad-lines",
         .kind = TOOL_SWITCH,
         .value = &o->skip_bad_lines,
         .group = "Input",
         .help = "count lines that cannot be read instead of ending"},
        {.name = "end-token",
         .kind = TOOL_TEXT,
         .value = &o->end_token,
         .group = "Tokens",
         .placeholder = "TOKEN",
         .fallback = "the folder's",
         .help = "put after each document; 'none' for none"},
        {.name = "special",
         .kind = TOOL_SWITCH,
         .value = &o->special,
         .group = "Tokens",
         .help = "put the tokenizer's own special tokens (its template) around each document"},
        {.name = "threads",
         .kind = TOOL_INTEGER,
         .value = &o->n_threads,
         .least = 1,
         .group = "Machine",
         .placeholder = "N",
         .fallback = "all cores",
         .help = "threads that encode"},
        {.name = "out",
         .kind = TOOL_TEXT,
         .value = &o->out,
         .group = "Output",
         .placeholder = "FILE.bin",
         .fallback = "tokens.bin",
         .help = "gets the tokens, as llm.c lays them out: what --train-file reads"},
        {.name = "help", .kind = TOOL_SWITCH, .value = &o->help, .group = "Output", .help = "print this and end"},
    };
    memcpy(table, rows, sizeof rows);
}

/* ---- progress ---- */

typedef struct progress {
    bool is_terminal;
    struct timespec begin, last;
} progress;

static double since(const struct timespec *begin)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - begin->tv_sec) + 1e-9 * (double)(now.tv_nsec - begin->tv_nsec);
}

/* A bar on a terminal, ten times a second. */
static void show(void *argument, int64_t bytes, int64_t total, int64_t n_tokens)
{
    progress *p = argument;
    double part = total > 0 ? (double)bytes / (double)total : 1, seconds = since(&p->begin);
    char bar[31];
    if (!p->is_terminal || (since(&p->last) < 0.1 && part < 1))
        return;
    clock_gettime(CLOCK_MONOTONIC, &p->last);
    for (int i = 0; i < 30; i++)
        bar[i] = i < (int)(part * 30) ? '#' : ' ';
    bar[30] = '\0';
    fprintf(stderr, "\r[%s] %3d%%  %.1f M tokens  %.2f M/s ", bar, (int)(part * 100), (double)n_tokens / 1e6,
            seconds > 0 ? (double)n_tokens / seconds / 1e6 : 0);
    fflush(stderr);
}

/* ---- the command ---- */

static zrt_status choose_end(const tokenize_options *o, const zrt_tokenizer *tokenizer, int32_t *end_out)
{
    int64_t id;
    if (o->end_token != NULL && strcmp(o->end_token, "none") != 0) {
        id = zrt_tokenizer_find(tokenizer, o->end_token);
        if (id < 0)
            return tool_fail(ZRT_ERR_INPUT, "--end-token: the tokenizer of %s has no token '%s'", o->folder,
                             o->end_token);
        *end_out = (int32_t)id;
        return ZRT_OK;
    }
    *end_out = -1;
    return o->end_token == NULL ? zrt_tokenizer_end_token(tokenizer, end_out) : ZRT_OK;
}

static zrt_status choose_document(const tokenize_options *o, zrt_document *document_out)
{
    static const char *const names[] = {"file", "paragraph", "line"};
    *document_out = ZRT_DOCUMENT_FILE;
    for (int i = 0; i < 3 && o->document; i++)
        if (strcmp(o->document, names[i]) == 0) {
            *document_out = (zrt_document)i;
            return ZRT_OK;
        }
    return o->document ? tool_fail(ZRT_ERR_USAGE, "--document takes file, paragraph or line, not '%s'", o->document)
                       : ZRT_OK;
}

static zrt_status tokenize(const tokenize_options *o)
{
    const char *out = o->out ? o->out : "tokens.bin";
    progress p = {.is_terminal = isatty(STDERR_FILENO)};
    zrt_tokenize_options options = {.text_column = o->text_column,
                                    .special = o->special,
                                    .skip_bad_lines = o->skip_bad_lines,
                                    .n_threads = (int)o->n_threads,
                                    .progress = show,
                                    .progress_argument = &p};
    zrt_tokenize_counts counts = {0};
    zrt_tokenizer *tokenizer = NULL;
    double seconds;
    clock_gettime(CLOCK_MONOTONIC, &p.begin);
    ZRT_TRY(choose_document(o, &options.document));
    ZRT_TRY(zrt_tokenizer_open(o->folder, &tokenizer));
    zrt_status status = choose_end(o, tokenizer, &options.end_token_id);
    if (status == ZRT_OK)
        status = zrt_tokenize_files(o->files.words, (int)o->files.n_words, tokenizer, &options, out, &counts);
    zrt_tokenizer_destroy(&tokenizer);
    if (p.is_terminal && p.last.tv_sec != 0)
        fputc('\n', stderr);
    ZRT_TRY(status);
    seconds = since(&p.begin);
    printf("%s: %lld tokens of %lld documents, %.1f MB of text, %.1f s, %.2f M tokens/s", out,
           (long long)counts.n_tokens, (long long)counts.n_documents, (double)counts.n_bytes / 1e6, seconds,
           (double)counts.n_tokens / seconds / 1e6);
    if (counts.n_bad > 0)
        printf("; %lld bad lines skipped", (long long)counts.n_bad);
    printf("\n");
    return ZRT_OK;
}

static void print_help(const tool_options *options)
{
    printf("Usage: " NAME " FOLDER FILE... [OPTION]...\n"
           "Encodes text and JSONL files with the tokenizer.json of FOLDER.\n\n"
           "  " NAME " gpt2 corpus/*.jsonl.gz --out tokens.bin\n"
           "Options take --name VALUE or --name=VALUE, and '_' for '-'. Defaults are in [brackets].\n");
    tool_options_print(options, stdout);
}

/* The words before the first option: the folder and the files. */
static int take_words(tokenize_options *o, int argc, char **argv, const char **words)
{
    int next = 2;
    if (next < argc && argv[next][0] != '-')
        o->folder = argv[next++];
    for (; next < argc && argv[next][0] != '-'; next++)
        words[o->files.n_words++] = argv[next];
    return next;
}

int tokenize_command(int argc, char **argv)
{
    tokenize_options o = {0};
    tool_option table[N_OPTIONS];
    tool_options parsed = {.options = table, .n_options = N_OPTIONS};
    char message[1024];
    int exit_status = 2, next;
    tool_report_install(NAME);
    if (tool_launcher_rank() != 0)
        return 0;
    fill_table(&o, table);
    o.files.capacity = (size_t)argc;
    o.files.words = malloc((size_t)argc * sizeof *o.files.words);
    if (!o.files.words) {
        tool_report_error("out of memory");
        return 1;
    }
    next = take_words(&o, argc, argv, o.files.words);
    if (!tool_options_parse(&parsed, argc, argv, next, message, sizeof message))
        exit_status = tool_end_usage(message);
    else if (o.help) {
        print_help(&parsed);
        exit_status = 0;
    } else if (!o.folder || o.files.n_words == 0)
        exit_status = tool_end_usage(NAME " takes a folder with a tokenizer.json and files of text; --help says more");
    else
        exit_status = tool_end(tokenize(&o));
    tool_options_release(&parsed);
    return exit_status;
}
