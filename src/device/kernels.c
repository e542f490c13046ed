#include "config.h"

#include "device/kernels.h"

zrt__launch_fn *zrt__kernel_get(const zrt__kernel_ops *ops, zrt__kernel kernel)
{
    switch (kernel) {
#define ZRT__KERNEL_CASE(name) \
    case ZRT__KERNEL_##name:   \
        return ops->name;
        ZRT__KERNEL_TABLE(ZRT__KERNEL_CASE)
#undef ZRT__KERNEL_CASE
    case ZRT__N_KERNELS:
        break;
    }
    return NULL;
}

const char *zrt__kernel_name(zrt__kernel kernel)
{
    static const char *const names[] = {
#define ZRT__KERNEL_TEXT(name) #name,
        ZRT__KERNEL_TABLE(ZRT__KERNEL_TEXT)
#undef ZRT__KERNEL_TEXT
    };
    return kernel < ZRT__N_KERNELS ? names[kernel] : "unknown kernel";
}
