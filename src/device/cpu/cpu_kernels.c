#include "config.h"

#include "device/cpu/cpu_kernels.h"

#define ZRT__CPU_KERNEL_SLOT(name) .name = zrt__cpu_##name,
const zrt__kernel_ops zrt__kernel_cpu_ops = {ZRT__KERNEL_TABLE(ZRT__CPU_KERNEL_SLOT)};
