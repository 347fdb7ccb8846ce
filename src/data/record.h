/* record.h - the list of files that a run keeps of the folder it trains on, RUN/state/files: what
 * stands at which place of the order. With it a folder is held against what the run began with file
 * by file, and a file that could not be read may be repaired or removed without another one taking
 * its place. */
#ifndef VN_DATA_RECORD_H
#define VN_DATA_RECORD_H

#include "data/listing.h"

/* Appends the list's files: `files` in their order, `skipped` those without a place. Paths go to
 * the arena. */
vn_status vn_record_read(const char *path, vn_arena *arena, vn_entries *files, vn_entries *skipped,
                         vn_err *err);
/* labels [files->count]; NULL: those that a list said. */
vn_status vn_record_write(const char *path, const vn_entries *files, const int32_t *labels,
                          const vn_entries *skipped, vn_err *err);

#endif
