/* The floor of a socket server: recvmmsg, the same fixed answer to everything, sendmmsg. usage: responder ADDRESS PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define SIZE 512

int main(int argc, char **argv) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &own.sin_addr);
    if (bind(fd, (struct sockaddr *)&own, sizeof own)) { perror("bind"); return 1; }
    static unsigned char buffers[BATCH][SIZE];
    static struct sockaddr_in peers[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    static const unsigned char answer[] = {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2};
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){buffers[i], SIZE - sizeof answer};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
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
        sendmmsg(fd, messages, count, 0);
    }
}
