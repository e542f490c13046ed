/* Rotary positions and attention. */
#include "config.h"

#include <math.h>

#include "base/alloc.h"
#include "graph/graph.h"

static void rope_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dy = zrt__gradient_of(gradients, node->out[0]);
    zrt_tensor *dx = zrt__gradient_like(gradients, node->in[0]);
    zrt__attributes attributes = node->attributes;
    attributes.rope.inverse = !attributes.rope.inverse;
    zrt__unit_node(
        unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_rope,
                                .in = {dy, zrt__unit_tensor(unit, node->in[1]), zrt__unit_tensor(unit, node->in[2])},
                                .out = {dx},
                                .attributes = attributes});
    zrt__gradient_add(gradients, node->in[0], dx);
}

/* Frequencies as transformers' "default" and "llama3" compute them (modeling_rope_utils.py), in float. */
static float rope_frequency(const zrt_rope_spec *rope, int i, int head_dim)
{
    float frequency = 1.0f / powf(rope->theta, (float)(2 * i) / (float)head_dim);
    if (rope->factor == 0 || rope->factor == 1)
        return frequency;
    const float pi = 3.14159265358979323846f;
    float wavelength = 2 * pi / frequency, original = (float)rope->original_max_length;
    float low = original / rope->low_freq_factor, high = original / rope->high_freq_factor;
    if (wavelength < high)
        return frequency;
    if (wavelength > low)
        return frequency / rope->factor;
    float smooth = (original / wavelength - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - smooth) * frequency / rope->factor + smooth * frequency;
}

/* cos and sin by position, [positions, head_dim]: a constant of the unit. */
static zrt_tensor *rope_table(zrt_unit *unit, const zrt_rope_spec *rope, int head_dim)
{
    int64_t positions = unit->build->options.table_length;
    int half = head_dim / 2;
    float *table = zrt__malloc((size_t)positions * (size_t)head_dim * sizeof *table);
    if (table == NULL) {
        unit->status = ZRT_ERR_MEMORY;
        return NULL;
    }
    for (int i = 0; i < half; i++) {
        float frequency = rope_frequency(rope, i, head_dim);
        for (int64_t p = 0; p < positions; p++) {
            float angle = (float)p * frequency;
            table[p * head_dim + i] = cosf(angle);
            table[p * head_dim + half + i] = sinf(angle);
        }
    }
    return zrt__unit_constant(unit, table, 2, (int64_t[]){positions, head_dim});
}

static zrt_tensor *apply_rope(zrt_unit *unit, zrt_tensor *qkv, const zrt_attention_spec *spec)
{
    zrt_tensor *table = rope_table(unit, spec->rope, spec->head_dim);
    zrt_tensor *positions = zrt_input(unit, "position_ids");
    zrt_tensor *rotated = zrt__unit_value(unit, qkv->dtype, qkv->n_dims, qkv->dims);
    if (table == NULL || positions == NULL || rotated == NULL)
        return NULL;
    zrt__attributes attributes = {.rope = {spec->n_heads, spec->n_kv_heads, spec->head_dim, false}};
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_rope,
                                           .in = {qkv, positions, table},
                                           .out = {rotated},
                                           .attributes = attributes,
                                           .backward = rope_backward,
                                           .cheap = true});
    return rotated;
}

static void attention_backward(zrt__gradients *gradients, const zrt__node *node)
{
    zrt_unit *unit = gradients->unit;
    zrt_tensor *dqkv = zrt__gradient_like(gradients, node->in[0]);
    zrt__node_spec spec = {.kernel = ZRT__KERNEL_attention_backward, .out = {dqkv}, .attributes = node->attributes};
    spec.in[0] = zrt__gradient_of(gradients, node->out[0]);
    spec.in[1] = zrt__unit_tensor(unit, node->in[0]);
    spec.in[2] = zrt__unit_tensor(unit, node->out[0]);
    spec.in[3] = zrt__unit_tensor(unit, node->out[1]);
    for (int i = 1; i < 5; i++) /* lengths, segments, samples, state */
        spec.in[3 + i] = zrt__unit_tensor(unit, node->in[i]);
    zrt__unit_node(unit, &spec);
    zrt__gradient_add(gradients, node->in[0], dqkv);
}

static zrt_tensor *cached(zrt_unit *unit, zrt_tensor *qkv, zrt_tensor *o, const zrt_attention_spec *spec,
                          zrt__attributes attributes)
{
    int64_t dims[] = {qkv->dims[0], unit->build->options.cache_length, spec->n_kv_heads, spec->head_dim};
    zrt_tensor *positions = zrt_input(unit, "position_ids");
    zrt_tensor *keys = zrt__unit_reference(unit, ZRT__TENSOR_STATE, (int)unit->n_tensors, qkv->dtype, 4, dims);
    zrt_tensor *values = zrt__unit_reference(unit, ZRT__TENSOR_STATE, (int)unit->n_tensors, qkv->dtype, 4, dims);
    if (!spec->causal || spec->lengths != NULL || spec->segment_ids != NULL) {
        zrt_unit_fail(unit, "generation needs causal attention without lengths or segment ids");
        return NULL;
    }
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_attention_cached,
                                           .in = {qkv, positions},
                                           .out = {o, keys, values},
                                           .attributes = attributes});
    return o;
}

zrt_tensor *zrt_attention(zrt_unit *unit, zrt_tensor *qkv, const zrt_attention_spec *spec)
{
    if (unit->status != ZRT_OK || qkv == NULL)
        return NULL;
    if (spec->n_heads < 1 || spec->n_kv_heads < 1 || spec->n_heads % spec->n_kv_heads != 0 || spec->head_dim < 1) {
        zrt_unit_fail(unit,
                      "attention: %d heads, %d key/value heads of %d; the former must be a multiple of the latter",
                      spec->n_heads, spec->n_kv_heads, spec->head_dim);
        return NULL;
    }
    int64_t columns = (int64_t)(spec->n_heads + 2 * spec->n_kv_heads) * spec->head_dim;
    if (qkv->n_dims != 3 || qkv->dims[2] != columns) {
        zrt_unit_fail(unit, "attention: packed query, key and value must be [rows, length, %lld]", (long long)columns);
        return NULL;
    }
    if (spec->rope != NULL) {
        if (spec->head_dim % 2 != 0) {
            zrt_unit_fail(unit, "rotary positions need an even head_dim, not %d", spec->head_dim);
            return NULL;
        }
        qkv = apply_rope(unit, qkv, spec);
        if (qkv == NULL)
            return NULL;
    }
    zrt_tensor *segments = spec->segment_ids;
    if (segments == NULL && spec->causal && unit->build->model->packs && unit->build->options.mode != ZRT_MODE_GENERATE)
        segments = zrt_input(unit, "segment_ids");
    bool train = zrt__unit_trains(unit);
    bool drops = train && spec->dropout > 0;
    int64_t rows = qkv->dims[0], length = qkv->dims[1];
    zrt_tensor *o =
        zrt__unit_value(unit, qkv->dtype, 3, (int64_t[]){rows, length, (int64_t)spec->n_heads * spec->head_dim});
    if (o == NULL)
        return NULL;
    zrt__attributes attributes = {.attention = {spec->n_heads, spec->n_kv_heads, spec->head_dim, spec->causal,
                                                spec->scale != 0 ? spec->scale : 1.0f / sqrtf((float)spec->head_dim),
                                                drops ? spec->dropout : 0, (uint32_t)unit->index,
                                                spec->dropout > 0 ? unit->n_random_ops++ : 0}};
    if (unit->build->options.mode == ZRT_MODE_GENERATE)
        return cached(unit, qkv, o, spec, attributes);
    zrt_tensor *lse = zrt__unit_value(unit, ZRT_FLOAT32, 3, (int64_t[]){rows, spec->n_heads, length});
    zrt__unit_node(unit, &(zrt__node_spec){.kernel = ZRT__KERNEL_attention_forward,
                                           .in = {qkv, spec->lengths, segments,
                                                  drops ? zrt__unit_system(unit, ZRT__SYSTEM_SAMPLE_IDS) : NULL,
                                                  drops ? zrt__unit_system(unit, ZRT__SYSTEM_STEP_STATE) : NULL},
                                           .out = {o, lse},
                                           .attributes = attributes,
                                           .backward = attention_backward});
    return o;
}
