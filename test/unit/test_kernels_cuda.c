/* The GPU's kernels, by the suite that the CPU's pass. */
#include "config.h"

#include "base/error.h"
#include "conformance/kernel_suite.h"
#include "tap.h"

int main(void)
{
    zrt__device_options options = {.n_threads = 1};
    zrt__device *device = NULL;
    if (zrt__device_cuda_ops.open(&options, &device) != ZRT_OK) {
        tap_skip(0, "%s", zrt_error_message());
        return tap_done();
    }
    zrt__device_cuda_ops.close(&device);
    kernel_suite_run(&zrt__device_cuda_ops, &zrt__kernel_cuda_ops);
    return tap_done();
}
