/* The CPU's kernels, one function a slot of kernel_ops. */
#ifndef ZRT_DEVICE_CPU_CPU_KERNELS_H
#define ZRT_DEVICE_CPU_CPU_KERNELS_H

#include "device/cpu/cpu_device.h"
#include "device/kernels.h"

#define ZRT__CPU_KERNEL_DECLARATION(name) zrt_status zrt__cpu_##name(zrt__stream *stream, const void *arg);
ZRT__KERNEL_TABLE(ZRT__CPU_KERNEL_DECLARATION)
#undef ZRT__CPU_KERNEL_DECLARATION

#endif
