/* Attention of one new token in every row to those before it, on a CPU.
 *
 * What it takes is a few hundred multiplications for each row and head, less than what torch takes to start any one of
 * the operations that it has for them. So here a row and head is done from beginning to end, in registers.
 *
 * Columns come in blocks of LANES. Keys lie (B, heads, blocks, size, LANES): a score of every lane at once is a sum over
 * the size. Values lie (B, heads, columns, lanes of a head), where a head's size is rounded up to whole vectors.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 8

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef float Stored __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* in memory that others made */
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define EACH_PROCESSOR
#endif
#define SELECT(test, a, b) ((Vector)(((test) & (Integers)(a)) | (~(test) & (Integers)(b)))) /* lane by lane */
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    const float *qkv;      /* (B, 3, heads, size) */
    const float *turn;     /* (2, size / 2): cosines and sines of this column */
    const int32_t *first;  /* (B): where each row begins; the columns before are padding */
    float *keys, *values;  /* of at least B rows */
    float *seen;           /* (B, heads, size) */
    float *scores, *query; /* scratch: (columns), (size) */
    int rows, heads, size, blocks, lanes, column; /* lanes: the size of a head in `values` */
} Step;

/* e^x of LANES numbers, none above 0, to 2 units in the last place: 2^n p(f), with x = (n + f) ln 2 and |f| <= 1/2. */
INLINE void exponential(Vector *values)
{
    Vector x = *values, low = {0};
    low -= 87.0f; /* below it, what matters no more: 1e-38 */
    x = SELECT(x > low, x, low);
    Vector n = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: adding it rounds */
    Integers exponent = ((Integers)n << 23) + (127 << 23);
    n -= 12582912.0f;
    x = x - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two parts (Cody and Waite, 1980) */
    Vector p = x * 1.9875691500e-4f + 1.3981999507e-3f; /* Moshier's Cephes, expf */
    p = p * x + 8.3334519073e-3f;
    p = p * x + 4.1665795894e-2f;
    p = p * x + 1.6666665459e-1f;
    p = p * x + 5.0000001201e-1f;
    p = p * x * x + x + 1.0f;
    *values = p * (Vector)exponent;
}

/* Rotary positions: each pair (i, i + size / 2) turned by its angle, and scaled. */
INLINE void turn(const float *from, const float *angles, int size, float scale, float *to, int stride)
{
    int half = size / 2;
    for (int i = 0; i < half; i++) {
        float cos = angles[i] * scale, sin = angles[half + i] * scale, a = from[i], b = from[i + half];
        to[i * stride] = a * cos - b * sin;
        to[(i + half) * stride] = b * cos + a * sin;
    }
}

/* Scores of the columns in blocks from..to, and their greatest. */
INLINE float score(const Step *s, const float *keys, int from, int to, int first)
{
    Vector lane, best, least;
    for (int i = 0; i < LANES; i++)
        lane[i] = (float)i, best[i] = -INFINITY;
    least = best;
    for (int block = from; block <= to; block++) {
        const Stored *k = (const Stored *)keys + (size_t)block * s->size;
        Vector even = lane - lane, odd = even, more = even, last = even;
        int d = 0;
        for (; d + 4 <= s->size; d += 4) {
            even += k[d] * s->query[d];
            odd += k[d + 1] * s->query[d + 1];
            more += k[d + 2] * s->query[d + 2];
            last += k[d + 3] * s->query[d + 3];
        }
        for (; d < s->size; d++)
            even += k[d] * s->query[d];
        Vector sum = (even + odd) + (more + last), column = lane + (float)(block * LANES);
        sum = SELECT((column < (float)first) | (column > (float)s->column), least, sum);
        best = SELECT(sum > best, sum, best);
        ((Stored *)s->scores)[block] = sum;
    }
    float greatest = best[0];
    for (int i = 1; i < LANES; i++)
        greatest = best[i] > greatest ? best[i] : greatest;
    return greatest;
}

EACH_PROCESSOR static void attend(const Step *s)
{
    int to = s->column / LANES, columns = s->blocks * LANES, width = s->heads * s->size;
    float scale = 1.0f / sqrtf((float)s->size);
    for (int row = 0; row < s->rows; row++)
        for (int head = 0; head < s->heads; head++) {
            size_t place = (size_t)row * s->heads + head;
            const float *q = s->qkv + (size_t)row * 3 * width + head * s->size, *k = q + width, *v = k + width;
            float *keys = s->keys + place * s->size * columns, *values = s->values + place * s->lanes * columns;
            int first = s->first[row], from = first / LANES;
            turn(k, s->turn, s->size, 1.0f, keys + (size_t)to * LANES * s->size + s->column % LANES, LANES);
            turn(q, s->turn, s->size, scale, s->query, 1);
            memcpy(values + (size_t)s->column * s->lanes, v, s->size * sizeof *v);
            float greatest = score(s, keys, from, to, first);
            Vector zero = {0}, total = zero;
            for (int block = from; block <= to; block++) {
                Vector p = ((Stored *)s->scores)[block] - greatest;
                exponential(&p);
                total += p;
                ((Stored *)s->scores)[block] = p;
            }
            float sum = 0;
            for (int i = 0; i < LANES; i++)
                sum += total[i];
            for (int part = 0; part * LANES < s->size; part++) {
                const Stored *value = (const Stored *)values + part;
                int stride = s->lanes / LANES, t = first;
                Vector even = zero, odd = zero, more = zero, last = zero;
                for (; t + 4 <= s->column + 1; t += 4) {
                    even += value[t * stride] * s->scores[t];
                    odd += value[(t + 1) * stride] * s->scores[t + 1];
                    more += value[(t + 2) * stride] * s->scores[t + 2];
                    last += value[(t + 3) * stride] * s->scores[t + 3];
                }
                for (; t <= s->column; t++)
                    even += value[t * stride] * s->scores[t];
                even = ((even + odd) + (more + last)) / sum;
                int left = s->size - part * LANES;
                memcpy(s->seen + place * s->size + part * LANES, &even, (left < LANES ? left : LANES) * sizeof sum);
            }
        }
}

static int fits(const Step *s, const Py_buffer *b)
{
    Py_ssize_t all = (Py_ssize_t)s->rows * s->heads * (Py_ssize_t)sizeof(float), columns = (Py_ssize_t)s->blocks * LANES;
    if (s->heads < 1 || s->size < 2 || s->size % 2 || s->column < 0 || s->column >= columns)
        return 0;
    for (int row = 0; row < s->rows; row++)
        if (s->first[row] < 0 || s->first[row] > s->column)
            return 0;
    return b[0].len == 3 * all * s->size && b[1].len == s->size * (Py_ssize_t)sizeof(float) &&
           b[3].len >= all * s->size * columns && b[4].len >= all * s->lanes * columns && b[5].len == all * s->size;
}

static PyObject *attention_step(PyObject *module, PyObject *arguments)
{
    Py_buffer b[6];
    Step s;
    int done = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*w*w*w*iiii", b, b + 1, b + 2, b + 3, b + 4, b + 5, &s.heads, &s.size,
                          &s.blocks, &s.column))
        return NULL;
    s.qkv = b[0].buf, s.turn = b[1].buf, s.first = b[2].buf, s.keys = b[3].buf, s.values = b[4].buf, s.seen = b[5].buf;
    s.rows = (int)(b[2].len / (Py_ssize_t)sizeof *s.first);
    s.lanes = (s.size + LANES - 1) / LANES * LANES;
    int fit = fits(&s, b);
    s.scores = fit ? malloc(((size_t)s.blocks * LANES + s.size) * sizeof(float)) : NULL;
    if (s.scores) {
        s.query = s.scores + (size_t)s.blocks * LANES;
        Py_BEGIN_ALLOW_THREADS
        attend(&s);
        Py_END_ALLOW_THREADS
        free(s.scores);
        done = 1;
    }
    for (int i = 0; i < 6; i++)
        PyBuffer_Release(b + i);
    if (done)
        Py_RETURN_NONE;
    return fit ? PyErr_NoMemory() : (PyErr_SetString(PyExc_ValueError, "the buffers do not have these sizes"), NULL);
}

static PyMethodDef methods[] = {
    {"step", attention_step, METH_VARARGS,
     "step(qkv, turn, first, keys, values, seen, heads, size, blocks, column): store a column and attend to all so far."},
    {NULL, NULL, 0, NULL},
};

static int fill(PyObject *module)
{
    return PyModule_AddIntMacro(module, LANES);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_attention",
    .m_doc = "Attention of one new token in every row, on a CPU.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__attention(void)
{
    return PyModuleDef_Init(&definition);
}
