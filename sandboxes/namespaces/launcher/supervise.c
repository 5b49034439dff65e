/* The loop of PID 1: the owner's requests, and the deaths of what it started.
 *
 * Requests are one letter and words:   M plan           the root file system, anew; everything inside is killed first
 *                                      S words + 2 fds  a shell
 *                                      K                kill everything inside
 *                                      L port           a listening socket inside
 * Each is answered by its letter, or by E and what failed. Unasked: D pid exit-code, when a shell has died.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SHELLS = 16 };

static pid_t shells[SHELLS];
static char root[4096];

static int answer(int control, const char *text, int descriptor) {
    struct iovec part = {.iov_base = (void *)text, .iov_len = strlen(text)};
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } extra;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = extra.room;
        message.msg_controllen = sizeof extra.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    }
    return sendmsg(control, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int refuse(int control, const char *why) {
    char text[600];
    snprintf(text, sizeof text, "E%s", why);
    return answer(control, text, -1);
}

static void reap(int control, int options) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, options)) > 0) {
        for (int i = 0; i < SHELLS; i++) {
            if (shells[i] != pid) continue;
            char text[64];
            shells[i] = 0;
            snprintf(text, sizeof text, "D%d %d", pid, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
            answer(control, text, -1);
        }
    }
}

/* Until nobody is left. The dead of PID 1's own making are no news to the owner, who asked for it. */
static void kill_all(void) {
    memset(shells, 0, sizeof shells);
    for (;;) {
        kill(-1, SIGKILL);
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {}
        if (pid < 0 && errno == ECHILD) return;
        struct timespec moment = {.tv_nsec = 200000};
        nanosleep(&moment, NULL);
    }
}

static int begin_shell(int control, const struct words *words, const int *descriptors, const struct limits *limits) {
    int free_place = 0;
    while (free_place < SHELLS && shells[free_place]) free_place++;
    if (free_place == SHELLS || descriptors[0] < 0 || !*root) return refuse(control, "no place, descriptors or root for a shell");
    pid_t pid = start_shell(root, words, descriptors[0], descriptors[1], limits);
    if (pid < 0) return refuse(control, strerror(errno));
    shells[free_place] = pid;
    char text[32];
    snprintf(text, sizeof text, "S%d", pid);
    return answer(control, text, -1);
}

static int remount(int control, const struct words *plan) {
    char error[512];
    kill_all();
    if (*root && unmount_root(root) < 0) return refuse(control, strerror(errno));
    *root = 0;
    return mount_root(plan, root, error, sizeof error) < 0 ? refuse(control, error) : answer(control, "M", -1);
}

static int open_listener(int control, const struct words *words) {
    int listener = words->count == 1 ? listen_inside(atoi(words->at[0])) : -1;
    if (listener < 0) return refuse(control, strerror(errno));
    int done = answer(control, "L", listener);
    close(listener);
    return done;
}

static void split(char *text, ssize_t size, struct words *words) {
    words->count = 0;
    for (char *at = text; at < text + size && words->count < WORDS; at += strlen(at) + 1) words->at[words->count++] = at;
}

/* The descriptors that came with a message; -1 for none. */
static void received(struct msghdr *message, int descriptors[2]) {
    descriptors[0] = descriptors[1] = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(2 * sizeof(int)))
        memcpy(descriptors, CMSG_DATA(header), 2 * sizeof(int));
}

static int serve(int control, const struct limits *limits) {
    static char text[MESSAGE + 1];
    static struct words words;
    union {
        char room[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr aligned;
    } extra;
    struct iovec part = {.iov_base = text, .iov_len = MESSAGE};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = extra.room, .msg_controllen = sizeof extra.room};
    ssize_t size = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    if (size <= 0) return size < 0 && errno == EINTR ? 0 : -1; /* the owner is gone */
    int descriptors[2];
    received(&message, descriptors);
    text[size] = 0;
    split(text + 1, size - 1, &words);
    int done = -1;
    if (text[0] == 'M') done = remount(control, &words);
    if (text[0] == 'S') done = begin_shell(control, &words, descriptors, limits);
    if (text[0] == 'L') done = open_listener(control, &words);
    if (text[0] == 'K') {
        kill_all();
        done = answer(control, "K", -1);
    }
    for (int i = 0; i < 2; i++)
        if (descriptors[i] >= 0) close(descriptors[i]);
    return done;
}

int supervise(int control, const struct limits *limits) {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    int deaths = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (deaths < 0 || answer(control, "R", -1) < 0) return 1; /* ready */
    struct pollfd events[2] = {{.fd = control, .events = POLLIN}, {.fd = deaths, .events = POLLIN}};
    for (;;) {
        if (poll(events, 2, -1) < 0 && errno != EINTR) return 1;
        if (events[1].revents) {
            struct signalfd_siginfo ignored;
            while (read(deaths, &ignored, sizeof ignored) > 0) {}
            reap(control, WNOHANG);
        }
        if (events[0].revents && serve(control, limits) < 0) return 0;
    }
}
