#include "config.h"

#include "kernel_suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "tap.h"

double suite_tolerance(zrt_dtype dtype)
{
    double unit = dtype == ZRT_FLOAT16 ? ldexp(1.0, -11) : dtype == ZRT_BFLOAT16 ? ldexp(1.0, -8) : ldexp(1.0, -24);
    return 2.0 * unit + 4e-6;
}

static uint64_t next(suite *s)
{
    uint64_t z = s->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double suite_uniform(suite *s)
{
    return (double)(next(s) >> 11) * ldexp(1.0, -52) - 1.0;
}

int suite_below(suite *s, int n)
{
    return (int)(next(s) % (uint64_t)n);
}

static void get_values(const suite_operand *o)
{
    for (int64_t i = 0; i < o->n; i++) {
        switch (o->view.dtype) {
        case ZRT_FLOAT64:
            o->values[i] = ((const double *)o->view.data)[i];
            break;
        case ZRT_INT32:
            o->values[i] = ((const int32_t *)o->view.data)[i];
            break;
        case ZRT_INT64:
            o->values[i] = (double)((const int64_t *)o->view.data)[i];
            break;
        case ZRT_FLOAT32:
            o->values[i] = (double)((const float *)o->view.data)[i];
            break;
        case ZRT_FLOAT16:
            o->values[i] = (double)zrt__fp16_to_float(((const uint16_t *)o->view.data)[i]);
            break;
        case ZRT_BFLOAT16:
            o->values[i] = (double)zrt__bf16_to_float(((const uint16_t *)o->view.data)[i]);
            break;
        case ZRT_UINT8:
            break;
        }
    }
}

void suite_set(suite_operand *o, const double *values)
{
    for (int64_t i = 0; i < o->n; i++) {
        switch (o->view.dtype) {
        case ZRT_FLOAT64:
            ((double *)o->view.data)[i] = values[i];
            break;
        case ZRT_INT32:
            ((int32_t *)o->view.data)[i] = (int32_t)values[i];
            break;
        case ZRT_INT64:
            ((int64_t *)o->view.data)[i] = (int64_t)values[i];
            break;
        case ZRT_FLOAT32:
            ((float *)o->view.data)[i] = (float)values[i];
            break;
        case ZRT_FLOAT16:
            ((uint16_t *)o->view.data)[i] = zrt__float_to_fp16((float)values[i]);
            break;
        case ZRT_BFLOAT16:
            ((uint16_t *)o->view.data)[i] = zrt__float_to_bf16((float)values[i]);
            break;
        case ZRT_UINT8:
            break;
        }
    }
    get_values(o);
}

static void make(suite *s, suite_operand *o, zrt_dtype dtype, double scale, int n_dims, const int64_t *dims)
{
    *o = (suite_operand){.view = {.dtype = dtype, .n_dims = n_dims}, .n = 1, .alias = -1};
    for (int i = 0; i < n_dims; i++) {
        o->view.dims[i] = dims[i];
        o->n *= dims[i];
    }
    /* one byte more than needed: an operand of no elements is not an absent one */
    o->view.data = calloc(1, (size_t)o->n * zrt_dtype_bytes(dtype) + 1);
    o->values = calloc((size_t)o->n + 1, sizeof *o->values);
    for (int64_t i = 0; i < o->n; i++)
        o->values[i] = scale * suite_uniform(s);
    suite_set(o, o->values);
}

double *suite_in(suite *s, suite_case *c, int index, zrt_dtype dtype, double scale, int n_dims, const int64_t *dims)
{
    make(s, &c->in[index], dtype, scale, n_dims, dims);
    return c->in[index].values;
}

double *suite_out(suite *s, suite_case *c, int index, zrt_dtype dtype, double scale, int n_dims, const int64_t *dims)
{
    make(s, &c->out[index], dtype, scale, n_dims, dims);
    return c->out[index].values;
}

void suite_state(suite_operand *o, const zrt__step_state *state, size_t bytes)
{
    *o = (suite_operand){
        .view = {.dtype = ZRT_UINT8, .n_dims = 1, .dims = {(int64_t)bytes}}, .n = (int64_t)bytes, .alias = -1};
    o->view.data = malloc(bytes);
    memcpy(o->view.data, state, bytes);
}

void suite_alias(suite_case *c, int out, int in)
{
    c->out[out].alias = in;
}

void suite_free(suite_case *c)
{
    for (int i = 0; i < ZRT__MAX_INPUTS; i++) {
        free(c->in[i].view.data);
        free(c->in[i].values);
    }
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++) {
        free(c->out[i].view.data);
        free(c->out[i].values);
    }
    *c = (suite_case){0};
}

static size_t bytes_of(const suite_operand *o)
{
    return (size_t)o->n * zrt_dtype_bytes(o->view.dtype);
}

static zrt_status run_on(suite *s, int which, suite_case *c, zrt__kernel kernel, void *results[ZRT__MAX_OUTPUTS])
{
    zrt__device *device = s->devices[which];
    zrt__stream *stream = s->streams[which];
    zrt__call call = {.accumulate = c->accumulate, .attributes = c->attributes};
    void *in[ZRT__MAX_INPUTS] = {0}, *out[ZRT__MAX_OUTPUTS] = {0};
    zrt_status status = ZRT_OK;
    for (int i = 0; i < ZRT__MAX_INPUTS; i++) {
        if (c->in[i].view.data == NULL)
            continue;
        call.in[i] = c->in[i].view;
        if (kernel == ZRT__KERNEL_step_decide)
            continue; /* its rules are in host memory */
        status =
            status == ZRT_OK ? s->ops->allocate(device, ZRT__MEMORY_DEVICE, bytes_of(&c->in[i]) + 64, &in[i]) : status;
        status = status == ZRT_OK ? s->ops->copy(stream, in[i], c->in[i].view.data, bytes_of(&c->in[i])) : status;
        call.in[i].data = in[i];
    }
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++) {
        if (c->out[i].view.data == NULL)
            continue;
        call.out[i] = c->out[i].view;
        if (c->out[i].alias >= 0) {
            call.out[i].data = in[c->out[i].alias];
            continue;
        }
        status = status == ZRT_OK ? s->ops->allocate(device, ZRT__MEMORY_DEVICE, bytes_of(&c->out[i]) + 64, &out[i])
                                  : status;
        status = status == ZRT_OK ? s->ops->copy(stream, out[i], c->out[i].view.data, bytes_of(&c->out[i])) : status;
        call.out[i].data = out[i];
    }
    status = status == ZRT_OK ? s->ops->launch(stream, zrt__kernel_get(s->kernels, kernel), &call) : status;
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++)
        if (call.out[i].data != NULL && status == ZRT_OK)
            status = s->ops->copy(stream, results[i], call.out[i].data, bytes_of(&c->out[i]));
    zrt_status ran = s->ops->stream_synchronize(stream);
    for (int i = 0; i < ZRT__MAX_INPUTS; i++)
        if (in[i] != NULL)
            s->ops->release(device, ZRT__MEMORY_DEVICE, in[i], bytes_of(&c->in[i]) + 64);
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++)
        if (out[i] != NULL)
            s->ops->release(device, ZRT__MEMORY_DEVICE, out[i], bytes_of(&c->out[i]) + 64);
    return status != ZRT_OK ? status : ran;
}

bool suite_run(suite *s, suite_case *c, zrt__kernel kernel)
{
    void *results[2][ZRT__MAX_OUTPUTS] = {{0}};
    bool equal = true;
    c->status = ZRT_OK;
    for (int which = 0; which < 2; which++) {
        for (int i = 0; i < ZRT__MAX_OUTPUTS; i++)
            results[which][i] = calloc(1, bytes_of(&c->out[i]) + 1);
        zrt_status status = run_on(s, which, c, kernel, results[which]);
        if (status != ZRT_OK && c->status == ZRT_OK) {
            tap_diag("%s: %s", zrt__kernel_name(kernel), zrt_error_message());
            c->status = status;
        }
    }
    for (int i = 0; i < ZRT__MAX_OUTPUTS; i++) {
        if (c->out[i].view.data != NULL && c->status == ZRT_OK) {
            if (memcmp(results[0][i], results[1][i], bytes_of(&c->out[i])) != 0) {
                tap_diag("%s: output %d differs between 1 and 3 threads", zrt__kernel_name(kernel), i);
                equal = false;
            }
            memcpy(c->out[i].view.data, results[0][i], bytes_of(&c->out[i]));
            if (c->out[i].values != NULL)
                get_values(&c->out[i]);
        }
        free(results[0][i]);
        free(results[1][i]);
    }
    return equal && c->status == ZRT_OK;
}

static double root_mean_square(const double *x, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += isfinite(x[i]) ? x[i] * x[i] : 0.0;
    return n > 0 ? sqrt(sum / (double)n) : 0.0;
}

bool suite_near(const double *got, const double *expected, int64_t n, double tolerance, const char *what)
{
    /* fp16's smallest step, where it is fp16; else what a lone difference of numbers near 1 cannot resolve */
    double scale = root_mean_square(expected, n),
           least = tolerance > suite_tolerance(ZRT_FLOAT32) * 6.0 ? ldexp(1.0, -24) : 1e-10;
    for (int64_t i = 0; i < n; i++) {
        if (got[i] == expected[i] || (isnan(got[i]) && isnan(expected[i])))
            continue;
        if (!(fabs(got[i] - expected[i]) <= tolerance * (fabs(expected[i]) + scale) + least)) {
            tap_diag("%s: element %lld of %lld is %.9g, not %.9g", what, (long long)i, (long long)n, got[i],
                     expected[i]);
            return false;
        }
    }
    return true;
}

bool suite_gradient(suite *s, const suite_case *c, suite_function *f, double **in, int which, int64_t n,
                    const double *weights, int64_t n_out, const double *got, const double *added, double tolerance,
                    const char *what)
{
    int64_t n_compared = n <= 80 ? n : 80;
    double *expected = calloc((size_t)n_compared + 1, sizeof *expected),
           *found = calloc((size_t)n_compared + 1, sizeof *found);
    double *out = calloc((size_t)n_out + 1, sizeof *out);
    for (int64_t i = 0; i < n_compared; i++) {
        /* all of few; else the last ones and random ones */
        int64_t e = n <= 80 ? i : i < 4 ? n - 1 - i : (int64_t)(next(s) % (uint64_t)n);
        double old = in[which][e], step = 1e-4, difference = 0.0;
        for (int side = 1; side >= -1; side -= 2) {
            in[which][e] = old + side * step;
            f(c, in, out);
            for (int64_t k = 0; k < n_out; k++)
                difference += side * weights[k] * out[k];
        }
        in[which][e] = old;
        expected[i] = difference / (2.0 * step) + (added != NULL ? added[e] : 0.0);
        found[i] = got[e];
    }
    bool near = suite_near(found, expected, n_compared, tolerance, what);
    free(expected);
    free(found);
    free(out);
    return near;
}

void kernel_suite_run(const zrt__device_ops *device, const zrt__kernel_ops *kernels)
{
    static const int n_threads[2] = {1, 3};
    suite s = {.ops = device, .kernels = kernels, .random = 1};
    bool opened = true;
    for (int i = 0; i < 2; i++) {
        zrt__device_options options = {.n_threads = n_threads[i], .deterministic = true};
        opened = opened && device->open(&options, &s.devices[i]) == ZRT_OK;
        opened = opened && device->stream_create(s.devices[i], "compute", true, &s.streams[i]) == ZRT_OK;
    }
    if (tap_ok(opened, "%s: devices and streams are there", device->name)) {
        suite_linear(&s);
        suite_elementwise(&s);
        suite_norms(&s);
        suite_tables(&s);
        suite_attention(&s);
        suite_dropout(&s);
        suite_flat(&s);
        suite_steps(&s);
    }
    for (int i = 0; i < 2; i++) {
        if (s.streams[i] != NULL)
            device->stream_destroy(&s.streams[i]);
        if (s.devices[i] != NULL)
            device->close(&s.devices[i]);
    }
}
