#include "config.h"

#include <pthread.h>
#include <string.h>

#include "base/error.h"
#include "tap.h"

static void *fail_in_thread(void *arg)
{
    bool *was_empty = arg;

    *was_empty = zrt_error_message()[0] == '\0';
    zrt__fail(ZRT_ERR_IO, "of another thread");
    return NULL;
}

static zrt_status try_it(zrt_status status)
{
    ZRT_TRY(status);
    return ZRT_END;
}

int main(void)
{
    char long_text[20000];
    pthread_t thread;
    bool was_empty = false;

    tap_ok(strcmp(zrt_error_message(), "") == 0, "no message before an error");
    tap_ok(zrt__fail(ZRT_ERR_INPUT, "%s: line %d", "file", 3) == ZRT_ERR_INPUT, "the status comes back");
    tap_ok(strcmp(zrt_error_message(), "file: line 3") == 0, "the message is kept");
    tap_ok(zrt__fail_context(ZRT_ERR_INPUT, "%s: ", "folder") == ZRT_ERR_INPUT &&
               strcmp(zrt_error_message(), "folder: file: line 3") == 0,
           "context goes before it");
    zrt__fail(ZRT_ERR_INPUT, "again %s", zrt_error_message());
    tap_ok(strcmp(zrt_error_message(), "again folder: file: line 3") == 0, "a message may quote the one before");
    zrt__fail_with(ZRT_ERR_COMM, "100%s of it");
    tap_ok(strcmp(zrt_error_message(), "100%s of it") == 0, "a foreign message is taken as it is");
    zrt__fail_with(ZRT_ERR_COMM, zrt_error_message());
    tap_ok(strcmp(zrt_error_message(), "100%s of it") == 0, "also when it is this one");

    pthread_create(&thread, NULL, fail_in_thread, &was_empty);
    pthread_join(thread, NULL);
    tap_ok(was_empty && strcmp(zrt_error_message(), "100%s of it") == 0, "each thread has its own message");

    memset(long_text, 'x', sizeof long_text);
    long_text[sizeof long_text - 1] = '\0';
    zrt__fail(ZRT_ERR_MEMORY, "%s", long_text);
    tap_ok(strlen(zrt_error_message()) > 4000, "a message that is too long is cut");

    zrt__error_set_rank(3);
    zrt__fail(ZRT_ERR_IO, "disk full");
    tap_ok(strstr(zrt_error_message(), "disk full") != NULL && strstr(zrt_error_message(), "rank 3") != NULL,
           "the rank is named: %s", zrt_error_message());

    tap_ok(zrt_status_exit_code(ZRT_OK) == 0 && zrt_status_exit_code(ZRT_ERR_CONFIG) == 2 &&
               zrt_status_exit_code(ZRT_ERR_IO) == 1 && zrt_status_exit_code((zrt_status)-77) == 1,
           "exit codes");
    tap_ok(strcmp(zrt_status_text(ZRT_ERR_MEMORY), "out of memory") == 0 && zrt_status_text((zrt_status)-77)[0] != '\0',
           "texts");
    tap_ok(try_it(ZRT_OK) == ZRT_END && try_it(ZRT_ERR_COMM) == ZRT_ERR_COMM, "ZRT_TRY returns what is not ZRT_OK");
    return tap_done();
}
