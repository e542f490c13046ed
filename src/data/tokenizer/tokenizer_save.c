/* tokenizer.json again, with more tokens: its text stays as it was but for them, because vocabularies have keys that jansson has not. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/tokenizer/tokenizer.h"

/* Behind the string that begins at text[at]. */
static size_t skip_string(const char *text, size_t n, size_t at)
{
    for (at++; at < n && text[at] != '"'; at++) {
        if (text[at] == '\\')
            at++;
    }
    return at + 1;
}

/* Where the array of a key of the outermost object starts and ends, at its brackets; false where there is none. */
static bool find_array(const char *text, size_t n, const char *key, size_t *start_out, size_t *end_out)
{
    size_t n_key = strlen(key);
    int depth = 0;
    bool is_next = false, found = false;

    for (size_t at = 0; at < n;) {
        if (text[at] == '"') {
            size_t end = skip_string(text, n, at);
            is_next = !found && depth == 1 && end - at == n_key + 2 && memcmp(text + at + 1, key, n_key) == 0;
            at = end;
            continue;
        }
        if (text[at] == '[' || text[at] == '{') {
            if (is_next && text[at] == '[' && depth == 1) {
                *start_out = at;
                found = true;
            }
            is_next = false;
            depth++;
        } else if (text[at] == ']' || text[at] == '}') {
            depth--;
            if (found && depth == 1) {
                *end_out = at;
                return true;
            }
        }
        at++;
    }
    return false;
}

static zrt_status put_token(const zrt__added_token *token, bool is_first, zrt__bytes *out)
{
    json_t *name = json_stringn(token->content, token->n);
    char *quoted = name != NULL ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    char *line = quoted == NULL
                     ? NULL
                     : zrt__format("%s\n    {\"id\": %" PRId32 ", \"content\": %s, \"single_word\": false, "
                                   "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}",
                                   is_first ? "" : ",", token->id, quoted);
    zrt_status status = line != NULL ? zrt__bytes_append(out, line, strlen(line))
                                     : zrt__fail(ZRT_ERR_MEMORY, "out of memory for a token");

    json_decref(name);
    free(quoted);
    free(line);
    return status;
}

static zrt_status put_text(const zrt_tokenizer *tokenizer, const char *text, size_t n, zrt__bytes *out)
{
    size_t start = 0, end = 0, done = 0;
    bool has_array = find_array(text, n, "added_tokens", &start, &end), is_first = tokenizer->n_added_of_file == 0;

    if (tokenizer->n_added == tokenizer->n_added_of_file)
        return zrt__bytes_append(out, text, n);
    if (!has_array) { /* then the key comes first */
        const char *brace = memchr(text, '{', n);
        if (brace == NULL)
            return zrt__fail(ZRT_ERR_INPUT, "%s: has changed since it was read", tokenizer->path);
        done = (size_t)(brace - text) + 1;
        ZRT_TRY(zrt__bytes_append(out, text, done));
        ZRT_TRY(zrt__bytes_append(out, "\n  \"added_tokens\": [", 20));
    } else {
        for (done = end; done > start + 1 && strchr(" \t\r\n", text[done - 1]) != NULL;)
            done--;
        ZRT_TRY(zrt__bytes_append(out, text, done));
        done = end;
    }
    for (size_t i = tokenizer->n_added_of_file; i < tokenizer->n_added; i++, is_first = false)
        ZRT_TRY(put_token(&tokenizer->added[i], is_first, out));
    if (!has_array)
        ZRT_TRY(zrt__bytes_append(out, "],", 2));
    return zrt__bytes_append(out, text + done, n - done);
}

static zrt_status write_whole(const char *path, const zrt__bytes *text)
{
    char *partial = zrt__format("%s.partial", path);
    FILE *file = partial != NULL ? fopen(partial, "wb") : NULL;
    bool good;

    if (partial == NULL)
        return ZRT_ERR_MEMORY;
    good = file != NULL && fwrite(text->data, 1, text->n, file) == text->n;
    if (file != NULL && fclose(file) != 0)
        good = false;
    good = good && rename(partial, path) == 0;
    if (!good) {
        zrt__fail(ZRT_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
        if (file != NULL)
            unlink(partial);
    }
    free(partial);
    return good ? ZRT_OK : ZRT_ERR_IO;
}

zrt_status zrt_tokenizer_save(const zrt_tokenizer *tokenizer, const char *folder)
{
    char *path = zrt__format("%s/tokenizer.json", folder), *text = NULL;
    zrt__bytes out = {0};
    size_t n = 0;
    zrt_status status = path != NULL ? zrt__tokenizer_read_file(tokenizer->path, &text, &n) : ZRT_ERR_MEMORY;

    if (status == ZRT_OK)
        status = put_text(tokenizer, text, n, &out);
    if (status == ZRT_OK)
        status = write_whole(path, &out);
    zrt__bytes_release(&out);
    free(text);
    free(path);
    return status;
}
