/* launcher run CONTROL UID GID NETWORK ADDRESS_SPACE PROCESSES FILE_SIZE [CGROUP_PROCS...]
 *     CONTROL   a SOCK_SEQPACKET socket to the owner; the sandbox ends with it
 *     UID, GID  whom root inside is outside, or "-" twice: it runs in a user namespace already
 *     NETWORK   0 for a network namespace of its own
 * launcher forward PORT UNIX_SOCKET
 *     connects 127.0.0.1:PORT with a socket of the file system
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(int control, const char *what) {
    char text[256];
    int size = snprintf(text, sizeof text, "E%s: %s", what, strerror(errno));
    send(control, text, (size_t)size, MSG_NOSIGNAL);
    return 1;
}

static int join_cgroup(const char *procs) {
    int file = open(procs, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t written = write(file, "0", 1);
    close(file);
    return written == 1 ? 0 : -1;
}

/* A process's command line can be read by all in its PID namespace, and holds paths of the host. */
static void clear(int argc, char **argv) {
    for (int i = 1; i < argc; i++) memset(argv[i], 0, strlen(argv[i]));
}

static int run(int argc, char **argv) {
    int control = atoi(argv[2]);
    struct limits limits = {
        .address_space = strtoul(argv[6], NULL, 10),
        .processes = strtoul(argv[7], NULL, 10),
        .file_size = strtoul(argv[8], NULL, 10),
    };
    bool own_network = strcmp(argv[5], "0") == 0;
    for (int i = 9; i < argc; i++)
        if (join_cgroup(argv[i]) < 0) return fail(control, argv[i]);
    if (enter_namespaces(argv[3], argv[4], own_network) < 0) return fail(control, "namespaces");
    clear(argc, argv);
    pid_t child = fork(); /* the first in the new PID namespace */
    if (child < 0) return fail(control, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (own_network && loopback_up() < 0) return fail(control, "loopback");
        return supervise(control, &limits);
    }
    close(control);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
    if (argc >= 9 && strcmp(argv[1], "run") == 0) return run(argc, argv);
    if (argc == 4 && strcmp(argv[1], "forward") == 0) return forward(argc, argv);
    fprintf(stderr, "launcher: to be started by stepgym\n");
    return 2;
}
