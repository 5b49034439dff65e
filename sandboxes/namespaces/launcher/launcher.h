/* The launcher: PID 1 of a sandbox. It makes the namespaces, mounts the root file system, starts shells, and kills.
 *
 * It is trusted and keeps its capabilities, which hold in the sandbox's user namespace alone; what it starts has none,
 * and so can neither signal nor trace it, nor open what it has open. One process of one thread, no allocation.
 */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { MESSAGE = 1 << 17, WORDS = 4096 };

/* What each command may use by itself; 0 is no limit. */
struct limits {
    unsigned long address_space, processes, file_size;
};

/* Strings in a row, each ended by a NUL. */
struct words {
    char *at[WORDS + 1];
    int count;
};

/* namespaces.c */
int enter_namespaces(const char *uid, const char *gid, bool own_network);
int loopback_up(void);
int listen_inside(int port);

/* mounts.c: both write what failed to `error` and return -1. */
int mount_root(const struct words *plan, char *root, char *error, size_t size);
int unmount_root(const char *root);

/* shell.c */
pid_t start_shell(const char *root, const struct words *words, int input, int output, const struct limits *limits);

/* seccomp.c */
int forbid_syscalls(void);

/* supervise.c */
int supervise(int control, const struct limits *limits);

/* forward.c */
int forward(int argc, char **argv);

#endif
