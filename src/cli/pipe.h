/* pipe.h - `--out -`: samples to stdout, for the next program. They are saved as a file in a folder
 * of one's own first, so that nothing is sent of what fails. */
#ifndef CLI_PIPE_H
#define CLI_PIPE_H

#include <stdbool.h>

#include "vane.h"

typedef struct cli_pipe {
    char folder[512], file[560]; /* "": not open */
} cli_pipe;

/* Whether OUT means stdout: "-", "png:-", "npy:-" or "safetensors:-". */
bool cli_is_pipe(const char *out);
/* Makes the folder; p->file is where the samples are to be saved. False: stdout is a terminal, or
 * there is no such folder; the words are on stderr. */
bool cli_pipe_open(cli_pipe *p, const char *out);
/* Sends the file. VN_IO: stdout took no more; the words are on stderr. */
vn_status cli_pipe_send(const cli_pipe *p);
void cli_pipe_close(cli_pipe *p); /* removes file and folder; safe on a zeroed one */

#endif
