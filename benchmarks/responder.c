/* The floor of a socket server: recvmmsg, the same fixed answer to everything, sendmmsg.
 *
 * usage: responder ADDRESS PORT            one socket
 *        responder -f TARGETS              a socket for each line "NETNS-PATH ADDRESS PORT", behind one epoll descriptor
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define SIZE 512

static int bound(const char *address, int port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &own.sin_addr);
    if (bind(fd, (struct sockaddr *)&own, sizeof own)) { perror("bind"); exit(1); }
    return fd;
}

static void serve(int fd, int flags) {
    static unsigned char buffers[BATCH][SIZE];
    static struct sockaddr_in peers[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    static const unsigned char answer[] = {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2};
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], SIZE - sizeof answer};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(fd, messages, BATCH, flags, NULL);
    for (int i = 0; i < count; i++) {
        unsigned size = messages[i].msg_len;
        unsigned end = 12;
        while (end < size && buffers[i][end]) end += 1 + buffers[i][end];
        end += 5;
        buffers[i][2] = 0x85; buffers[i][3] = 0x80;
        memset(buffers[i] + 6, 0, 6);
        buffers[i][7] = 1;
        memcpy(buffers[i] + end, answer, sizeof answer);
        parts[i].iov_len = end + sizeof answer;
    }
    if (count > 0) sendmmsg(fd, messages, count, 0);
}

int main(int argc, char **argv) {
    if (strcmp(argv[1], "-f")) {
        int fd = bound(argv[1], atoi(argv[2]));
        for (;;) serve(fd, MSG_WAITFORONE);
    }
    struct rlimit r; getrlimit(RLIMIT_NOFILE, &r); r.rlim_cur = r.rlim_max; setrlimit(RLIMIT_NOFILE, &r);
    int many = epoll_create1(0), port;
    char netns[256], address[64];
    FILE *file = fopen(argv[2], "r");
    while (fscanf(file, "%255s %63s %d", netns, address, &port) == 3) {
        int ns = open(netns, O_RDONLY | O_CLOEXEC);
        if (setns(ns, CLONE_NEWNET)) { perror(netns); return 1; }
        close(ns);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = bound(address, port)};
        epoll_ctl(many, EPOLL_CTL_ADD, event.data.fd, &event);
    }
    for (;;) {
        struct epoll_event ready[256];
        int count = epoll_wait(many, ready, 256, -1);
        for (int i = 0; i < count; i++) serve(ready[i].data.fd, MSG_DONTWAIT);
    }
}
