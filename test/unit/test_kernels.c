/* The CPU's kernels. */
#include "config.h"

#include "conformance/kernel_suite.h"
#include "tap.h"

int main(void)
{
    kernel_suite_run(&zrt__device_cpu_ops, &zrt__kernel_cpu_ops);
    return tap_done();
}
