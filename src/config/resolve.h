/* State of a resolution; only for the files of this folder. */
#ifndef ZRT_CONFIG_RESOLVE_H
#define ZRT_CONFIG_RESOLVE_H

#include "config/configuration.h"
#include "config/resolved.h"

typedef struct zrt__resolution {
    const zrt_config *config;
    int64_t hidden_size;
    zrt__resolved *out;
    json_t *tree;    /* of out: the resolved JSON as it grows */
    json_t *sources; /* path -> where the value came from */
} zrt__resolution;

/* The value of the argument: given, or its default; NULL: neither. Borrowed until the resolution ends. */
json_t *zrt__argument_value(const zrt__resolution *resolution, const char *name, bool *given_out);
double zrt__argument_number(const zrt__resolution *resolution, const char *name);
bool zrt__argument_given(const zrt__resolution *resolution, const char *name);
/* Sets a resolved value and where it came from. Steals. */
zrt_status zrt__resolution_set(zrt__resolution *resolution, const char *path, json_t *value, const char *source);
/* The file's value where it is there and not "auto", else the argument's; an argument that was given and a file that says otherwise
 * contradict each other. Sets it. NULL argument: the key's default. */
zrt_status zrt__resolution_value(zrt__resolution *resolution, const char *path, const char *argument,
                                 json_t **value_out);

zrt_status zrt__resolve_batch(zrt__resolution *resolution);
zrt_status zrt__resolve_optimizer(zrt__resolution *resolution);
zrt_status zrt__resolve_schedule(zrt__resolution *resolution);
zrt_status zrt__resolve_precision(zrt__resolution *resolution);
zrt_status zrt__resolve_monitor(zrt__resolution *resolution);

/* Copies the nvme_path of an offload block whose device is nvme. */
zrt_status zrt__resolve_folder(zrt__resolution *resolution, const char *block, char *folder, size_t capacity);
/* Refuses what of offload_param is not there. */
zrt_status zrt__check_offload_param(const zrt__resolution *resolution);

#endif
