/* events.c - event files of TensorBoard, written by hand: three messages of protobuf do not need a
 * library. A file is a row of TFRecords,
 *
 *     uint64 length, uint32 masked CRC-32C of those 8 bytes, the message, uint32 masked CRC of it,
 *
 * little-endian. The first message says the version of the format, each other one is the numbers of
 * a line. The messages' fields, by TensorBoard's event.proto and summary.proto:
 *
 *     Event    1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary
 *     Summary  1 value Value, repeated
 *     Value    1 tag string, 2 simple_value float
 */
#include "report/report.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static const char version[] = "brain.Event:2";

/* ---- bytes ----------------------------------------------------------------------------------- */

uint32_t vn_masked_crc32c(const void *bytes, size_t size) {
    const uint32_t polynomial = 0x82F63B78u, mask = 0xA282EAD8u; /* reflected */
    const unsigned char *p = bytes;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + mask;
}

/* A message that is being made; `full` where it did not fit. */
typedef struct message {
    unsigned char *bytes;
    size_t size, capacity;
    bool full;
} message;

static void put(message *m, const void *bytes, size_t size) {
    m->full = m->full || size > m->capacity - m->size;
    if (m->full) return;
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void put_little(message *m, uint64_t value, int bytes) {
    unsigned char out[8];
    for (int i = 0; i < bytes; i++) out[i] = (unsigned char)(value >> 8 * i);
    put(m, out, (size_t)bytes);
}

static void put_varint(message *m, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put_little(m, value | 0x80, 1);
    put_little(m, value, 1);
}

enum { VARINT = 0, DOUBLE = 1, BYTES = 2, FLOAT = 5 }; /* protobuf's wire types */

static void put_key(message *m, unsigned field, unsigned type) {
    put_varint(m, field << 3 | type);
}

static void put_double(message *m, unsigned field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, field, DOUBLE);
    put_little(m, bits, 8);
}

static void put_float(message *m, unsigned field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, field, FLOAT);
    put_little(m, bits, 4);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t size) {
    put_key(m, field, BYTES);
    put_varint(m, size);
    put(m, bytes, size);
}

static void write_little(FILE *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) fputc((int)(value >> 8 * i & 0xFF), to);
}

static void write_record(FILE *to, const message *m) {
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)m->size >> 8 * i);
    fwrite(length, 1, sizeof length, to);
    write_little(to, vn_masked_crc32c(length, sizeof length), 4);
    fwrite(m->bytes, 1, m->size, to);
    write_little(to, vn_masked_crc32c(m->bytes, m->size), 4);
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Memory for the three that are within one another. */
typedef struct messages {
    message event, summary, value;
} messages;

static bool is_tag(const vn_column *c) {
    return strcmp(c->name, "step") != 0;
}

static void make_event(messages *m, const vn_history *h, size_t line, double began) {
    const vn_column *seconds = vn_history_find(h, "seconds");
    const double at = seconds && isfinite(seconds->value[line]) ? seconds->value[line] : 0;
    m->event.size = m->summary.size = 0;
    for (size_t i = 0; i < h->count; i++) {
        const vn_column *c = &h->columns[i];
        if (!is_tag(c) || isnan(c->value[line])) continue;
        m->value.size = 0;
        put_bytes(&m->value, 1, c->name, strlen(c->name));
        put_float(&m->value, 2, (float)c->value[line]);
        put_bytes(&m->summary, 1, m->value.bytes, m->value.size);
    }
    put_double(&m->event, 1, began + at);
    put_key(&m->event, 2, VARINT);
    put_varint(&m->event, (uint64_t)(int64_t)vn_history_find(h, "step")->value[line]);
    put_bytes(&m->event, 5, m->summary.bytes, m->summary.size);
}

static void make_version(message *m, double began) {
    m->size = 0;
    put_double(m, 1, began);
    put_bytes(m, 3, version, sizeof version - 1);
}

/* Bytes that the largest event takes. */
static size_t event_bytes(const vn_history *h) {
    size_t size = 64;
    for (size_t i = 0; i < h->count; i++) size += strlen(h->columns[i].name) + 32;
    return size;
}

static void write_events(FILE *to, const vn_history *h, double began, unsigned char *memory,
                         size_t each) {
    messages m = {{memory, 0, each, false},
                  {memory + each, 0, each, false},
                  {memory + 2 * each, 0, each, false}};
    make_version(&m.event, began);
    write_record(to, &m.event);
    for (size_t i = 0; i < h->lines; i++) {
        make_event(&m, h, i, began);
        write_record(to, &m.event);
    }
}

vn_status vn_events_write(const char *path, const vn_history *h, double began, vn_err *err) {
    const size_t each = event_bytes(h);
    unsigned char *memory = vn_alloc(3, each);
    vn_writer w;
    if (!memory) return vn_no_memory(err);
    vn_status status = vn_writer_open(&w, path, err);
    if (!status) {
        write_events(w.file, h, began, memory, each);
        status = vn_writer_commit(&w, err);
    }
    vn_free(memory);
    return status;
}

/* ---- reading the first record ---------------------------------------------------------------- */

bool vn_events_began(const char *path, double *began) {
    enum { head = 12, most = 64 };
    unsigned char bytes[most], expected[most];
    message m = {expected, 0, sizeof expected, false};
    int fd;
    vn_err ignored = {0};
    if (vn_file_open(path, &fd, &ignored)) return false;
    const ssize_t n = read(fd, bytes, sizeof bytes);
    close(fd);
    if (n < head + 9) return false;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits |= (uint64_t)bytes[head + 1 + i] << 8 * i;
    memcpy(began, &bits, sizeof *began);
    make_version(&m, *began);
    return isfinite(*began) && (size_t)n >= head + m.size &&
           memcmp(bytes + head, m.bytes, m.size) == 0;
}
