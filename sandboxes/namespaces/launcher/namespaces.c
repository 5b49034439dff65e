/* Namespaces of its own: user, mount, PID, IPC, host name, cgroup and network. */
#define _GNU_SOURCE
#include "launcher.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

static int put(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t written = write(file, text, strlen(text));
    close(file);
    return written == (ssize_t)strlen(text) ? 0 : -1;
}

static int map(const char *path, const char *outside) {
    char line[64];
    snprintf(line, sizeof line, "0 %s 1\n", outside);
    return put(path, line);
}

int enter_namespaces(const char *uid, const char *gid, bool own_network) {
    if (strcmp(uid, "-") != 0) {
        if (unshare(CLONE_NEWUSER) < 0) return -1;
        if (put("/proc/self/setgroups", "deny") < 0) return -1;
        if (map("/proc/self/uid_map", uid) < 0 || map("/proc/self/gid_map", gid) < 0) return -1;
    }
    int rest = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    if (unshare(rest | (own_network ? CLONE_NEWNET : 0)) < 0) return -1;
    put("/proc/sys/user/max_user_namespaces", "0"); /* none below ours; the system call filter forbids it as well */
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return -1;
    return sethostname("sandbox", strlen("sandbox"));
}

int loopback_up(void) {
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) return -1;
    struct ifreq device = {.ifr_flags = IFF_UP | IFF_RUNNING};
    strcpy(device.ifr_name, "lo");
    int done = ioctl(control, SIOCSIFFLAGS, &device);
    close(control);
    return done;
}

/* A listening socket on the sandbox's loopback device, for the owner to accept on. */
int listen_inside(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) return -1;
    int yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 128) < 0) {
        close(listener);
        return -1;
    }
    return listener;
}
