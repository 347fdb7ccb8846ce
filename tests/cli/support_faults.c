/* support_faults.c - see support_faults.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/support_faults.h"

/* The calls that change files. Newer machines (aarch64) have only those with -at. */
static const struct {
    int number;
    const char *name;
} calls[] = {
    {SYS_openat, "openat"},       {SYS_write, "write"},     {SYS_writev, "writev"},
    {SYS_pwrite64, "pwrite64"},   {SYS_fsync, "fsync"},     {SYS_fdatasync, "fdatasync"},
    {SYS_ftruncate, "ftruncate"}, {SYS_flock, "flock"},     {SYS_renameat2, "renameat2"},
    {SYS_renameat, "renameat"},   {SYS_mkdirat, "mkdirat"}, {SYS_unlinkat, "unlinkat"},
#ifdef SYS_rename
    {SYS_open, "open"},           {SYS_rename, "rename"},   {SYS_mkdir, "mkdir"},
    {SYS_rmdir, "rmdir"},         {SYS_unlink, "unlink"},
#endif
};
enum { CALLS = sizeof calls / sizeof calls[0] };

static const char *name_of(int number) {
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].number == number) return calls[i].name;
    return "?";
}

/* ---- in the child ---------------------------------------------------------------------------- */

/* Has the kernel ask about those calls; returns the descriptor to answer on, or -1. */
static int ask_about_calls(void) {
    struct sock_filter code[CALLS + 3];
    size_t n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < CALLS; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(
            BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, (uint8_t)(CALLS - i), 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

static void send_descriptor(int to, int fd) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = fd >= 0;
    struct iovec io = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    if (sendmsg(to, &message, 0) != 1) _exit(125);
}

static int receive_descriptor(int from) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 0;
    int fd = -1;
    struct iovec io = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &io,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    if (recvmsg(from, &message, 0) != 1 || byte == 0) return -1;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c) memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static void become_vane(int to, char *words) {
    enum { MAX_WORDS = 64 };
    char *argv[MAX_WORDS] = {VN_PROGRAM};
    int n = 1;
    for (char *word = strtok(words, " "); word != NULL && n < MAX_WORDS - 1;
         word = strtok(NULL, " "))
        argv[n++] = word;
    const int out = open("/dev/null", O_WRONLY),
              err = open("err.txt", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(126);
    send_descriptor(to, ask_about_calls());
    execv(VN_PROGRAM, argv);
    _exit(127);
}

/* ---- in the parent --------------------------------------------------------------------------- */

/* Whether a call changes files: one that opens to write, one that writes to more than a standard
 * stream. */
static bool changes_files(const struct seccomp_data *d) {
    const int number = d->nr;
    if (number == SYS_openat) return (d->args[2] & (O_WRONLY | O_RDWR | O_CREAT)) != 0;
#ifdef SYS_open
    if (number == SYS_open) return (d->args[1] & (O_WRONLY | O_RDWR | O_CREAT)) != 0;
#endif
    if (number == SYS_write || number == SYS_writev) return d->args[0] > 2;
    return true;
}

/* Answers one question; false when the program is killed instead. */
static bool answer(const fault *f, const struct seccomp_notif *asked,
                   struct seccomp_notif_resp *reply, faulty *r) {
    *reply =
        (struct seccomp_notif_resp){.id = asked->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    const bool is_call = f->call == 0 || f->call == asked->data.nr;
    if (f->refuses && f->call == asked->data.nr) {
        reply->flags = 0;
        reply->error = -f->error;
        return true;
    }
    if (!changes_files(&asked->data) || (!is_call && !f->refuses)) return true;
    const long number = r->calls++;
    if (f->at < 0 || number < f->at || (number > f->at + f->twice && !f->all)) return true;
    if (!r->hit) r->failed = name_of(asked->data.nr);
    r->hit = true;
    if (f->error == 0 || f->refuses) return false;
    reply->flags = 0;
    reply->error = -f->error;
    return true;
}

static void supervise(int listener, pid_t pid, const fault *f, faulty *r) {
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    for (;;) {
        if (poll(&wait, 1, -1) < 0 && errno != EINTR) break;
        /* all have ended */
        if ((wait.revents & POLLIN) == 0 && (wait.revents & (POLLHUP | POLLERR)) != 0) break;
        struct seccomp_notif asked;
        struct seccomp_notif_resp reply;
        memset(&asked, 0, sizeof asked); /* the kernel wants it so */
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) continue;
        if (answer(f, &asked, &reply, r))
            (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
        else
            kill(pid, SIGKILL);
    }
}

faulty run_faulty(fault f, const char *format, ...) {
    char words[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    int pair[2], waited = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) become_vane(pair[1], words);
    close(pair[1]);
    const int listener = receive_descriptor(pair[0]);
    close(pair[0]);
    faulty r = {.status = -1, .failed = ""};
    if (listener >= 0) supervise(listener, pid, &f, &r);
    assert_int_equal(waitpid(pid, &waited, 0), pid);
    if (listener < 0) return r;
    close(listener);
    r.status = WIFEXITED(waited) ? WEXITSTATUS(waited) : 128 + WTERMSIG(waited);
    return r;
}

bool faults_work(void) {
    return run_faulty((fault){.at = -1}, "list").status == 0;
}
