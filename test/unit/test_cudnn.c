/* Graphs of attention and cuDNN's choice of engines, without a GPU: for an H200 that is only described. The last step, loading
 * the engine's code, needs one. */
/* asan: fast_unwind_on_malloc=1 */ /* nvrtc allocates so much that the slow way takes five minutes */
#include "config.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "device/cuda/cudnn_sdpa.h"
#include "tap.h"

/* cudaDeviceProp of an H200, in cuDNN's words. */
static const char h200[] =
    "{\"deviceVer\":900,\"driverVer\":13000,\"cudaDeviceId\":0,\"deviceName\":\"NVIDIA H200\","
    "\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
    "\"multiProcessorCount\":132,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
    "\"maxSharedMemoryPerBlockOptin\":232448,\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
    "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,"
    "\"supportCoopLaunch\":1,\"totalGlobalMem\":150754820096,\"smClockRateKHz\":1980000,\"memClockRateKHz\":3201000,"
    "\"l2CacheSize\":62914560}";

typedef struct wanted {
    int64_t rows, length, n_heads, n_kv_heads, head_dim;
    bool fp16, causal, deterministic, taken;
} wanted;

static zrt_status plan(const zrt__cudnn_library *library, const wanted *w, bool backward, zrt__cudnn_plan *plan_out,
                       int *n_operations_out)
{
    zrt__cudnn_graph graph;
    zrt__cudnn_shape shape = {.rows = w->rows,
                              .length = w->length,
                              .n_heads = w->n_heads,
                              .n_kv_heads = w->n_kv_heads,
                              .head_dim = w->head_dim,
                              .dtype = w->fp16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16,
                              .causal = w->causal,
                              .backward = backward,
                              .deterministic = w->deterministic && backward};
    *plan_out = (zrt__cudnn_plan){0};
    zrt__cudnn_graph_begin(library, &graph);
    zrt__cudnn_target target = {.properties = zrt__cudnn_properties(&graph, h200)};
    zrt__cudnn_sdpa_build(&graph, &shape);
    zrt_status status = graph.status;
    *n_operations_out = graph.n_operations;
    if (status == ZRT_OK)
        status = zrt__cudnn_graph_plan(&graph, &target, plan_out);
    zrt__cudnn_graph_free(&graph);
    return status;
}

/* An engine that is found and cannot be loaded, because no driver is there, was chosen. */
static void one(const zrt__cudnn_library *library, const wanted *w, bool backward)
{
    zrt__cudnn_plan p;
    int n_operations;
    zrt_status status = plan(library, w, backward, &p, &n_operations);
    bool ready = status == ZRT_OK, chosen = p.n_engines > 0 && (ready || status == ZRT_ERR_DEVICE);
    tap_ok(chosen == w->taken && (w->taken || status == ZRT_ERR_NOT_SUPPORTED),
           "%s of %d x %d, %d heads (%d) of %d, %s%s%s: %d operations, %d engines%s", backward ? "backward" : "forward",
           (int)w->rows, (int)w->length, (int)w->n_heads, (int)w->n_kv_heads, (int)w->head_dim,
           w->fp16 ? "fp16" : "bf16", w->causal ? ", causal" : "",
           w->deterministic && backward ? ", deterministic" : "", n_operations, p.n_engines,
           ready ? ", made ready" : "");
    if (chosen != w->taken || (!ready && status != ZRT_ERR_DEVICE))
        tap_diag("%s", zrt_error_message());
}

int main(void)
{
    static const wanted shapes[] = {
        {64, 1024, 12, 12, 64, false, true, false, true}, /* GPT-2 124M */
        {16, 1024, 25, 25, 64, false, true, false, true}, /* GPT-2 1558M */
        {4, 4096, 32, 8, 64, false, true, false, true},   /* Llama 1.5B */
        {4, 4096, 32, 32, 128, true, true, false, true},  /* Llama-2 7B */
        {1, 8192, 32, 8, 128, false, true, false, true},  /* Llama-3 8B */
        {2, 512, 8, 8, 128, false, true, true, true},     /* deterministic */
        {2, 512, 8, 2, 64, true, true, true, true},       /* the same, grouped queries */
        {2, 384, 12, 12, 64, false, false, false, true},  /* both ways */
        {3, 100, 4, 2, 16, false, true, false, true},     /* a length that is no multiple of a tile */
        {2, 1000, 4, 4, 72, true, true, false, true},     /* a head that is none */
        {2, 128, 4, 4, 20, false, true, false, false},    /* rows of heads off the grid of 16 bytes */
    };
    zrt__cudnn_library library;
    /* Where there is no driver, the toolkit's stand-in for it is enough for all but loading code. */
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (driver == NULL)
        driver = dlopen(ZRT_CUDA_LIBRARY_DIR "/stubs/libcuda.so", RTLD_NOW | RTLD_GLOBAL);
    /* cuDNN opens and closes it for each engine; what it leaks could not be told from ours once it is gone. */
    dlopen(ZRT_CUDA_LIBRARY_DIR "/libnvrtc.so", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    bool loaded = zrt__cudnn_load(&library) == ZRT_OK;
    if (driver == NULL || !loaded || library.version < 90800) {
        tap_skip(0, "%s",
                 loaded ? "before 9.8 cuDNN chooses engines only for devices that are there" : zrt_error_message());
        return tap_done();
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        one(&library, &shapes[i], false);
        one(&library, &shapes[i], true);
    }
    return tap_done();
}
