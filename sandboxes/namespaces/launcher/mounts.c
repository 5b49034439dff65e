/* The root file system, from a plan: operations with their arguments, as words in a row.
 *
 * Outside, on the host's paths:
 *     root PATH                      the folder that becomes the root; the first operation
 *     cd PATH                        what the paths of overlays are relative to
 *     overlay LOWER UPPER WORK PATH  an overlayfs at PATH, relative to `cd` as its layers are
 * Inside, with that folder as root, so that a symbolic link in an untrusted image leads nowhere else:
 *     bind SOURCE TARGET ro|rw       SOURCE is opened outside
 *     tmpfs TARGET OPTIONS, proc TARGET, devpts TARGET
 *     dir TARGET, link TEXT TARGET, file TARGET TEXT     made where they are not there
 *     readonly TARGET, hide TARGET                       where they are there
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MS_RDONLY_ = 1, MS_NOSUID_ = 2, MS_NODEV_ = 4, MS_NOEXEC_ = 8, MNT_DETACH_ = 2 }; /* sys/mount.h clashes */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

static const struct {
    const char *name;
    int arguments;
} OPERATIONS[] = {
    {"root", 1}, {"cd", 1},   {"overlay", 4}, {"bind", 3}, {"tmpfs", 2},    {"proc", 1},
    {"devpts", 1}, {"dir", 1}, {"link", 2},    {"file", 2}, {"readonly", 1}, {"hide", 1},
};

static int arguments_of(const char *name) {
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++)
        if (strcmp(name, OPERATIONS[i].name) == 0) return OPERATIONS[i].arguments;
    errno = EINVAL;
    return -1;
}

static int open_tree_of(const char *path) {
    return (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

static int attach(int tree, const char *target) {
    return (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

static int restrict_tree(int tree, bool read_only) {
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | (read_only ? MOUNT_ATTR_RDONLY : 0)};
    return (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes);
}

/* The folders above `path`, and with `last` the path itself as a folder. */
static int make_folders(const char *path, bool last) {
    char text[4096];
    if (snprintf(text, sizeof text, "%s%s", path, last ? "/" : "") >= (int)sizeof text) return errno = ENAMETOOLONG, -1;
    for (char *slash = strchr(text + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(text, 0755) < 0 && errno != EEXIST) return -1;
        *slash = '/';
    }
    return 0;
}

/* Something of the same kind as `tree` for it to be mounted on. */
static int make_target(int tree, const char *target) {
    struct stat kind;
    if (fstat(tree, &kind) < 0) return -1;
    if (S_ISDIR(kind.st_mode)) return make_folders(target, true);
    if (make_folders(target, false) < 0) return -1;
    int file = open(target, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
    if (file < 0) return errno == EEXIST || errno == ENXIO || errno == EACCES ? 0 : -1;
    return close(file);
}

static int overlay(char *const *word) {
    static char options[4096];
    int size = snprintf(options, sizeof options, "userxattr,lowerdir=%s,upperdir=%s,workdir=%s", word[1], word[2], word[3]);
    if (size >= (int)sizeof options) return errno = E2BIG, -1;
    return mount("overlay", word[4], "overlay", 0, options);
}

static int put(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file < 0) return errno == EEXIST ? 0 : -1;
    ssize_t written = write(file, text, strlen(text));
    close(file);
    return written < 0 ? -1 : 0;
}

static int read_only(const char *target) {
    int tree = open_tree_of(target);
    if (tree < 0) return errno == ENOENT ? 0 : -1;
    int done = restrict_tree(tree, true) < 0 ? -1 : attach(tree, target);
    close(tree);
    return done;
}

static int hide(const char *target) {
    struct stat kind;
    if (stat(target, &kind) < 0) return errno == ENOENT ? 0 : -1;
    if (S_ISDIR(kind.st_mode)) return mount("tmpfs", target, "tmpfs", MS_RDONLY_ | MS_NOSUID_, "size=0");
    int tree = open_tree_of("/dev/null");
    if (tree < 0) return -1;
    int done = attach(tree, target);
    close(tree);
    return done;
}

static int outside(char *const *word, int *source) {
    if (strcmp(word[0], "cd") == 0) return chdir(word[1]);
    if (strcmp(word[0], "overlay") == 0) return overlay(word);
    if (strcmp(word[0], "bind") == 0) return *source = open_tree_of(word[1]);
    return 0;
}

/* Without PID 1, which nothing inside may trace: its files of /proc would let root choose whom the kernel kills first. */
static int mount_proc(const char *target) {
    unsigned long flags = MS_NOSUID_ | MS_NODEV_ | MS_NOEXEC_;
    if (mount("proc", target, "proc", flags, "hidepid=4") == 0) return 0;
    return errno == EINVAL ? mount("proc", target, "proc", flags, NULL) : -1; /* before Linux 5.8 */
}

static int inside(char *const *word, int source) {
    const char *name = word[0];
    if (strcmp(name, "bind") == 0)
        return restrict_tree(source, strcmp(word[3], "ro") == 0) < 0 || make_target(source, word[2]) < 0
                   ? -1
                   : attach(source, word[2]);
    if (strcmp(name, "tmpfs") == 0)
        return make_folders(word[1], true) < 0 ? -1 : mount("tmpfs", word[1], "tmpfs", MS_NOSUID_ | MS_NODEV_, word[2]);
    if (strcmp(name, "proc") == 0) return make_folders(word[1], true) < 0 ? -1 : mount_proc(word[1]);
    if (strcmp(name, "devpts") == 0)
        return make_folders(word[1], true) < 0 ? -1
                                               : mount("devpts", word[1], "devpts", MS_NOSUID_ | MS_NOEXEC_,
                                                       "newinstance,ptmxmode=0666,mode=0620");
    if (strcmp(name, "dir") == 0) return make_folders(word[1], true);
    if (strcmp(name, "link") == 0) return symlink(word[1], word[2]) < 0 && errno != EEXIST ? -1 : 0;
    if (strcmp(name, "file") == 0) return put(word[1], word[2]);
    if (strcmp(name, "readonly") == 0) return read_only(word[1]);
    if (strcmp(name, "hide") == 0) return hide(word[1]);
    return 0;
}

/* In a process of its own, which alone gets the new root: the supervisor needs the host's paths again. */
static int build(const struct words *plan, int report) {
    static int sources[WORDS];
    static char text[512];
    const char *root = plan->at[1];
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && (chdir(root) < 0 || chroot(".") < 0)) return -1;
        for (int i = 0, count; i < plan->count; i += count + 1) {
            char *const *word = plan->at + i;
            count = arguments_of(word[0]);
            if (count < 0 || i + count >= plan->count ||
                (pass == 0 ? outside(word, &sources[i]) : inside(word, sources[i])) < 0) {
                int size = snprintf(text, sizeof text, "%s %.200s %.200s: %s", word[0], count > 0 ? word[1] : "",
                                    count > 1 ? word[2] : "", strerror(errno));
                return (int)write(report, text, (size_t)size);
            }
        }
    }
    return 0;
}

int mount_root(const struct words *plan, char *root, char *error, size_t size) {
    snprintf(error, size, "the plan has no root");
    if (plan->count < 2 || strcmp(plan->at[0], "root") != 0 || strlen(plan->at[1]) >= 4096) return -1;
    strcpy(root, plan->at[1]);
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0) return -1;
    pid_t child = fork();
    if (child == 0) {
        umask(022);
        _exit(build(plan, report[1]) == 0 ? 0 : 1);
    }
    close(report[1]);
    ssize_t got = read(report[0], error, size - 1);
    close(report[0]);
    error[got > 0 ? got : 0] = 0;
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) < 0 || (status != 0 && got <= 0)) snprintf(error, size, "mounting failed");
    return status == 0 ? 0 : -1;
}

/* Whatever is mounted there, all of it. */
int unmount_root(const char *root) { return umount2(root, MNT_DETACH_); }
