/* pipe.c - see pipe.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/pipe.h"

static const char *const forms[] = {"png", "npy", "safetensors"};

/* The form that OUT asks for, NULL if it is no pipe. A picture unless another is named. */
static const char *form_of(const char *out) {
    if (strcmp(out, "-") == 0) return forms[0];
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const size_t n = strlen(forms[i]);
        if (strncmp(out, forms[i], n) == 0 && strcmp(out + n, ":-") == 0) return forms[i];
    }
    return NULL;
}

bool cli_is_pipe(const char *out) {
    return form_of(out) != NULL;
}

bool cli_pipe_open(cli_pipe *p, const char *out) {
    const char *tmp = getenv("TMPDIR");
    *p = (cli_pipe){0};
    if (isatty(STDOUT_FILENO))
        return cli_misuse("sample",
                          "--out %s: stdout is a terminal; send it to a program or a file", out);
    const int n = snprintf(p->folder, sizeof p->folder, "%s/vane-XXXXXX",
                           tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    if (n < 0 || (size_t)n >= sizeof p->folder || !mkdtemp(p->folder)) {
        cli_error("sample", VN_IO, "--out %s: no folder for it in %s: %s", out, tmp ? tmp : "/tmp",
                  strerror(errno));
        p->folder[0] = '\0';
        return false;
    }
    snprintf(p->file, sizeof p->file, "%s/samples.%s", p->folder, form_of(out));
    return true;
}

vn_status cli_pipe_send(const cli_pipe *p) {
    static char bytes[1 << 16];
    FILE *from = fopen(p->file, "rb");
    size_t n;
    bool sent = from != NULL;
    while (sent && (n = fread(bytes, 1, sizeof bytes, from)) > 0)
        sent = fwrite(bytes, 1, n, stdout) == n;
    sent = sent && !ferror(from) && fflush(stdout) == 0;
    if (!sent) cli_error("sample", VN_IO, "stdout: %s", strerror(errno));
    if (from) fclose(from);
    return sent ? VN_OK : VN_IO;
}

void cli_pipe_close(cli_pipe *p) {
    if (p->file[0] != '\0') unlink(p->file);
    if (p->folder[0] != '\0') rmdir(p->folder);
    *p = (cli_pipe){0};
}
