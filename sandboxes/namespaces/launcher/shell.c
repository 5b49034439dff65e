/* A process without any privilege, in the sandbox's root. */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int limit(int resource, unsigned long value) {
    struct rlimit both = {value, value};
    return value == 0 ? 0 : setrlimit((__rlimit_resource_t)resource, &both);
}

static int set_limits(const struct limits *limits) {
    struct rlimit no_core = {0, 0};
    if (setrlimit(RLIMIT_CORE, &no_core) < 0) return -1;
    if (limit(RLIMIT_AS, limits->address_space) < 0 || limit(RLIMIT_FSIZE, limits->file_size) < 0) return -1;
    return limit(RLIMIT_NPROC, limits->processes);
}

/* The root, and no way back: the old one is unmounted in a mount namespace of this process's own. */
static int change_root(const char *root) {
    if (unshare(CLONE_NEWNS) < 0 || chdir(root) < 0) return -1;
    if (syscall(SYS_pivot_root, ".", ".") < 0) return -1;
    return umount2(".", MNT_DETACH);
}

static int drop_privileges(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return -1;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    return (int)syscall(SYS_capset, &header, none);
}

static void complain(const char *what) {
    char text[256];
    int size = snprintf(text, sizeof text, "sandbox: %s: %s\n", what, strerror(errno));
    (void)!write(2, text, (size_t)size);
    _exit(126);
}

/* Words: the folder, the number of arguments, the arguments, the environment. */
pid_t start_shell(const char *root, const struct words *words, int input, int output, const struct limits *limits) {
    int arguments = words->count >= 2 ? atoi(words->at[1]) : 0;
    if (arguments < 1 || 2 + arguments > words->count) return errno = EINVAL, -1;
    pid_t child = fork();
    if (child != 0) return child;

    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) complain("descriptors");
    syscall(SYS_close_range, 3, ~0U, 0);
    if (change_root(root) < 0) complain("root");
    if (chdir(words->at[0]) < 0 && chdir("/") < 0) complain(words->at[0]);
    setsid();
    umask(022);
    sigset_t nothing;
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    if (set_limits(limits) < 0) complain("limits");
    if (drop_privileges() < 0) complain("privileges");
    if (forbid_syscalls() < 0) complain("seccomp");

    static char *argument[WORDS + 1], *environment[WORDS + 1];
    for (int i = 0; i < arguments; i++) argument[i] = words->at[2 + i];
    for (int i = 2 + arguments; i < words->count; i++) environment[i - 2 - arguments] = words->at[i];
    execvpe(argument[0], argument, environment);
    complain(argument[0]);
    return -1;
}
