/* Compares the learning-rate schedules with recorded ones.
 *
 *     test/schedules [FILE]
 *
 * FILE (default: schedules.json of the golden data) is a list of cases:
 *   {"source": "deepspeed", "scheduler": {"type": T, "params": {..}}, "optimizer_lr": X, "lr": [..]}
 *   {"source": "transformers", "lr_scheduler_type": T, "learning_rate": X, "warmup_steps": N, "max_steps": N, "lr_scheduler_kwargs": {..}, "lr": [..]}
 * Every rate must agree within 1e-9 relative, or 1e-15 where the recorded one is 0. */
#include "config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optim/schedule.h"
#include "tap.h"

static zrt_status set_all(zrt__schedule *schedule, json_t *parameters)
{
    const char *key;
    json_t *value;
    json_object_foreach(parameters, key, value)
    {
        if (json_is_null(value))
            continue;
        if (json_is_string(value))
            ZRT_TRY(zrt__schedule_set_text(schedule, key, json_string_value(value)));
        else
            ZRT_TRY(zrt__schedule_set_number(schedule, key,
                                             json_is_boolean(value) ? json_is_true(value) : json_number_value(value)));
    }
    return ZRT_OK;
}

static zrt_status make_schedule(json_t *test, zrt__schedule *schedule)
{
    json_t *scheduler = json_object_get(test, "scheduler");
    const char *name = json_string_value(scheduler != NULL ? json_object_get(scheduler, "type")
                                                           : json_object_get(test, "lr_scheduler_type"));
    zrt__schedule_type type;
    ZRT_TRY(zrt__schedule_type_find(name == NULL ? "" : name, &type));
    if (scheduler != NULL) {
        zrt__schedule_init(schedule, type, json_number_value(json_object_get(test, "optimizer_lr")));
        ZRT_TRY(set_all(schedule, json_object_get(scheduler, "params")));
    } else {
        zrt__schedule_init(schedule, type, json_number_value(json_object_get(test, "learning_rate")));
        ZRT_TRY(zrt__schedule_set_number(schedule, "num_warmup_steps",
                                         json_number_value(json_object_get(test, "warmup_steps"))));
        ZRT_TRY(zrt__schedule_set_number(schedule, "num_training_steps",
                                         json_number_value(json_object_get(test, "max_steps"))));
        ZRT_TRY(set_all(schedule, json_object_get(test, "lr_scheduler_kwargs")));
    }
    return zrt__schedule_check(schedule);
}

static void compare(size_t number, json_t *test)
{
    zrt__schedule schedule;
    if (make_schedule(test, &schedule) != ZRT_OK) {
        tap_ok(false, "case %zu: %s", number, zrt_error_message());
        return;
    }
    json_t *rates = json_object_get(test, "lr");
    size_t n = json_array_size(rates), n_wrong = 0;
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        double want = json_number_value(json_array_get(rates, i)), have = zrt__schedule_rate(&schedule, (int64_t)i);
        double deviation = want == 0.0 ? fabs(have) * (1e-9 / 1e-15) : fabs(have - want) / fabs(want);
        if (!(deviation <= 1e-9) && n_wrong++ == 0)
            tap_diag("step %zu: %.17g, recorded %.17g", i, have, want);
        worst = deviation > worst ? deviation : worst;
    }
    char *kwargs = json_dumps(json_object_get(test, "lr_scheduler_kwargs"), JSON_COMPACT);
    tap_ok(n > 0 && n_wrong == 0, "case %zu: %s%s%s, %zu steps, worst %.1e", number,
           zrt__schedule_type_name(schedule.type), kwargs != NULL ? " " : "", kwargs != NULL ? kwargs : "", n, worst);
    free(kwargs);
}

int main(int argc, char **argv)
{
    char path[4096];
    const char *golden = getenv("ZRT_GOLDEN");
    snprintf(path, sizeof path, "%s/schedules.json", golden != NULL ? golden : ZRT_GOLDEN_DIR);
    json_error_t error;
    json_t *cases = json_load_file(argc > 1 ? argv[1] : path, 0, &error);
    if (!json_is_array(cases) || json_array_size(cases) == 0) {
        fprintf(stderr, "%s: %s\n", argc > 1 ? argv[1] : path, cases == NULL ? error.text : "not a list of cases");
        json_decref(cases);
        return 2;
    }
    for (size_t i = 0; i < json_array_size(cases); i++)
        compare(i, json_array_get(cases, i));
    json_decref(cases);
    return tap_done();
}
