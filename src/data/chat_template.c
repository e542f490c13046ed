#include "config.h"

#include "data/chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/characters.h"

static const struct {
    const char *name;
    const char *tokens[4]; /* that the template writes */
} families[] = {
    [ZRT__CHAT_LLAMA2] = {"llama2", {"<s>", "</s>"}},
    [ZRT__CHAT_LLAMA3] = {"llama3", {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},
    [ZRT__CHAT_CHATML] = {"chatml", {"<|im_start|>", "<|im_end|>"}},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

/* ---- which family ---- */

static bool has(const char *text, const char *word)
{
    return strstr(text, word) != NULL;
}

/* By marks that the published templates have and their relatives have not. */
static zrt_status recognise(const char *path, const char *text, zrt__chat_family *family_out)
{
    const char *name = NULL;

    if (has(text, "<|start_header_id|>"))
        name = has(text, "Cutting Knowledge") || has(text, "tools") ? "that of Llama 3.1 with dates and tools" : NULL;
    else if (has(text, "[INST]"))
        name = has(text, "<<SYS>>") ? NULL : "that of Mistral";
    else if (has(text, "<|im_start|>"))
        name = has(text, "You are") || has(text, "tools") ? "ChatML with a system message of its own or tools" : NULL;
    else if (has(text, "<start_of_turn>"))
        name = "that of Gemma";
    else if (has(text, "<|assistant|>") && has(text, "<|end|>"))
        name = "that of Phi-3";
    else if (has(text, "<|assistant|>"))
        name = "that of Zephyr";
    else
        name = "of a family that is not known";
    if (name != NULL)
        return zrt__fail(
            ZRT_ERR_NOT_SUPPORTED,
            "%s: the chat template is %s, which is not supported; there are llama2, llama3 and chatml, which "
            "--chat-template chooses",
            path, name);
    *family_out =
        has(text, "[INST]") ? ZRT__CHAT_LLAMA2 : (has(text, "<|im_start|>") ? ZRT__CHAT_CHATML : ZRT__CHAT_LLAMA3);
    return ZRT_OK;
}

/* tokenizer_config.json's chat_template: a text, or a list of named ones of which "default" counts. */
static zrt_status read_template(const char *path, zrt__chat_family *family_out)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    const json_t *value = json_object_get(root, "chat_template");
    zrt_status status;

    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && strcmp(name, "default") == 0) {
            value = json_object_get(entry, "template");
            break;
        }
    }
    if (root == NULL)
        status = zrt__fail(ZRT_ERR_INPUT, "%s: line %d: %s; give --chat-template", path, error.line, error.text);
    else if (json_is_string(value))
        status = recognise(path, json_string_value(value), family_out);
    else
        status =
            zrt__fail(ZRT_ERR_INPUT, "%s: has no chat_template; give --chat-template llama2, llama3 or chatml", path);
    json_decref(root);
    return status;
}

static zrt_status read_folder(const char *folder, zrt__chat_family *family_out)
{
    char *path;
    zrt_status status;

    if (folder == NULL)
        return zrt__fail(ZRT_ERR_INPUT, "messages need a chat template; give --chat-template llama2, llama3 or chatml");
    /* Newer folders keep the template in a file of its own. */
    path = zrt__format("%s/chat_template.jinja", folder);
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    if (access(path, R_OK) == 0) {
        char text[16384];
        FILE *file = fopen(path, "rb");
        size_t n = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
        text[n] = '\0';
        if (file != NULL)
            fclose(file);
        status = recognise(path, text, family_out);
        free(path);
        return status;
    }
    free(path);
    path = zrt__format("%s/tokenizer_config.json", folder);
    if (path == NULL)
        return ZRT_ERR_MEMORY;
    status = read_template(path, family_out);
    free(path);
    return status;
}

zrt_status zrt__chat_family_choose(const char *name, const char *folder, const zrt_tokenizer *tokenizer,
                                   zrt__chat_family *family_out)
{
    int chosen = -1;

    for (int i = 0; name != NULL && i < N_FAMILIES; i++) {
        if (strcmp(name, families[i].name) == 0)
            chosen = i;
    }
    if (name != NULL && chosen < 0)
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "the chat template '%.64s' is not supported; there are llama2, llama3 and chatml", name);
    if (name != NULL)
        *family_out = (zrt__chat_family)chosen;
    else
        ZRT_TRY(read_folder(folder, family_out));
    for (size_t i = 0; i < 4 && families[*family_out].tokens[i] != NULL; i++) {
        if (zrt_tokenizer_find(tokenizer, families[*family_out].tokens[i]) < 0)
            return zrt__fail(
                ZRT_ERR_INPUT,
                "the chat template %s needs the token '%s', which the tokenizer has not; choose another by "
                "--chat-template or add it by --special-tokens",
                families[*family_out].name, families[*family_out].tokens[i]);
    }
    return ZRT_OK;
}

/* ---- rendering ---- */

typedef struct message {
    const char *role, *content;
    size_t n;
} message;

static zrt_status put(zrt__chat_text *out, const char *text)
{
    return zrt__bytes_append(&out->text, text, strlen(text));
}

static zrt_status refuse(const char *why, const char **why_out)
{
    *why_out = why;
    return ZRT_ERR_INPUT;
}

static zrt_status read_message(const json_t *json, message *out, const char **why_out)
{
    const json_t *role = json_object_get(json, "role"), *content = json_object_get(json, "content");

    if (!json_is_string(role) || !json_is_string(content))
        return refuse("a message must have 'role' and 'content', both text", why_out);
    *out = (message){json_string_value(role), json_string_value(content), json_string_length(content)};
    if (strcmp(out->role, "system") != 0 && strcmp(out->role, "user") != 0 && strcmp(out->role, "assistant") != 0)
        return refuse("a message's role must be system, user or assistant", why_out);
    return ZRT_OK;
}

/* Python's str.strip. */
static void strip(message *m)
{
    size_t bytes, before;

    while (m->n > 0 && zrt__is_space(zrt__utf8_decode(m->content, &bytes))) {
        m->content += bytes;
        m->n -= bytes;
    }
    while (m->n > 0) {
        before = zrt__utf8_previous(m->content, m->n);
        if (!zrt__is_space(zrt__utf8_decode(m->content + before, &bytes)))
            return;
        m->n = before;
    }
}

static zrt_status add_part(zrt__chat_text *out, size_t start)
{
    ZRT_TRY(zrt__grow(&out->parts, &out->capacity, out->n_parts, sizeof *out->parts));
    out->parts[out->n_parts++] = (zrt__chat_part){start, out->text.n};
    return ZRT_OK;
}

static zrt_status put_llama2(const message *m, const message *system, zrt__chat_text *out)
{
    message content = *m;

    if (m->role[0] == 'a') {
        size_t start;
        ZRT_TRY(put(out, " "));
        strip(&content);
        start = out->text.n;
        ZRT_TRY(zrt__bytes_append(&out->text, content.content, content.n));
        ZRT_TRY(put(out, " </s>"));
        return add_part(out, start);
    }
    ZRT_TRY(put(out, "<s>[INST] "));
    if (system !=
        NULL) { /* the two are stripped as one text that begins and, if the user says anything, ends with marks */
        ZRT_TRY(put(out, "<<SYS>>\n"));
        ZRT_TRY(zrt__bytes_append(&out->text, system->content, system->n));
        ZRT_TRY(put(out, "\n<</SYS>>\n\n"));
        strip(&content);
        if (content.n > 0 && m->n > 0) { /* only the end is stripped: the beginning follows the marks */
            size_t left = (size_t)(content.content - m->content);
            content.content = m->content;
            content.n += left;
        } else {
            out->text.n -= 2;
        }
    } else {
        strip(&content);
    }
    ZRT_TRY(zrt__bytes_append(&out->text, content.content, content.n));
    return put(out, " [/INST]");
}

static zrt_status put_marked(zrt__chat_family family, const message *m, zrt__chat_text *out)
{
    bool is_llama3 = family == ZRT__CHAT_LLAMA3;
    message content = *m;
    size_t start;

    if (is_llama3)
        strip(&content);
    ZRT_TRY(put(out, is_llama3 ? "<|start_header_id|>" : "<|im_start|>"));
    ZRT_TRY(put(out, m->role));
    ZRT_TRY(put(out, is_llama3 ? "<|end_header_id|>\n\n" : "\n"));
    start = out->text.n;
    ZRT_TRY(zrt__bytes_append(&out->text, content.content, content.n));
    ZRT_TRY(put(out, is_llama3 ? "<|eot_id|>" : "<|im_end|>"));
    if (m->role[0] == 'a')
        ZRT_TRY(add_part(out, start));
    return is_llama3 ? ZRT_OK : put(out, "\n");
}

/* Llama 2's takes user and assistant in turn, after a system message or none. */
static zrt_status render_llama2(const json_t *messages, zrt__chat_text *out, const char **why_out)
{
    message system, m;
    size_t first = 0;

    ZRT_TRY(read_message(json_array_get(messages, 0), &system, why_out));
    if (system.role[0] == 's')
        first = 1;
    if (first == json_array_size(messages))
        return refuse("there must be a message of the user", why_out);
    for (size_t i = first; i < json_array_size(messages); i++) {
        ZRT_TRY(read_message(json_array_get(messages, i), &m, why_out));
        if (m.role[0] != ((i - first) % 2 == 0 ? 'u' : 'a'))
            return refuse("user and assistant must take turns, which Llama 2's template asks for", why_out);
        ZRT_TRY(put_llama2(&m, first == 1 && i == 1 ? &system : NULL, out));
    }
    return ZRT_OK;
}

zrt_status zrt__chat_render(zrt__chat_family family, const json_t *messages, zrt__chat_text *out, const char **why_out)
{
    message m;

    out->text.n = out->n_parts = 0;
    ZRT_TRY(zrt__bytes_reserve(&out->text, 1));
    *why_out = NULL;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return refuse("'messages' must be a list with a message or more", why_out);
    if (family == ZRT__CHAT_LLAMA2)
        return render_llama2(messages, out, why_out);
    if (family == ZRT__CHAT_LLAMA3)
        ZRT_TRY(put(out, "<|begin_of_text|>"));
    for (size_t i = 0; i < json_array_size(messages); i++) {
        ZRT_TRY(read_message(json_array_get(messages, i), &m, why_out));
        ZRT_TRY(put_marked(family, &m, out));
    }
    return ZRT_OK;
}

void zrt__chat_text_release(zrt__chat_text *text)
{
    zrt__bytes_release(&text->text);
    free(text->parts);
    *text = (zrt__chat_text){0};
}
