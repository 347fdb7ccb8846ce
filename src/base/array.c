/* array.c - shapes, and the number types of arrays: a row says how one number, little-endian and at
 * any address, is read. */
#include "base/array.h"

#include <math.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "files are little-endian, and read and written as they lie in memory");

/* ---- shapes ---------------------------------------------------------------------------------- */

int64_t vn_shape_count(const vn_shape *s) {
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    return n;
}

bool vn_shape_equal(const vn_shape *a, const vn_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

vn_shape vn_shape_make(int rank, const int64_t *dim) {
    vn_shape s = {.rank = rank};
    for (int i = 0; i < rank && i < VN_MAX_RANK; i++) s.dim[i] = dim[i];
    return s;
}

/* The limit leaves room to count the bytes of many such arrays. */
bool vn_shape_valid(const vn_shape *s) {
    int64_t n = 1;
    if (s->rank < 0 || s->rank > VN_MAX_RANK) return false;
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] < 0 || __builtin_mul_overflow(n, s->dim[i] ? s->dim[i] : 1, &n)) return false;
    return n <= INT64_C(1) << 45;
}

enum { IMAGE_AXES = 3 }; /* [C,H,W] */

bool vn_shape_is_image(const vn_shape *sample) {
    return sample->rank == IMAGE_AXES;
}

int64_t vn_shape_channels(const vn_shape *sample) {
    return sample->dim[0];
}

int64_t vn_shape_pixels(const vn_shape *sample) {
    return vn_shape_is_image(sample) ? sample->dim[1] * sample->dim[2] : 1;
}

const char *vn_shape_text(const vn_shape *shape, char text[128]) {
    size_t used = (size_t)snprintf(text, 128, "[");
    for (int i = 0; i < shape->rank && used < 128; i++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%lld", i ? ", " : "",
                                 (long long)shape->dim[i]);
    if (used < 128) snprintf(text + used, 128 - used, "]");
    return text;
}

/* ---- one element ----------------------------------------------------------------------------- */

#define INTEGER(name, type)                                                                        \
    static int64_t name(const void *p) {                                                           \
        type value;                                                                                \
        memcpy(&value, p, sizeof value);                                                           \
        return (int64_t)value;                                                                     \
    }

INTEGER(u8_int, uint8_t)
INTEGER(i8_int, int8_t)
INTEGER(i16_int, int16_t)
INTEGER(u16_int, uint16_t)
INTEGER(i32_int, int32_t)
INTEGER(u32_int, uint32_t)
INTEGER(i64_int, int64_t)
INTEGER(u64_int, uint64_t) /* negative when above INT64_MAX */

static int64_t bool_int(const void *p) {
    return u8_int(p) != 0;
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A float of fewer bits (sign, exponent, mantissa): its bits put where a float has them, and the
 * exponent's bias mended by a multiplication, which is exact, for subnormals too. Infinities and
 * NaNs are the caller's. */
static float small_float(uint32_t bits, int exponent, int mantissa, float bias) {
    uint32_t sign = bits >> (exponent + mantissa) & 1,
             rest = bits & ((1U << (exponent + mantissa)) - 1);
    return from_bits(sign << 31 | rest << (23 - mantissa)) * bias;
}

static float half_float(uint32_t bits) {
    if ((bits & 0x7C00) == 0x7C00)
        return from_bits((bits & 0x8000) << 16 | 0x7F800000 | (bits & 0x3FF) << 13);
    return small_float(bits, 5, 10, 0x1p112F); /* 127 - 15 */
}

static float f16_float(const void *p) {
    return half_float((uint32_t)u16_int(p));
}

static float bf16_float(const void *p) {
    return from_bits((uint32_t)u16_int(p) << 16);
}

static float f8_e5m2_float(const void *p) {
    return half_float((uint32_t)u8_int(p) << 8);
}

static float f8_e4m3_float(const void *p) { /* the "fn" variant: no infinities */
    uint32_t bits = (uint32_t)u8_int(p);
    return (bits & 0x7F) == 0x7F ? NAN : small_float(bits, 4, 3, 0x1p120F); /* 127 - 7 */
}

static float f32_float(const void *p) {
    return from_bits((uint32_t)u32_int(p));
}

static float f64_float(const void *p) {
    double value;
    memcpy(&value, p, sizeof value);
    return (float)value;
}

static float u64_float(const void *p) {
    return (float)(uint64_t)u64_int(p);
}

/* ---- the table ------------------------------------------------------------------------------- */

typedef struct dtype_row {
    const char *name;
    size_t size;
    int order;                        /* in safetensors' list */
    int64_t (*to_int)(const void *p); /* integers */
    float (*to_float)(const void *p); /* floats, and integers that to_int does not hold */
} dtype_row;

/* clang-format off */
static const dtype_row rows[] = {
    [VN_F32] = {"F32", 4, 11, NULL, f32_float},
    [VN_I32] = {"I32", 4, 9, i32_int, NULL},
    [VN_BF16] = {"BF16", 2, 8, NULL, bf16_float},
    [VN_F16] = {"F16", 2, 7, NULL, f16_float},
    [VN_U8] = {"U8", 1, 1, u8_int, NULL},
    [VN_I64] = {"I64", 8, 13, i64_int, NULL},
    [VN_F64] = {"F64", 8, 12, NULL, f64_float},
    [VN_BOOL] = {"BOOL", 1, 0, bool_int, NULL},
    [VN_I8] = {"I8", 1, 2, i8_int, NULL},
    [VN_I16] = {"I16", 2, 5, i16_int, NULL},
    [VN_U16] = {"U16", 2, 6, u16_int, NULL},
    [VN_U32] = {"U32", 4, 10, u32_int, NULL},
    [VN_U64] = {"U64", 8, 14, u64_int, u64_float},
    [VN_F8_E4M3] = {"F8_E4M3", 1, 4, NULL, f8_e4m3_float},
    [VN_F8_E5M2] = {"F8_E5M2", 1, 3, NULL, f8_e5m2_float},
};
/* clang-format on */
_Static_assert(VN_COUNT(rows) == VN_DTYPE_COUNT, "a row for each dtype");

const char *vn_dtype_name(vn_dtype dtype) {
    return rows[dtype].name;
}

size_t vn_dtype_size(vn_dtype dtype) {
    return rows[dtype].size;
}

bool vn_dtype_is_float(vn_dtype dtype) {
    return !rows[dtype].to_int;
}

int vn_dtype_order(vn_dtype dtype) {
    return rows[dtype].order;
}

bool vn_dtype_parse(const char *name, vn_dtype *out) {
    for (size_t i = 0; i < VN_COUNT(rows); i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        *out = (vn_dtype)i;
        return true;
    }
    return false;
}

/* ---- whole arrays --------------------------------------------------------------------------- */

bool vn_array_size(const vn_shape *shape, vn_dtype dtype, size_t *count, size_t *bytes) {
    *count = 1;
    bool empty = false;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0) return false;
        if (shape->dim[i] == 0)
            empty = true;
        else if (vn_mul_overflows(*count, (size_t)shape->dim[i], count))
            return false;
    }
    if (empty) *count = 0;
    return !vn_mul_overflows(*count, rows[dtype].size, bytes) && *bytes <= INT64_MAX;
}

void vn_array_read_f32(const vn_array *t, float *out) {
    const dtype_row *row = &rows[t->dtype];
    const char *p = t->data;
    size_t count = (size_t)vn_shape_count(&t->shape);
    if (t->dtype == VN_F32) {
        if (count) memcpy(out, p, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++, p += row->size)
        out[i] = row->to_float ? row->to_float(p) : (float)row->to_int(p);
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The upper bits of a number without a sign, all but `cut` of them, rounded to nearest even. */
static uint32_t round_bits(uint32_t bits, int cut) {
    return (bits + ((1U << (cut - 1)) - 1) + (bits >> cut & 1)) >> cut;
}

static uint16_t float_bf16(float x) {
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    if (isnan(x)) return (uint16_t)(sign | 0x7FC0);
    return (uint16_t)(sign | round_bits(size, 16));
}

static uint16_t float_f16(float x) {
    const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    const float magnitude = fabsf(x);
    if (isnan(x)) return (uint16_t)(sign | 0x7E00);
    if (magnitude >= 0x1.ffep15F)
        return (uint16_t)(sign | 0x7C00); /* half a unit over the largest */
    if (magnitude < 0x1p-14F) return (uint16_t)(sign | (uint32_t)lrintf(magnitude * 0x1p24F));
    return (uint16_t)(sign | (round_bits(size, 13) - ((127U - 15) << 10)));
}

void vn_floats_write(vn_dtype dtype, size_t n, const float *x, void *out) {
    uint16_t *half = out;
    if (dtype == VN_F32 && n) memcpy(out, x, n * sizeof *x);
    for (size_t i = 0; i < n && dtype == VN_F16; i++) half[i] = float_f16(x[i]);
    for (size_t i = 0; i < n && dtype == VN_BF16; i++) half[i] = float_bf16(x[i]);
}

static vn_status not_integers(const vn_array *t, vn_err *err) {
    return vn_fail(err, VN_BAD_FILE, "tensor '%.200s' is %s, not integers", t->name,
                   rows[t->dtype].name);
}

/* Element i as an integer in [min, max]. */
static vn_status read_integer(const vn_array *t, size_t i, int64_t min, int64_t max, int64_t *out,
                              vn_err *err) {
    *out = rows[t->dtype].to_int((const char *)t->data + i * rows[t->dtype].size);
    if (*out >= min && *out <= max && !(t->dtype == VN_U64 && *out < 0)) return VN_OK;
    return vn_fail(err, VN_BAD_FILE, "tensor '%.200s': element %zu is out of range", t->name, i);
}

vn_status vn_array_read_i64(const vn_array *t, int64_t *out, vn_err *err) {
    if (vn_dtype_is_float(t->dtype)) return not_integers(t, err);
    size_t count = (size_t)vn_shape_count(&t->shape);
    vn_status status = VN_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = read_integer(t, i, INT64_MIN, INT64_MAX, &out[i], err);
    return status;
}

vn_status vn_array_read_i32(const vn_array *t, int32_t *out, vn_err *err) {
    if (vn_dtype_is_float(t->dtype)) return not_integers(t, err);
    size_t count = (size_t)vn_shape_count(&t->shape);
    vn_status status = VN_OK;
    for (size_t i = 0; i < count && !status; i++) {
        int64_t value = 0;
        status = read_integer(t, i, INT32_MIN, INT32_MAX, &value, err);
        out[i] = (int32_t)value;
    }
    return status;
}

/* By bits: compilers vectorise that, and no option such as -ffast-math changes it. */
int64_t vn_row_not_finite(int64_t n, int64_t size, const float *x) {
    for (int64_t i = 0; i < n; i++, x += size) {
        uint32_t found = 0;
        for (int64_t j = 0; j < size; j++) {
            uint32_t bits;
            memcpy(&bits, &x[j], sizeof bits);
            found |= (bits & 0x7F800000) == 0x7F800000;
        }
        if (found) return i;
    }
    return -1;
}
