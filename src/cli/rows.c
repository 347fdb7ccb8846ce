/* rows.c - rows of the command line that are options of the library: name, type, place, help and
 * default are what the library's row says, so that nothing of it is written twice. */
#include <string.h>

#include "cli/options.h"

/* What the library knows of the row; what the row says itself stays. */
static void fill(cli_option *row, const vn_option *o, char name[32]) {
    static const cli_type types[] = {
        [VN_OPTION_TEXT] = CLI_TEXT,     [VN_OPTION_FLAG] = CLI_FLAG,
        [VN_OPTION_INT] = CLI_INT,       [VN_OPTION_INT64] = CLI_INT64,
        [VN_OPTION_UINT64] = CLI_UINT64, [VN_OPTION_DOUBLE] = CLI_DOUBLE,
        [VN_OPTION_LABEL] = CLI_TEXT};
    if (!row->name) {
        snprintf(name, 32, "%s", o->name);
        for (char *c = name; (c = strchr(c, '_'));) *c = '-';
        row->name = name;
    }
    if (row->type == CLI_OPTION) {
        row->type = types[o->type];
        row->offset += o->offset;
    }
    if (!row->value) row->value = o->word;
    if (!row->help) row->help = o->help;
    if (!row->unset) row->unset = o->otherwise;
    if (!row->kind) row->kind = o->table;
    if (!row->unset && o->type != VN_OPTION_TEXT && o->fallback != o->value)
        row->fallback = &o->fallback;
}

cli_table cli_fill(const cli_table *table, cli_rows *to) {
    for (size_t i = 0; i < table->count; i++) {
        cli_option *row = &to->row[i];
        *row = table->rows[i];
        if (row->option) fill(row, vn_option_find(row->options, row->option), to->name[i]);
    }
    return (cli_table){to->row, table->count, table->into};
}
