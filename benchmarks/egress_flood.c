/* Sends COUNT datagrams of 64 octets to ADDRESS PORT, in batches; prints the nanoseconds of each. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

int main(int argc, char **argv) {
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &to.sin_addr);
    if (argc < 4 || connect(sock, (struct sockaddr *)&to, sizeof to)) return 1;
    static char octets[64];
    struct iovec part = {octets, sizeof octets};
    struct mmsghdr batch[64];
    memset(batch, 0, sizeof batch);
    for (int i = 0; i < 64; i++) batch[i].msg_hdr.msg_iov = &part, batch[i].msg_hdr.msg_iovlen = 1;
    long count = atol(argv[3]), sent = 0;
    struct timespec begun, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begun);
    while (sent < count) {
        int done = sendmmsg(sock, batch, 64, 0);
        if (done > 0) sent += done;
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    printf("%.1f\n", ((end.tv_sec - begun.tv_sec) * 1e9 + (end.tv_nsec - begun.tv_nsec)) / sent);
    return 0;
}
