/* Compiles a kernel file once an instruction set, as Highway's foreach_target does. The file defines ZRT__SELF as its
 * own path, includes this, and keeps what is to be compiled several times under `#ifdef ZRT__ISA`, with names made by
 * ZRT__EACH. ZRT__PICK then chooses by the processor that runs. Sums are over a fixed number of lanes in a fixed order:
 * AVX2 and AVX-512 give the same bits; the baseline of x86-64 has no fused multiply-add and rounds once more. */
#ifndef ZRT_DEVICE_CPU_CPU_ISA_H
#define ZRT_DEVICE_CPU_CPU_ISA_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"
#include "device/cpu/cpu_kernels.h"

#define ZRT__PASTE_(a, b) a##b
#define ZRT__PASTE(a, b) ZRT__PASTE_(a, b)
#define ZRT__EACH(name) ZRT__PASTE(name, ZRT__SUFFIX)

#if defined(__x86_64__)
#include <immintrin.h>

/* 2: AVX-512, 1: AVX2, FMA and F16C (which every processor with AVX2 has), 0: the baseline. */
#ifndef ZRT__CPU_ISA_MAX
#define ZRT__CPU_ISA_MAX 2
#endif
static inline int zrt__cpu_isa(void)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    int isa = avx512 ? 2 : avx2 ? 1 : 0;
    return isa < ZRT__CPU_ISA_MAX ? isa : ZRT__CPU_ISA_MAX;
}
#define ZRT__PICK(name) (zrt__cpu_isa() == 2 ? name##_avx512 : zrt__cpu_isa() == 1 ? name##_avx2 : name##_base)
#else
#define ZRT__PICK(name) name##_base
#endif

#endif

#define ZRT__ISA 0
#define ZRT__SUFFIX _base
#include "device/cpu/cpu_simd.h"
#include ZRT__SELF
#undef ZRT__ISA
#undef ZRT__SUFFIX

#if defined(__x86_64__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#define ZRT__ISA 1
#define ZRT__SUFFIX _avx2
#include "device/cpu/cpu_simd.h"
#include ZRT__SELF
#undef ZRT__ISA
#undef ZRT__SUFFIX
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#endif
#define ZRT__ISA 2
#define ZRT__SUFFIX _avx512
#include "device/cpu/cpu_simd.h"
#include ZRT__SELF
#undef ZRT__ISA
#undef ZRT__SUFFIX
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
