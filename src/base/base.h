/* base.h - what all rooms use: status and error text, memory, random numbers, tables of rows, JSON,
 * files, threads. Nothing here knows what a model is. */
#ifndef VN_BASE_H
#define VN_BASE_H

#include <jansson.h>
#include <locale.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "vane.h"

#if defined(__GNUC__)
#define VN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define VN_PRINTF(fmt, args)
#endif

#define VN_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The plural ending of a noun after the number n: "%d class%s", n, VN_ES(n). */
#define VN_S(n)  ((n) == 1 ? "" : "s")
#define VN_ES(n) ((n) == 1 ? "" : "es")

/* ---- errors: the first cause is kept; what is called later only adds where it happened ------- */

typedef struct vn_err {
    vn_status status;
    char text[1024];
} vn_err;

/* Sets *err (may be NULL) to status and the formatted line, its control characters replaced;
 * returns status. */
vn_status vn_fail(vn_err *err, vn_status status, const char *format, ...) VN_PRINTF(3, 4);
/* "out of memory": returns VN_NO_MEMORY. */
vn_status vn_no_memory(vn_err *err);
/* Puts "prefix: " before err's text: to name the file in which a called function found an error.
 * Returns err->status. */
vn_status vn_fail_in(vn_err *err, const char *format, ...) VN_PRINTF(2, 3);
/* Appends "; text" to err's text. */
vn_status vn_fail_after(vn_err *err, const char *format, ...) VN_PRINTF(2, 3);
/* Like vn_fail(VN_IO), ending in what errno means; VN_NO_MEMORY when that is ENOMEM. */
vn_status vn_fail_errno(vn_err *err, const char *format, ...) VN_PRINTF(2, 3);

/* ---- text: as the C library's functions in the C locale, whatever locale the program has set - */

int vn_snprintf(char *text, size_t size, const char *format, ...) VN_PRINTF(3, 4);
int vn_vsnprintf(char *text, size_t size, const char *format, va_list args) VN_PRINTF(3, 0);
int vn_fprintf(FILE *to, const char *format, ...) VN_PRINTF(2, 3);
double vn_strtod(const char *text, char **end);
void vn_strerror(int code, char *text, size_t size);
char vn_small_letter(char c); /* of ASCII's letters, as in the next two */
bool vn_begins_but_for_case(const char *text, const char *beginning);
bool vn_same_but_for_case(const char *a, const char *b);
/* For libraries that print: between the two this thread is in the C locale. */
typedef struct vn_c_locale {
    locale_t c, before;
} vn_c_locale;
vn_c_locale vn_c_locale_enter(void);
void vn_c_locale_leave(vn_c_locale l);

/* ---- memory: plain malloc underneath, sizes checked for overflow ----------------------------- */

/* not cleared; NULL on failure or overflow; count*size = 0 gives a valid pointer */
void *vn_alloc(size_t count, size_t size);
void *vn_calloc(size_t count, size_t size); /* cleared */
void *vn_realloc(void *old, size_t count, size_t size);
void *vn_alloc_aligned(size_t count, size_t size); /* 64 bytes; freed with vn_free */
char *vn_strdup(const char *text);
char *vn_format(const char *format, ...) VN_PRINTF(1, 2); /* new string or NULL */
char *vn_vformat(const char *format, va_list args) VN_PRINTF(1, 0);
void vn_free(void *p);
bool vn_mul_overflows(size_t a, size_t b, size_t *product);

/* Bytes of memory that this process may have in all: the machine's, or less where a control group
 * or `ulimit -v` says so; VANE_MEMORY in the environment ("24G") stands for these. vn_memory_given:
 * whether it is there. vn_memory_check: VN_BAD_ARGUMENT where it is, and is no such number, which
 * the others take for none. All look anew each time. */
size_t vn_memory_total(void);
bool vn_memory_given(void);
vn_status vn_memory_check(vn_err *err);
/* "1.2 TB", for messages, in the same letters whatever the locale; returns text. */
const char *vn_bytes_text(double bytes, char text[32]);

/* An arena: many small things with one lifetime. Zero-initialise to open. */
typedef struct vn_arena {
    struct vn_arena_block *head;
} vn_arena;
void *vn_arena_alloc(vn_arena *arena, size_t size); /* cleared, 16-byte aligned; NULL on failure */
void vn_arena_free(vn_arena *arena);

/* ---- random numbers: Philox4x32-10 (Salmon et al. 2011), counter based ----------------------- */

/* Every use of chance is a stream of its own: drawing more from one never shifts another. */
typedef enum vn_stream {
    VN_STREAM_WEIGHTS = 1, /* initial weights */
    VN_STREAM_NOISE,       /* a sample's initial noise */
    VN_STREAM_STEP_NOISE,  /* noise added by a stochastic sampler */
    VN_STREAM_ORDER,       /* order of the training data, held-out split */
    VN_STREAM_AUGMENT,     /* flips, crops */
    VN_STREAM_TIME,        /* t in training */
    VN_STREAM_TRAIN_NOISE, /* eps in training */
    VN_STREAM_DROP,        /* conditioning dropout */
    VN_STREAM_DROPOUT,     /* dropout inside a network */
    VN_STREAM_DATA,        /* synthetic data */
    VN_STREAM_TEST,
    VN_STREAM_SELECT,    /* which samples of a population survive */
    VN_STREAM_GUIDE,     /* random conditions and times of guides */
    VN_STREAM_PROBE,     /* random vectors of trace estimates */
    VN_STREAM_DIRECTION, /* random directions: sliced losses and distances, projections */
    VN_STREAM_RESAMPLE,  /* bootstrap and subsets of metrics */
    VN_STREAM_RESTORE,   /* draws of restoration rules */
    VN_STREAM_CAPTION,   /* which of a sample's captions */
    VN_STREAM_CONDITION, /* noise on conditions */
    VN_STREAM_LATENT,    /* draws of an autoencoder's latents */
    VN_STREAM_TOKEN,     /* tokens of a sequence */
    VN_STREAM_STEP_END,  /* where the steps of a flow map end, in training */
    VN_STREAM_STRENGTH,  /* of guidance, in training */
    VN_STREAM_CONTRAST   /* other samples that a loss holds against one */
} vn_stream;

void vn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* n numbers that depend on (seed, stream, sample, step, their index) only. step < 2^24. */
void vn_random_bits(uint32_t *out, size_t n, uint64_t seed, vn_stream stream, uint64_t sample,
                    uint64_t step);
void vn_random_uniform(float *out, size_t n, uint64_t seed, vn_stream stream, uint64_t sample,
                       uint64_t step); /* [0,1) */
/* N(0,1) */
void vn_random_normal(float *out, size_t n, uint64_t seed, vn_stream stream, uint64_t sample,
                      uint64_t step);
/* [0,1), 53 bits */
double vn_random_double(uint64_t seed, vn_stream stream, uint64_t sample, uint64_t step);
/* A permutation of 0..n-1 by (seed, stream, epoch). */
void vn_random_permutation(int64_t *out, int64_t n, uint64_t seed, vn_stream stream,
                           uint64_t epoch);
/* Exchanges [first, last) of the n that make it, from 0 on in turn; first is a multiple of 65536.
 * For large ones that may have to be stopped. */
void vn_random_permute(int64_t *out, int64_t n, uint64_t seed, vn_stream stream, uint64_t epoch,
                       int64_t first, int64_t last);

/* ---- hashes: FNV-1a, begun with vn_hash_begin; not against malice (hash.c) ------------------- */

extern const uint64_t vn_hash_begin;
uint64_t vn_hash_words(uint64_t hash, const void *words, size_t n); /* of 32 bits */
uint64_t vn_hash_text(uint64_t hash, const char *text);

/* ---- perturbations of a network -------------------------------------------------------------- */

/* How guides change a network during a pass: a query of path has it, nn builds it, and neither
 * knows the other. Layers count from 0 in the order of a forward pass: a transformer's blocks, a
 * U-Net's attention blocks. */
typedef enum vn_perturbation {
    VN_UNPERTURBED,
    VN_ATTENTION_IDENTITY = 1, /* each token attends to itself alone (PAG 2403.17377) */
    /* queries blurred by a Gaussian of deviation `amount` tokens (SEG 2408.00760) */
    VN_ATTENTION_BLUR = 2,
    VN_ATTENTION_SPARSE = 4,  /* dense + amount (entmax - dense) (PLADIS 2503.07677) */
    VN_ATTENTION_SKIPPED = 8, /* attention's residual is left out (STG 2411.18664) */
    VN_BLOCKS_SKIPPED = 16,   /* the blocks return their inputs (SLG; STG) */
    /* what the image's tokens take from a text, z, becomes z + part (f z' - z) with
     * z' = z + (amount - 1) (z - what they take from another text), and f the factor that keeps z'
     * within `limit` times the length of z (NAG 2505.21179) */
    VN_ATTENTION_NORMALIZED = 32,
    /* inner + amount (answer - inner), of a network that answers from an inner place too; layers do
     * not matter (2512.24176) */
    VN_ANSWER_EXTRAPOLATED = 64,
    /* a layer's tokens come in another order, the `amount`-th of those that there are (TPG
     * 2506.10036) */
    VN_TOKENS_SHUFFLED = 128
} vn_perturbation;
typedef struct vn_perturb {
    vn_perturbation kind;
    double amount;
    int first, last; /* layers, both of them too; more than there are: to the end */
    /* VN_ATTENTION_NORMALIZED alone: the condition whose text is the other one; and that which
     * stands for none in guidance, under which it does nothing */
    double limit, part;
    int32_t against, none;
} vn_perturb;
static inline bool vn_perturb_equal(const vn_perturb *a, const vn_perturb *b) {
    return a->kind == b->kind && a->amount == b->amount && a->first == b->first &&
           a->last == b->last && a->limit == b->limit && a->part == b->part &&
           a->against == b->against && a->none == b->none;
}

/* What is wanted of a function f(x), such as a network's answer: itself, or a derivative by x along
 * a direction. */
typedef enum vn_want {
    VN_ANSWER, /* f(x) */
    VN_VJP,    /* (df/dx)^T direction */
    VN_JVP     /* (df/dx) direction */
} vn_want;

/* from this deviation on a blur is the mean of all queries, as in the paper's code */
#define VN_BLUR_INFINITE 1e4
#define VN_BLUR_MIN      0.2 /* below 1/6 its kernel has one tap */

/* ---- names and numbers: one of a list by what a person writes (names.c) ---------------------- */

typedef struct vn_names {
    const char *const *names; /* [count]; NULL: they have numbers only */
    size_t count;
} vn_names;

/* The one of exactly this name, else the whole number that the text is, which may be out of range;
 * false: neither, or several have the name. A number is none where the names are such numbers
 * themselves, other ones: of "1", "2", "3" 0 is none. */
bool vn_names_find(const vn_names *list, const char *text, int64_t *index);
/* What vn_names_find takes for this one: its name, or its number where others have the same name;
 * NULL where it takes both for another. */
#define VN_NAMES_NUMBER 24
const char *vn_names_word(const vn_names *list, int64_t index, char number[VN_NAMES_NUMBER]);
/* Where several have exactly this name: their numbers and what to do about it, written to `out`,
 * "134 and 517: say which by its number". NULL: none has it, or one. */
#define VN_NAMES_SHARED 512
const char *vn_names_shared(const vn_names *list, const char *text, char out[VN_NAMES_SHARED]);
/* The name that was probably meant: the only one that holds the text, or the nearest by edit
 * distance; or NULL. */
const char *vn_names_nearest(const vn_names *list, const char *text);

/* ---- tables: parsing "name:key=value,key=value" against rows --------------------------------- */

#define VN_MAX_PARAMS      12
#define VN_MAX_CHOICE_TEXT 512

/* A chosen row with its parameters' values, in the order of row->params. */
typedef struct vn_choice {
    const vn_row *row;
    size_t index;                  /* of the row in its table */
    double value[VN_MAX_PARAMS];   /* of text: 1 + where it begins in `text`; 0: its default */
    char text[VN_MAX_CHOICE_TEXT]; /* what was given of VN_PARAM_TEXT, each ended by 0 */
    bool given[VN_MAX_PARAMS];     /* set by the user, not the default */
} vn_choice;

/* Another name of a row. */
typedef struct vn_word {
    const char *word, *name;
} vn_word;

/* A kind of thing and its rows, each a struct that begins with its vn_row. */
typedef struct vn_table {
    const char *what; /* "sampler", for messages */
    const void *rows; /* [count] structs of `stride` bytes; with stride 0: pointers to structs */
    size_t stride, count;
    /* names in other programs, for messages; only letters, digits and + count, in either case.
     * Ended by {NULL, NULL}; NULL: none */
    const vn_word *words;
    /* names that rows had in earlier versions of vane, which are parsed as the row's own;
     * likewise */
    const vn_word *former;
} vn_table;
/* The table of an array of structs. */
#define VN_TABLE(what, rows, count)                                                                \
    (&(const vn_table){what, rows, sizeof((rows)[0]), count, NULL, NULL})
const vn_row *vn_table_row(const vn_table *table, size_t i);
/* The row of this name, or of one that it had formerly; NULL: there is none. */
const vn_row *vn_table_find(const vn_table *table, const char *name, size_t *index);
/* Adds "; did you mean 'euler'?" or, of a few names, "; known: a, b, c" to a message about `text`.
 * Names that are not vane's own may hold anything: such a message goes through vn_fail once
 * more. */
void vn_add_hint(vn_err *err, const char *text, const char *const *names, size_t count);
/* Unknown names and keys are refused with the nearest known one; values out of range with the
 * range. Spaces around names, keys and values do not count; a value in double quotes may hold
 * commas and begin or end with a space, and "" in it is a ". Classes (VN_PARAM_CONDITION) are
 * looked up in `classes`; NULL: they are not known yet, any is taken, and one that is no number is
 * NaN. */
vn_status vn_choice_parse_of(const char *text, const vn_table *table, const vn_names *classes,
                             vn_choice *out, vn_err *err);
/* classes NULL */
vn_status vn_choice_parse(const char *text, const vn_table *table, vn_choice *out, vn_err *err);
/* The text of a parameter of that kind, given or its default; "" where it has none. Lives as long
 * as the choice. */
const char *vn_choice_string(const vn_choice *choice, size_t param);
/* Bytes of `text` up to the comma after its first word or key=value, quotes minded, or to its
 * end. */
size_t vn_pair_length(const char *text);
/* Bytes of the row with parameters that a list of them begins with: up to the comma whose next word
 * is a name, not key=value, or to its end. */
size_t vn_choice_length(const char *text);
/* The text that parses to the same choice, only what was given. New string or NULL. */
char *vn_choice_text(const vn_choice *choice);
/* Of `count` names the shortest that begins with the text, else the nearest by edit distance, or
 * NULL when none is near. */
const char *vn_nearest(const char *text, const char *const *names, size_t count);
/* Whole text is one number; false otherwise (also for NaN and infinities). */
bool vn_parse_double(const char *text, double *out);
bool vn_parse_int(const char *text, int64_t *out);
/* The shortest text that reads back as the same number. */
void vn_number_text(char text[32], double value);

/* ---- JSON (jansson), with messages that name the file and key -------------------------------- */

/* Reads a whole file; more than max_bytes is VN_BAD_FILE. *data is vn_free'd by the caller and has
 * a 0 after its end. */
vn_status vn_read_file(const char *path, size_t max_bytes, char **data, size_t *size, vn_err *err);
vn_status vn_json_read(const char *path, json_t **out, vn_err *err); /* json_decref by the caller */
/* JSON text of `size` bytes, of at most two million values; name: of where it comes from, for
 * messages. Python's words NaN, Infinity and -Infinity are strings in it, which vn_json_number
 * takes for what they mean. */
vn_status vn_json_parse(const char *text, size_t size, const char *name, json_t **out, vn_err *err);
/* a number, infinite and NaN ones among them; value may be NULL */
bool vn_json_number(const json_t *value, double *out);
/* As json_dumps with these flags, but its "out of memory" can be trusted: new string, vn_free'd by
 * the caller, or NULL. */
char *vn_json_text(const json_t *value, size_t flags);
/* A deep copy, whole or NULL: json_deep_copy leaves members out when memory runs out. */
json_t *vn_json_copy(const json_t *value);
bool vn_is_utf8(const char *text); /* what JSON can hold; names of files may be anything */
/* The text if it is UTF-8; else its bytes as Latin-1, made UTF-8. For names that are shown. New
 * string or NULL. */
char *vn_utf8(const char *text);
/* The next character, and *text moves behind it; at the end 0, and it stays. A byte that begins
 * none is VN_NOT_UTF8. */
#define VN_NOT_UTF8 UINT32_MAX
uint32_t vn_utf8_next(const char **text);
/* Characters that are orders to a terminal or a file manager instead of text: controls, line ends,
 * changes of direction. */
bool vn_is_control(uint32_t code);
/* puts '?' in the place of each, so that the text is one line and nothing but text */
void vn_clean_line(char *line);
/* a string; NULL as below */
json_t *vn_json_vformat(const char *format, va_list args) VN_PRINTF(1, 0);
/* json_string of vn_utf8: NULL only when memory runs out */
json_t *vn_json_string(const char *text);
vn_status vn_json_write(const char *path, const json_t *value, vn_err *err); /* atomic, indented */

/* ---- files ----------------------------------------------------------------------------------- */

/* Writing that cannot leave half a file: bytes go aside, under a name that cannot be guessed, and
 * commit makes them durable (fsync) and renames. Only regular files are replaced, and links are
 * followed. Of two writers of one path the later wins. */
typedef struct vn_writer {
    FILE *file; /* write with fwrite; errors show at commit */
    char *path, *aside;
    bool fresh;                /* of vn_writer_open_new */
    struct vn_memory_file *to; /* of vn_writer_open_memory; else NULL */
} vn_writer;
/* What would be a file, in memory: to be freed with vn_free. */
typedef struct vn_memory_file {
    char *bytes;
    size_t size;
} vn_memory_file;
vn_status vn_writer_open(vn_writer *w, const char *path, vn_err *err);
/* For a path at which there is nothing yet: what is there at the commit, even a link, stays, and is
 * VN_IO. */
vn_status vn_writer_open_new(vn_writer *w, const char *path, vn_err *err);
/* Into memory: *to has the bytes after the commit, and none before. name: for messages. */
vn_status vn_writer_open_memory(vn_writer *w, const char *name, vn_memory_file *to, vn_err *err);
/* closes; on failure removes what was aside */
vn_status vn_writer_commit(vn_writer *w, vn_err *err);
void vn_writer_abandon(vn_writer *w);                  /* closes and removes; safe after commit */
vn_status vn_make_dirs(const char *path, vn_err *err); /* like mkdir -p */
/* Whether a writer of this path could be opened, and whether a folder of this path, with those on
 * the way, could be made or written into: to be known before the work. Found by trying, as
 * permissions do not tell all; leaves nothing behind. */
vn_status vn_check_file(const char *path, vn_err *err);
vn_status vn_check_folder(const char *path, vn_err *err);
/* Whether the disk that the file would be on has space for so many bytes, as far as the system
 * tells. */
vn_status vn_check_space(const char *path, uint64_t bytes, vn_err *err);
/* Bytes that are free there; UINT64_MAX where the system does not tell. */
uint64_t vn_free_space(const char *path);
/* Copies a regular file; `to` is replaced, and there whole or not at all. */
vn_status vn_copy_file(const char *from, const char *to, vn_err *err);
/* Removes from a folder the temporary files that killed writers left: regular files of the user's
 * that nobody holds. Called by the two above for the folder they look at. */
void vn_remove_stale(const char *folder);
/* So many random digits, for names that nobody can have put in the way; and whether a text is of
 * such a form. */
#define VN_UNGUESSABLE 16
void vn_unguessable(char text[VN_UNGUESSABLE + 1]);
bool vn_is_unguessable(const char *text);
/* Opens a regular file for reading; *fd is closed by the caller. Folders, pipes, sockets and
 * devices are refused by their kind, not waited for; the second says so without opening. */
vn_status vn_file_open(const char *path, int *fd, vn_err *err);
/* Calls `take` with each whole line of a regular file, its '\n' included, numbered from 1, until it
 * fails. A last line without its end is one that is being written, or that a killed process left:
 * it is left out. Messages begin with the path. */
vn_status vn_file_lines(const char *path,
                        vn_status (*take)(void *self, const char *line, size_t size, size_t number,
                                          vn_err *err),
                        void *self, vn_err *err);
vn_status vn_check_regular(const char *path, vn_err *err);
/* Locks a folder, until the descriptor is closed or the process ends; on a file system without
 * locks it is only opened. VN_IO where another holds it: "NAME is being DONE by another
 * process". */
vn_status vn_lock_folder(const char *path, const char *name, const char *done, int *fd,
                         vn_err *err);
bool vn_is_dir(const char *path);
bool vn_is_file(const char *path);
/* The absolute path without links, `.` and `..` in as much of it as exists, whether it all does or
 * not; new string or NULL. */
char *vn_real_path(const char *path);
/* Where writing to `path` puts what it writes, whether there is something or not: a link is
 * followed, so that it stays one. New string or NULL. */
char *vn_follow_links(const char *path);
/* The folder that `path` is in; new string or NULL. */
char *vn_folder_of(const char *path);
/* makes a rename in it durable; false, with errno, where that fails */
bool vn_sync_folder_of(const char *path);
/* whether writing to one replaces the other, which need not be there yet */
bool vn_same_file(const char *a, const char *b);
bool vn_ends_with(const char *text, const char *ending);
char *vn_path_join(const char *a, const char *b); /* new string or NULL */
double vn_now(void);                              /* seconds, monotonic */

/* ---- threads --------------------------------------------------------------------------------- */

/* Begins a thread in which no signal is handled: they are the program's business, and for the
 * threads that it has. False: it could not be begun. */
bool vn_thread_begin(pthread_t *thread, void *(*run)(void *), void *of);

/* Threads that share loops, the caller's among them. Sleeps when idle; running takes no memory. */
typedef struct vn_thread_pool vn_thread_pool;
/* One task of a loop; `thread` < vn_thread_pool_threads is the thread's index, for scratch memory.
 * Must not run another loop of the same pool. */
typedef void (*vn_task)(void *context, int64_t index, int thread);
vn_status vn_thread_pool_open(int threads, vn_thread_pool **out, vn_err *err);
void vn_thread_pool_close(vn_thread_pool **pool);
int vn_thread_pool_threads(const vn_thread_pool *pool); /* NULL: 1 */
/* Runs tasks 0 .. count-1, each once, and returns when all are done. One loop at a time.
 * NULL: by the caller. */
void vn_thread_pool_run(vn_thread_pool *pool, int64_t count, vn_task task, void *context);

/* A pool's threads in groups that work at the same time, each with loops of its own: what is made
 * of many short loops is faster so, as a loop waits for fewer threads. */
typedef struct vn_thread_groups vn_thread_groups;
/* 1 <= count <= the pool's threads; the pool stays. Takes no threads beside the pool's. */
vn_status vn_thread_groups_open(vn_thread_pool *pool, int count, vn_thread_groups **out,
                                vn_err *err);
void vn_thread_groups_close(vn_thread_groups **groups);
/* Of group i, for loops within its task alone. It has as many threads as the whole pool: those that
 * have nothing left to do help the groups that are not done. */
vn_thread_pool *vn_thread_groups_pool(vn_thread_groups *groups, int i);
/* Runs task(context, i, thread) for each group i and returns when all are done. A loop of the pool:
 * none else may run, in the tasks neither. */
void vn_thread_groups_run(vn_thread_groups *groups, vn_task task, void *context);

/* ---- log, progress and cancel of the caller -------------------------------------------------- */

/* Log, progress and cancel of a context, for rooms that do long work. Any may be absent. */
typedef struct vn_watch {
    vn_log_fn log;
    vn_progress_fn progress;
    void *user;
    const atomic_int *cancel;
} vn_watch;
void vn_log(const vn_watch *watch, vn_log_level level, const char *format, ...) VN_PRINTF(3, 4);
/* Reports; true when the caller should stop. watch may be NULL. */
bool vn_report(const vn_watch *watch, const vn_progress *progress);

/* All of the room is included by this one header. */
#include "base/array.h"

/* ---- linear equations (cholesky.c) ----------------------------------------------------------- */

/* a [n,n], symmetric: its lower triangle becomes L with L L' = a, and the upper one is left as it
 * is. False: a is not positive definite. */
bool vn_cholesky(double *a, int64_t n);
/* b [n,columns] becomes the x of L L' x = b. */
void vn_cholesky_solve(const double *l, int64_t n, double *b, int64_t columns);

#endif
