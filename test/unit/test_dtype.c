#include "config.h"

#include <string.h>

#include <zerort/tensor.h>
#include <zerort/version.h>

#include "tap.h"

int main(void)
{
    static const struct {
        zrt_dtype dtype;
        size_t bytes;
        const char *name;
    } known[] = {
        {ZRT_FLOAT32, 4, "fp32"}, {ZRT_FLOAT16, 2, "fp16"}, {ZRT_BFLOAT16, 2, "bf16"}, {ZRT_FLOAT64, 8, "fp64"},
        {ZRT_INT32, 4, "int32"},  {ZRT_INT64, 8, "int64"},  {ZRT_UINT8, 1, "uint8"},
    };
    zrt_view scalar = {0}, view = {.dtype = ZRT_FLOAT32, .n_dims = 3, .dims = {70000, 70000, 3}};
    zrt_view empty = {.n_dims = 2, .dims = {5, 0}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        tap_ok(zrt_dtype_bytes(known[i].dtype) == known[i].bytes &&
                   strcmp(zrt_dtype_name(known[i].dtype), known[i].name) == 0,
               "%s has %zu bytes", known[i].name, known[i].bytes);
    tap_ok(zrt_dtype_bytes((zrt_dtype)99) == 0, "a type that is none has no bytes");
    tap_ok(zrt_view_elements(&scalar) == 1, "no dimensions: one element");
    tap_ok(zrt_view_elements(&view) == INT64_C(14700000000), "elements are counted in 64 bits");
    tap_ok(zrt_view_elements(&empty) == 0, "a dimension of nothing: no elements");
    tap_ok(strcmp(zrt_version(), PACKAGE_VERSION) == 0, "the version is the package's");
    return tap_done();
}
