/* System calls that no command needs and that reach far into the kernel, or out of the sandbox.
 *
 * What capabilities already forbid stands here too: a second lock, and fewer doors to a kernel's mistakes.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the system call filter knows x86_64 and aarch64"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_LOW(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
#define SKIP_UNLESS(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (count))
#define SKIP_IF(value, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (count), 0)
#define SKIP_UNLESS_ANY(bits, count) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, (count))
#define REFUSE(error) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define DENY(call) SKIP_UNLESS(SYS_##call, 1), REFUSE(EPERM)

enum {
    NEW_NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
};

static struct sock_filter FILTER[] = {
    LOAD(arch), SKIP_IF(ARCHITECTURE, 1), REFUSE(ENOSYS),
    LOAD(nr),
#if defined(__x86_64__)
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), REFUSE(ENOSYS), /* the x32 numbers */
    DENY(iopl), DENY(ioperm), DENY(kexec_file_load),
#endif
    DENY(mount), DENY(umount2), DENY(pivot_root), DENY(chroot), DENY(move_mount), DENY(open_tree), DENY(fsopen),
    DENY(fsconfig), DENY(fsmount), DENY(fspick), DENY(mount_setattr), DENY(unshare), DENY(setns), DENY(bpf),
    DENY(perf_event_open), DENY(kexec_load), DENY(init_module), DENY(finit_module), DENY(delete_module), DENY(keyctl),
    DENY(add_key), DENY(request_key), DENY(userfaultfd), DENY(swapon), DENY(swapoff), DENY(reboot), DENY(acct),
    DENY(settimeofday), DENY(clock_settime), DENY(adjtimex), DENY(clock_adjtime), DENY(quotactl), DENY(open_by_handle_at),
    DENY(name_to_handle_at), DENY(lookup_dcookie), DENY(fanotify_init), DENY(syslog), DENY(vhangup),
    SKIP_UNLESS(SYS_prlimit64, 4), LOAD_LOW(0), SKIP_UNLESS(1, 1), REFUSE(EPERM), ALLOW, /* PID 1 is of the same user */
    SKIP_UNLESS(SYS_mknodat, 7), LOAD_LOW(2), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, S_IFMT), /* pipes and files, no devices */
    SKIP_IF(S_IFIFO, 3), SKIP_IF(S_IFREG, 2), SKIP_IF(0, 1), REFUSE(EPERM), ALLOW,
    SKIP_UNLESS(SYS_io_uring_setup, 1), REFUSE(ENOSYS),
    SKIP_UNLESS(SYS_io_uring_enter, 1), REFUSE(ENOSYS),
    SKIP_UNLESS(SYS_io_uring_register, 1), REFUSE(ENOSYS),
    SKIP_UNLESS(SYS_clone3, 1), REFUSE(ENOSYS), /* its flags lie in memory, out of a filter's sight; libc then uses clone */
    SKIP_UNLESS(SYS_fallocate, 1), REFUSE(EOPNOTSUPP), /* disk is watched, and must not be taken faster than written */
    SKIP_UNLESS(SYS_clone, 4), LOAD_LOW(0), SKIP_UNLESS_ANY(NEW_NAMESPACES, 1), REFUSE(EPERM), ALLOW,
    SKIP_UNLESS(SYS_socket, 7), LOAD_LOW(0), /* AF_VSOCK and others know no network namespace */
    SKIP_IF(AF_UNIX, 4), SKIP_IF(AF_INET, 3), SKIP_IF(AF_INET6, 2), SKIP_IF(AF_NETLINK, 1),
    REFUSE(EAFNOSUPPORT), ALLOW,
    ALLOW,
};

int forbid_syscalls(void) {
    struct sock_fprog program = {.len = sizeof FILTER / sizeof *FILTER, .filter = FILTER};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}
