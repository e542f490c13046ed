#include "config.h"

#include "graph/graph.h"

/* The table that device/kernels.h documents with "in place". */
uint32_t zrt__kernel_in_place(zrt__kernel kernel, int output)
{
    if (kernel == ZRT__KERNEL_add_layernorm_forward)
        return output == 3 ? 3u : 0u;
    if (kernel == ZRT__KERNEL_add_rmsnorm_forward)
        return output == 2 ? 3u : 0u;
    if (kernel == ZRT__KERNEL_cross_entropy)
        return output == 1 ? 1u : 0u;
    if (output != 0)
        return 0;
    switch (kernel) {
    case ZRT__KERNEL_linear_backward_input:
        return 1u << 2;
    case ZRT__KERNEL_layernorm_backward:
        return 1u << 5 | 1u;
    case ZRT__KERNEL_rmsnorm_backward:
        return 1u << 4 | 1u;
    case ZRT__KERNEL_rope:
    case ZRT__KERNEL_activation_forward:
    case ZRT__KERNEL_activation_backward:
    case ZRT__KERNEL_scale:
    case ZRT__KERNEL_columns_add:
    case ZRT__KERNEL_cross_entropy_backward:
        return 1u;
    case ZRT__KERNEL_glu_backward:
        return 1u << 1;
    case ZRT__KERNEL_add:
    case ZRT__KERNEL_mul:
    case ZRT__KERNEL_dropout:
        return 3u;
    default:
        return 0;
    }
}
