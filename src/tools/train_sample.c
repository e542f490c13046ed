#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool_report.h"
#include "tools/train_run.h"

#define DEFAULT_PROMPT "static int "
#define MOST_STOP_TOKENS 16

/* Bytes are their own tokens. */
static zrt_status bytes_of(const char *text, int32_t *tokens, int64_t *n_out)
{
    *n_out = (int64_t)strlen(text);
    for (int64_t i = 0; i < *n_out; i++)
        tokens[i] = (unsigned char)text[i];
    return ZRT_OK;
}

/* By the tokenizer, with its special tokens; a text may have more of them than bytes. */
static zrt_status encode(const train_run *run, const char *text, int32_t **tokens, int64_t *n_out)
{
    zrt_encoder *encoder;
    const int32_t *ids;
    *n_out = 0;
    ZRT_TRY(zrt_encoder_create(run->tokenizer, &encoder));
    zrt_status status = zrt_encoder_encode(encoder, text, strlen(text), true, &ids, n_out);
    if (status == ZRT_OK) {
        int32_t *taken = realloc(*tokens, ((size_t)*n_out + 1) * sizeof *taken);
        if (taken)
            *tokens = memcpy(taken, ids, (size_t)*n_out * sizeof *ids);
        else
            status = tool_fail(ZRT_ERR_MEMORY, "out of memory for the prompt");
    }
    zrt_encoder_destroy(&encoder);
    for (int64_t i = 0; status == ZRT_OK && i < *n_out; i++)
        if ((*tokens)[i] >= zrt_model_get_info(run->model)->vocab_size)
            status = tool_fail(ZRT_ERR_INPUT,
                               "--prompt: token %d of the tokenizer is outside of the model's vocabulary of %lld",
                               (int)(*tokens)[i], (long long)zrt_model_get_info(run->model)->vocab_size);
    return status;
}

static zrt_status numbers_of(const char *text, int64_t vocab_size, int32_t *tokens, int64_t *n_out)
{
    int64_t n = 0;
    for (const char *c = text + strspn(text, ", "); *c; c += strspn(c, ", ")) {
        char *end;
        errno = 0;
        long token = strtol(c, &end, 10);
        if (end == c || errno || (*end && *end != ' ' && *end != ','))
            return tool_fail(ZRT_ERR_INPUT, "--prompt: this model takes token numbers with spaces between, not '%s'",
                             c);
        if (token < 0 || (vocab_size > 0 && token >= vocab_size))
            return tool_fail(ZRT_ERR_INPUT, "--prompt: token %ld is outside of the model's vocabulary of %lld", token,
                             (long long)vocab_size);
        tokens[n++] = (int32_t)token;
        c = end;
    }
    *n_out = n;
    return ZRT_OK;
}

/* A text is at least as long as its tokens are many. */
static zrt_status read_prompt(const train_run *run, int32_t **tokens_out, int64_t *n_out)
{
    const zrt_model_info *info = zrt_model_get_info(run->model);
    const char *text = run->options->prompt;
    *tokens_out = NULL;
    if (!text && !run->is_text && !run->tokenizer && info->bos_token_id < 0)
        text = "0";
    else if (!text)
        text = run->is_text && !run->tokenizer ? DEFAULT_PROMPT : "";
    int32_t *tokens = malloc((strlen(text) + 1) * sizeof *tokens);
    if (!tokens)
        return tool_fail(ZRT_ERR_MEMORY, "out of memory for the prompt");
    zrt_status status = run->tokenizer ? encode(run, text, &tokens, n_out)
                        : run->is_text ? bytes_of(text, tokens, n_out)
                                       : numbers_of(text, info->vocab_size, tokens, n_out);
    if (status == ZRT_OK && *n_out == 0 && info->bos_token_id >= 0)
        tokens[(*n_out)++] = info->bos_token_id;
    if (status == ZRT_OK && *n_out == 0)
        status = tool_fail(ZRT_ERR_INPUT, "--prompt is empty; give at least one token");
    if (status == ZRT_OK && info->max_length > 0 && *n_out >= info->max_length)
        status = tool_fail(ZRT_ERR_INPUT, "--prompt has %lld tokens, and the model '%s' sees %lld; give fewer",
                           (long long)*n_out, zrt_model_get_name(run->model), (long long)info->max_length);
    if (status == ZRT_OK)
        *tokens_out = tokens;
    else
        free(tokens);
    return status;
}

static void print_tokens(const train_run *run, const int32_t *tokens, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!run->is_text)
            printf("%s%d", i ? " " : "", (int)tokens[i]);
        else if (tokens[i] == '\n' || tokens[i] == '\t' || tokens[i] >= 128 || isprint(tokens[i]))
            putchar(tokens[i]); /* control bytes would play with the terminal */
        else
            putchar('?');
    }
}

static void print_numbers(const train_run *run, const int32_t *prompt, int64_t n_prompt, const int32_t *made,
                          int64_t n_made)
{
    print_tokens(run, prompt, n_prompt);
    if (!run->is_text)
        putchar(' ');
    print_tokens(run, made, n_made);
    putchar('\n');
}

/* As text, without special tokens; control characters would play with the terminal. */
static zrt_status print_text(const train_run *run, const int32_t *prompt, int64_t n_prompt, const int32_t *made,
                             int64_t n_made)
{
    zrt_encoder *encoder;
    const char *text;
    size_t bytes;
    int32_t *all = malloc((size_t)(n_prompt + n_made) * sizeof *all);
    if (!all)
        return tool_fail(ZRT_ERR_MEMORY, "out of memory for the sample");
    memcpy(all, prompt, (size_t)n_prompt * sizeof *all);
    memcpy(all + n_prompt, made, (size_t)n_made * sizeof *all);
    zrt_status status = zrt_encoder_create(run->tokenizer, &encoder);
    if (status == ZRT_OK)
        status = zrt_encoder_decode(encoder, all, n_prompt + n_made, true, &text, &bytes);
    for (size_t i = 0; status == ZRT_OK && i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        putchar((c < 32 && c != '\n' && c != '\t') || c == 127 ? '?' : c);
    }
    if (status == ZRT_OK)
        putchar('\n');
    zrt_encoder_destroy(&encoder);
    free(all);
    return status;
}

/* Without the stop token and what fills the rest. */
static int64_t length_made(const zrt_generate_options *choice, const int32_t *made)
{
    for (int64_t i = 0; i < choice->max_new_tokens; i++)
        for (int j = 0; j < choice->n_stop_tokens; j++)
            if (made[i] == choice->stop_token_ids[j])
                return i;
    return choice->max_new_tokens;
}

static zrt_status generate(const train_run *run, const int32_t *prompt, int64_t n_prompt)
{
    int32_t stops[MOST_STOP_TOKENS];
    const train_options *options = run->options;
    const zrt_model_info *info = zrt_model_get_info(run->model);
    zrt_generate_options choice = {
        .max_new_tokens = options->sample_tokens,
        .temperature = options->temperature,
        .top_k = options->top_k,
        .top_p = options->top_p,
        .seed = run->settings.seed,
        .eos_token_id = run->is_text || run->tokenizer ? -1 : info->eos_token_id,
        .stop_token_ids = stops,
    };
    if (run->tokenizer)
        ZRT_TRY(zrt_tokenizer_stop_tokens(run->tokenizer, stops, MOST_STOP_TOKENS, &choice.n_stop_tokens));
    if (info->max_length > 0 && n_prompt + choice.max_new_tokens > info->max_length)
        choice.max_new_tokens = info->max_length - n_prompt;
    int32_t *made = malloc((size_t)choice.max_new_tokens * sizeof *made);
    zrt_status status = made ? ZRT_OK : tool_fail(ZRT_ERR_MEMORY, "out of memory for the sample");
    status = zrt_agree(run->context, status);
    if (status == ZRT_OK)
        status = zrt_engine_generate(run->engine, 1, &prompt, &n_prompt, &choice, made);
    if (status == ZRT_OK && zrt_rank(run->context) == 0) {
        if (!options->generates)
            printf("sample (%lld tokens after the prompt):\n", (long long)choice.max_new_tokens);
        if (run->tokenizer)
            status = print_text(run, prompt, n_prompt, made, length_made(&choice, made));
        else
            print_numbers(run, prompt, n_prompt, made, choice.max_new_tokens);
    }
    free(made);
    return status;
}

zrt_status train_check_prompt(const train_run *run)
{
    int32_t *prompt;
    int64_t n_prompt;
    zrt_status status = read_prompt(run, &prompt, &n_prompt);
    free(prompt);
    return tool_agree(run->context, status);
}

zrt_status train_sample(const train_run *run)
{
    int32_t *prompt = NULL;
    int64_t n_prompt = 0;
    zrt_status status = read_prompt(run, &prompt, &n_prompt);
    if (status == ZRT_OK)
        status = generate(run, prompt, n_prompt);
    free(prompt);
    return tool_agree(run->context, status);
}
