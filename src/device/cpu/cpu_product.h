/* Matrix products of the CPU: C = A B, packed into panels that stay in the caches (Goto and van de Geijn, Anatomy of
 * High-Performance Matrix Multiplication, ACM TOMS 34(3), 2008). 16-bit operands become fp32 as they are packed, so that
 * every product accumulates in fp32. */
#ifndef ZRT_DEVICE_CPU_CPU_PRODUCT_H
#define ZRT_DEVICE_CPU_CPU_PRODUCT_H

#include "device/cpu/cpu_device.h"

/* C [rows, columns] = A B + what C starts with; A is [rows, inner], or its transpose is stored; B likewise. */
typedef struct zrt__cpu_product {
    const void *a, *b;
    void *c;
    zrt_dtype a_dtype, b_dtype, c_dtype;
    bool trans_a, trans_b;
    int64_t rows, columns, inner;
    const void *bias; /* [columns] of b_dtype, or NULL */
    const void *add;  /* [rows, columns] of c_dtype, or NULL; may be c */
    bool accumulate;  /* C starts with itself */
} zrt__cpu_product;

/* The largest tile, a multiple of every instruction set's panels, and the elements of the inner dimension that are packed
 * at a time: A's block of a tile fills half of a level-2 cache. */
enum {
    ZRT__TILE_ROWS = 264,
    ZRT__TILE_COLUMNS = 576,
    ZRT__TILE_UNIT_COLUMNS = 96,
    ZRT__TILE_INNER = 384,
};

/* What a thread needs to compute a tile. */
#define ZRT__CPU_PRODUCT_SCRATCH_BYTES \
    (sizeof(float) *                   \
     (ZRT__TILE_ROWS * ZRT__TILE_INNER + 36 * ZRT__TILE_INNER + 512 + ZRT__TILE_ROWS * ZRT__TILE_COLUMNS))

/* Rows [row, row + rows) x columns [column, column + columns) of C, at most a largest tile. Sums depend on the shape of the
 * product alone, not on the tile nor on who computes it. */
void zrt__cpu_product_tile(const zrt__cpu_product *product, float *scratch, int64_t row, int64_t column, int64_t rows,
                           int64_t columns);

#endif
