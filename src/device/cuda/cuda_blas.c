#include "config.h"

#include "device/cuda/cuda_blas.h"

#include <cublasLt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "device/cuda/cuda_library.h"

/* clang-format off */
#define FUNCTIONS(X)                        \
    X(cublasLtCreate)                       \
    X(cublasLtDestroy)                      \
    X(cublasLtMatmul)                       \
    X(cublasLtMatmulDescCreate)             \
    X(cublasLtMatmulDescDestroy)            \
    X(cublasLtMatmulDescSetAttribute)       \
    X(cublasLtMatrixLayoutCreate)           \
    X(cublasLtMatrixLayoutDestroy)          \
    X(cublasLtMatmulPreferenceCreate)       \
    X(cublasLtMatmulPreferenceDestroy)      \
    X(cublasLtMatmulPreferenceSetAttribute) \
    X(cublasLtMatmulAlgoGetHeuristic)       \
    X(cublasLtGetStatusString)
/* clang-format on */

typedef struct functions {
#define MEMBER(name) __typeof__(&name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} functions;

/* What an algorithm was chosen for. Compared as bytes: cleared before it is filled. */
typedef struct shape {
    int64_t rows, columns, inner;
    int32_t a_dtype, b_dtype, c_dtype;
    int32_t trans_a, trans_b, has_bias, beta, epilogue, has_aux;
    uint32_t alignment_a, alignment_b, alignment_c, alignment_d, alignment_aux, unused0;
    size_t workspace;
} shape;

typedef struct planned {
    shape key;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    bool possible;
} planned;

struct zrt__cuda_blas {
    functions lt;
    cublasLtHandle_t handle;
    planned **table; /* open addressing; a power of two */
    size_t n, capacity;
};

static zrt_status check(const zrt__cuda_blas *blas, const zrt__device *device, cublasStatus_t status, const char *what)
{
    const zrt__cuda_device *cuda = (const zrt__cuda_device *)device;
    if (status == CUBLAS_STATUS_SUCCESS)
        return ZRT_OK;
    return zrt__fail(status == CUBLAS_STATUS_ALLOC_FAILED ? ZRT_ERR_MEMORY : ZRT_ERR_DEVICE,
                     "%s: GPU %d (%s) of host %s: cuBLASLt says %s", what, cuda->ordinal, cuda->name, cuda->host,
                     blas->lt.cublasLtGetStatusString(status));
}

static zrt_status load(functions *lt)
{
    static const char *const names[] = {
#define NAME(name) #name,
        FUNCTIONS(NAME)
#undef NAME
    };
    enum { N = sizeof names / sizeof *names };
    void *found[N];
    zrt__cuda_symbol symbols[N];
    char soname[64];
    for (int i = 0; i < N; i++)
        symbols[i] = (zrt__cuda_symbol){names[i], &found[i]};
    snprintf(soname, sizeof soname, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
    ZRT_TRY(zrt__cuda_library_open(soname, "cuBLAS of CUDA's toolkit", symbols, N));
    int i = 0;
#define TAKE(name) *(void **)&lt->name = found[i++];
    FUNCTIONS(TAKE)
#undef TAKE
    return ZRT_OK;
}

zrt_status zrt__cuda_blas_create(zrt__cuda_device *device, zrt__cuda_blas **blas_out)
{
    enum { SLOTS = 256 };
    zrt__cuda_blas *blas = zrt__calloc(1, sizeof *blas);
    if (blas == NULL)
        return ZRT_ERR_MEMORY;
    blas->table = zrt__calloc(SLOTS, sizeof *blas->table);
    blas->capacity = SLOTS;
    zrt_status status = blas->table != NULL ? load(&blas->lt) : ZRT_ERR_MEMORY;
    if (status == ZRT_OK)
        status = check(blas, &device->base, blas->lt.cublasLtCreate(&blas->handle), "starting cuBLASLt");
    if (status != ZRT_OK) {
        zrt__cuda_blas_destroy(&blas);
        return status;
    }
    *blas_out = blas;
    return ZRT_OK;
}

static void forget(zrt__cuda_blas *blas, planned *p)
{
    if (p->a != NULL)
        blas->lt.cublasLtMatrixLayoutDestroy(p->a);
    if (p->b != NULL)
        blas->lt.cublasLtMatrixLayoutDestroy(p->b);
    if (p->c != NULL)
        blas->lt.cublasLtMatrixLayoutDestroy(p->c);
    if (p->operation != NULL)
        blas->lt.cublasLtMatmulDescDestroy(p->operation);
    free(p);
}

void zrt__cuda_blas_destroy(zrt__cuda_blas **blas)
{
    if (blas == NULL || *blas == NULL)
        return;
    for (size_t i = 0; (*blas)->table != NULL && i < (*blas)->capacity; i++)
        if ((*blas)->table[i] != NULL)
            forget(*blas, (*blas)->table[i]);
    if ((*blas)->handle != NULL)
        (*blas)->lt.cublasLtDestroy((*blas)->handle);
    free((*blas)->table);
    free(*blas);
    *blas = NULL;
}

/* ---- choosing ---- */

static cudaDataType_t type_of(zrt_dtype dtype)
{
    return dtype == ZRT_FLOAT16 ? CUDA_R_16F : dtype == ZRT_BFLOAT16 ? CUDA_R_16BF : CUDA_R_32F;
}

static uint32_t alignment_of(const void *data)
{
    uintptr_t bits = (uintptr_t)data | 256;
    return (uint32_t)(bits & (~bits + 1));
}

static shape shape_of(const zrt__cuda_product *p, size_t workspace)
{
    shape s;
    memset(&s, 0, sizeof s);
    s.rows = p->rows;
    s.columns = p->columns;
    s.inner = p->inner;
    s.a_dtype = (int32_t)p->a_dtype;
    s.b_dtype = (int32_t)p->b_dtype;
    s.c_dtype = (int32_t)p->c_dtype;
    s.trans_a = p->trans_a;
    s.trans_b = p->trans_b;
    s.has_bias = p->bias != NULL;
    s.beta = p->accumulate || p->add != NULL;
    s.epilogue = (int32_t)p->epilogue;
    s.has_aux = p->aux != NULL;
    s.alignment_a = alignment_of(p->a);
    s.alignment_b = alignment_of(p->b);
    s.alignment_c = alignment_of(p->add != NULL ? p->add : p->c);
    s.alignment_d = alignment_of(p->c);
    s.alignment_aux = alignment_of(p->aux);
    s.workspace = workspace;
    return s;
}

static cublasLtEpilogue_t epilogue_of(const shape *s)
{
    if (s->epilogue == ZRT__CUDA_DGELU)
        return CUBLASLT_EPILOGUE_DGELU;
    if (s->epilogue == ZRT__CUDA_GELU && s->has_aux)
        return s->has_bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    if (s->epilogue == ZRT__CUDA_GELU)
        return s->has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    return s->has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/* cuBLASLt thinks in columns: it computes the transpose, C' = B' A', and our second factor is its A. */
static cublasStatus_t describe(zrt__cuda_blas *blas, const shape *s, planned *p)
{
    const functions *lt = &blas->lt;
    cublasOperation_t first = s->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = s->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = epilogue_of(s);
    cudaDataType_t bias_type = type_of((zrt_dtype)s->c_dtype);
    cublasStatus_t status;
#define DO(call)                             \
    do {                                     \
        status = (call);                     \
        if (status != CUBLAS_STATUS_SUCCESS) \
            return status;                   \
    } while (0)
#define SET(attribute, value) DO(lt->cublasLtMatmulDescSetAttribute(p->operation, attribute, &(value), sizeof(value)))
    /* 32F: no TF32 */
    DO(lt->cublasLtMatmulDescCreate(&p->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    SET(CUBLASLT_MATMUL_DESC_TRANSA, first);
    SET(CUBLASLT_MATMUL_DESC_TRANSB, second);
    SET(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (s->has_bias)
        SET(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias_type);
    if (s->has_aux)
        SET(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, s->columns);
    uint64_t a_rows = (uint64_t)(s->trans_b ? s->inner : s->columns),
             a_columns = (uint64_t)(s->trans_b ? s->columns : s->inner);
    uint64_t b_rows = (uint64_t)(s->trans_a ? s->rows : s->inner),
             b_columns = (uint64_t)(s->trans_a ? s->inner : s->rows);
    DO(lt->cublasLtMatrixLayoutCreate(&p->a, type_of((zrt_dtype)s->b_dtype), a_rows, a_columns, (int64_t)a_rows));
    DO(lt->cublasLtMatrixLayoutCreate(&p->b, type_of((zrt_dtype)s->a_dtype), b_rows, b_columns, (int64_t)b_rows));
    DO(lt->cublasLtMatrixLayoutCreate(&p->c, type_of((zrt_dtype)s->c_dtype), (uint64_t)s->columns, (uint64_t)s->rows,
                                      s->columns));
#undef SET
#undef DO
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t choose(zrt__cuda_blas *blas, const shape *s, planned *p)
{
    const functions *lt = &blas->lt;
    cublasLtMatmulPreference_t preference = NULL;
    cublasStatus_t status = lt->cublasLtMatmulPreferenceCreate(&preference);
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t bytes;
    } wanted[] = {{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &s->workspace, sizeof s->workspace},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &s->alignment_b, sizeof s->alignment_b},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &s->alignment_a, sizeof s->alignment_a},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &s->alignment_c, sizeof s->alignment_c},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &s->alignment_d, sizeof s->alignment_d}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && status == CUBLAS_STATUS_SUCCESS; i++)
        status =
            lt->cublasLtMatmulPreferenceSetAttribute(preference, wanted[i].attribute, wanted[i].value, wanted[i].bytes);
    cublasLtMatmulHeuristicResult_t result;
    int n = 0;
    memset(&result, 0, sizeof result);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = lt->cublasLtMatmulAlgoGetHeuristic(blas->handle, p->operation, p->a, p->b, p->c, p->c, preference, 1,
                                                    &result, &n);
    if (preference != NULL)
        lt->cublasLtMatmulPreferenceDestroy(preference);
    p->possible = status == CUBLAS_STATUS_SUCCESS && n > 0 && result.state == CUBLAS_STATUS_SUCCESS;
    p->algorithm = result.algo;
    /* "not supported" is an answer */
    return status == CUBLAS_STATUS_NOT_SUPPORTED ? CUBLAS_STATUS_SUCCESS : status;
}

static size_t hash_of(const shape *s)
{
    const unsigned char *bytes = (const unsigned char *)s;
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < sizeof *s; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return (size_t)(hash ^ (hash >> 29));
}

static zrt_status grow(zrt__cuda_blas *blas)
{
    planned **table = zrt__calloc(2 * blas->capacity, sizeof *table);
    if (table == NULL)
        return ZRT_ERR_MEMORY;
    for (size_t i = 0; i < blas->capacity; i++) {
        planned *p = blas->table[i];
        if (p == NULL)
            continue;
        size_t at = hash_of(&p->key) & (2 * blas->capacity - 1);
        while (table[at] != NULL)
            at = (at + 1) & (2 * blas->capacity - 1);
        table[at] = p;
    }
    free(blas->table);
    blas->table = table;
    blas->capacity *= 2;
    return ZRT_OK;
}

/* The plan of a shape, made at its first use. */
static zrt_status find(zrt__cuda_blas *blas, const zrt__device *device, const shape *key, planned **planned_out)
{
    size_t at = hash_of(key) & (blas->capacity - 1);
    for (; blas->table[at] != NULL; at = (at + 1) & (blas->capacity - 1))
        if (memcmp(&blas->table[at]->key, key, sizeof *key) == 0) {
            *planned_out = blas->table[at];
            return ZRT_OK;
        }
    planned *p = zrt__calloc(1, sizeof *p);
    if (p == NULL)
        return ZRT_ERR_MEMORY;
    memcpy(&p->key, key, sizeof *key);
    cublasStatus_t error = describe(blas, key, p);
    if (error == CUBLAS_STATUS_SUCCESS)
        error = choose(blas, key, p);
    else if (key->epilogue != ZRT__CUDA_PLAIN)
        error = CUBLAS_STATUS_SUCCESS; /* without it, then */
    if (error != CUBLAS_STATUS_SUCCESS) {
        forget(blas, p);
        return check(blas, device, error, "planning a matrix product");
    }
    blas->table[at] = p;
    blas->n++;
    *planned_out = p;
    return 2 * blas->n > blas->capacity ? grow(blas) : ZRT_OK;
}

zrt_status zrt__cuda_multiply(zrt__stream *stream, const zrt__cuda_product *product)
{
    zrt__cuda_stream_state *state = (zrt__cuda_stream_state *)stream;
    zrt__cuda_blas *blas = zrt__cuda_device_of(stream)->blas;
    const float one = 1.0f, zero = 0.0f;
    shape key = shape_of(product, state->scratch_bytes);
    planned *p = NULL;
    ZRT_TRY(find(blas, stream->device, &key, &p));
    if (!p->possible) {
        if (key.epilogue != ZRT__CUDA_PLAIN)
            return ZRT_ERR_NOT_SUPPORTED;
        return zrt__fail(ZRT_ERR_NOT_SUPPORTED,
                         "cuBLASLt has no algorithm for a product of %" PRId64 " x %" PRId64 " x %" PRId64 " in %s",
                         key.rows, key.columns, key.inner, zrt_dtype_name(product->a_dtype));
    }
    cublasStatus_t error = CUBLAS_STATUS_SUCCESS;
    if (product->bias != NULL)
        error = blas->lt.cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &product->bias,
                                                        sizeof product->bias);
    if (error == CUBLAS_STATUS_SUCCESS && product->aux != NULL)
        error = blas->lt.cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER,
                                                        &product->aux, sizeof product->aux);
    if (error == CUBLAS_STATUS_SUCCESS)
        error = blas->lt.cublasLtMatmul(blas->handle, p->operation, &one, product->b, p->a, product->a, p->b,
                                        key.beta ? &one : &zero, product->add != NULL ? product->add : product->c, p->c,
                                        product->c, p->c, &p->algorithm, state->scratch, state->scratch_bytes,
                                        state->handle);
    return check(blas, stream->device, error, "a matrix product");
}
