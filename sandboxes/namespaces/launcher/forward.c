/* The way from a port inside a container without a network to a socket of the file system, where the proxy listens. */
#define _GNU_SOURCE
#include "launcher.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAIRS = 64, CHUNK = 1 << 14 };

/* A connection: what comes from end 0 goes to end 1, and the other way round. */
static struct pair {
    bool open;
    int end[2];
    struct flow {
        char bytes[CHUNK];
        size_t start, size;
        bool over, told; /* nothing more comes; the other end knows */
    } from[2];
} pairs[PAIRS];

static int listen_at(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (listener < 0) return -1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, PAIRS) < 0) return -1;
    return listener;
}

static int reach(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -1;
    strcpy(address.sun_path, path);
    int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (end < 0 || connect(end, (struct sockaddr *)&address, sizeof address) == 0) return end;
    close(end);
    return -1;
}

static void welcome(struct pair *pair, int listener, const char *path) {
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    int server = reach(path);
    if (server < 0) {
        close(client);
        return;
    }
    for (int i = 0; i < 2; i++) pair->from[i].over = pair->from[i].told = false, pair->from[i].size = 0;
    pair->end[0] = client, pair->end[1] = server, pair->open = true;
}

/* Move what can be moved without waiting; -1 where one of the two is gone. */
static int move(struct flow *flow, int source, int sink, bool readable) {
    if (readable && !flow->over && flow->size == 0) {
        ssize_t count = read(source, flow->bytes, CHUNK);
        if (count < 0 && errno != EAGAIN && errno != EINTR) return -1;
        flow->over = count == 0;
        flow->start = 0, flow->size = count > 0 ? (size_t)count : 0;
    }
    if (flow->size > 0) {
        ssize_t count = send(sink, flow->bytes + flow->start, flow->size, MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN && errno != EINTR) return -1;
        if (count > 0) flow->start += (size_t)count, flow->size -= (size_t)count;
    }
    if (flow->over && flow->size == 0 && !flow->told) flow->told = shutdown(sink, SHUT_WR) == 0 || errno == ENOTCONN;
    return 0;
}

static void serve(int listener, const char *path) {
    for (;;) {
        struct pollfd polled[1 + 2 * PAIRS];
        struct pair *spare = NULL;
        for (int i = 0; i < PAIRS; i++) {
            struct pair *pair = &pairs[i];
            if (!pair->open) spare = pair;
            for (int k = 0; k < 2; k++) {
                short wanted = pair->from[1 - k].size > 0 ? POLLOUT : 0;
                if (!pair->from[k].over && pair->from[k].size == 0) wanted |= POLLIN;
                polled[1 + 2 * i + k] = (struct pollfd){.fd = pair->open && wanted ? pair->end[k] : -1, .events = wanted};
            }
        }
        polled[0] = (struct pollfd){.fd = spare ? listener : -1, .events = POLLIN};
        if (poll(polled, 1 + 2 * PAIRS, -1) < 0) continue;
        for (int i = 0; i < PAIRS; i++) {
            struct pair *pair = &pairs[i];
            if (!pair->open) continue;
            bool gone = false;
            for (int k = 0; k < 2; k++)
                gone = gone || move(&pair->from[k], pair->end[k], pair->end[1 - k], polled[1 + 2 * i + k].revents != 0) < 0;
            if (gone || (pair->from[0].told && pair->from[1].told))
                close(pair->end[0]), close(pair->end[1]), pair->open = false;
        }
        if (polled[0].revents) welcome(spare, listener, path);
    }
}

/* Returns when the port is listened at; a child of it serves from then on. */
int forward(int argc, char **argv) {
    int listener = argc == 4 ? listen_at(atoi(argv[2])) : -1;
    pid_t child = listener < 0 ? -1 : fork();
    if (child < 0) return perror("forward"), 1;
    if (child > 0) return 0;
    setsid();
    for (int i = 0; i < 3; i++) close(i); /* whoever waits for the end of our output */
    serve(listener, argv[3]);
    return 1;
}
