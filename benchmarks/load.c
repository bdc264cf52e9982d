/* A load generator for name servers: closed loop (a window of outstanding queries) or open loop (a rate), UDP or TCP,
 * to many servers in many network namespaces from one process, every query in a new spelling if wanted.
 *
 * usage: load TARGETS QUERIES SECONDS window N | rate N | flood N [mixed] [tcp] [clients N]
 *   flood: UDP at a rate, or as fast as can be; responses are counted and belong to nothing.
 *   TARGETS: lines "NETNS-PATH|- ADDRESS PORT"; QUERIES: messages, each behind its length in two octets.
 * Prints JSON: sent, received, lost, latency percentiles in microseconds (open loop: from when a query was due), RCODEs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 16384
#define BATCH 64
#define TIMEOUT 1000000000ull

struct slot { uint64_t due; int busy; int sock; };
struct sock { int fd; unsigned char in[70000]; int have; };

static struct slot slots[SLOTS];
static struct sock **socks;
static int nsocks, nqueries, tcp, mixed, epfd;
static unsigned char **queries;
static int *sizes;
static uint64_t sent, received, lost, rcodes[16], unasked;
static uint32_t histogram[2000000], above;
static uint64_t most;
static uint64_t next_query;
static uint32_t noise = 2463534242u;

static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static uint32_t draw(void) { noise ^= noise << 13; noise ^= noise >> 17; noise ^= noise << 5; return noise; }

static int make(unsigned char *to, int number) {
    int q = next_query++ % nqueries, size = sizes[q], at = tcp ? 2 : 0;
    memcpy(to + at, queries[q], size);
    to[at] = number >> 8; to[at + 1] = number;
    if (tcp) { to[0] = size >> 8; to[1] = size; }
    if (mixed) {
        uint32_t bits = draw();
        for (unsigned char *c = to + at + 12; *c; c += *c + 1)
            for (int i = 1; i <= *c; i++, bits = bits >> 1 | bits << 31)
                if (c[i] >= 'a' && c[i] <= 'z' && bits & 1) c[i] -= 32;
    }
    return size + at;
}

static void take(unsigned char *message, int size, uint64_t at) {
    if (size < 12) return;
    int number = message[0] << 8 | message[1];
    if (number >= SLOTS || !slots[number].busy) return;
    slots[number].busy = 0;
    uint64_t took = at - slots[number].due;
    received++; rcodes[message[3] & 15]++;
    if (took > most) most = took;
    if (took / 1000 < 2000000) histogram[took / 1000]++; else above++;
}

static double percentile(double share) {
    uint64_t wanted = received * share, seen = 0;
    for (int i = 0; i < 2000000; i++) if ((seen += histogram[i]) > wanted) return i + 0.5;
    return most / 1000.0;
}

static void send_all(int *numbers, int count) {
    static unsigned char out[SLOTS * 64 > 4000000 ? SLOTS * 64 : 4000000];
    for (int i = 0; i < count;) {
        int s = slots[numbers[i]].sock, n = 0, at = 0;
        struct mmsghdr messages[BATCH]; struct iovec parts[BATCH];
        while (i + n < count && n < BATCH && slots[numbers[i + n]].sock == s) {
            int size = make(out + at, numbers[i + n]);
            parts[n] = (struct iovec){out + at, size};
            messages[n] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[n], .msg_iovlen = 1}};
            at += size; n++;
        }
        if (tcp) { for (int done = 0; done < at;) { ssize_t w = write(socks[s]->fd, out + done, at - done); if (w > 0) done += w; else if (errno != EAGAIN) exit(3); } }
        else { int done = 0; while (done < n) { int w = n - done == 1 ? (send(socks[s]->fd, parts[done].iov_base, parts[done].iov_len, 0) >= 0 ? 1 : -1) : sendmmsg(socks[s]->fd, messages + done, n - done, 0); done += w > 0 ? w : 1; } }
        sent += n; i += n;
    }
}

static void receive(struct sock *s) {
    if (tcp) {
        ssize_t got = read(s->fd, s->in + s->have, sizeof s->in - s->have);
        if (got <= 0) { if (got == 0) { fprintf(stderr, "connection closed\n"); exit(4); } return; }
        s->have += got;
        uint64_t at = now(); int used = 0;
        while (s->have - used >= 2) {
            int size = s->in[used] << 8 | s->in[used + 1];
            if (s->have - used < 2 + size) break;
            take(s->in + used + 2, size, at); used += 2 + size;
        }
        memmove(s->in, s->in + used, s->have -= used);
        return;
    }
    static unsigned char buffers[BATCH][1500];
    struct mmsghdr messages[BATCH]; struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], sizeof buffers[i]};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    int count = recvmmsg(s->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t at = now();
    for (int i = 0; i < count; i++) take(buffers[i], messages[i].msg_len, at);
}

static void open_sockets(const char *path, int clients) {
    FILE *f = fopen(path, "r"); char netns[256], address[64]; int port, home = open("/proc/self/ns/net", O_RDONLY);
    socks = malloc(sizeof *socks * 200000);
    while (fscanf(f, "%255s %63s %d", netns, address, &port) == 3) {
        int ns = netns[0] == '-' ? -1 : open(netns, O_RDONLY);
        if (ns >= 0 && setns(ns, CLONE_NEWNET)) { perror(netns); exit(2); }
        for (int i = 0; i < clients; i++) {
            struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
            inet_pton(AF_INET, address, &to.sin_addr);
            struct sock *s = calloc(1, tcp ? sizeof *s : sizeof(int));
            s->fd = socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
            if (connect(s->fd, (struct sockaddr *)&to, sizeof to)) { perror("connect"); exit(2); }
            int one = 1; if (tcp) setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            fcntl(s->fd, F_SETFL, O_NONBLOCK);
            struct epoll_event e = {.events = EPOLLIN, .data.u32 = nsocks};
            epoll_ctl(epfd, EPOLL_CTL_ADD, s->fd, &e);
            socks[nsocks++] = s;
        }
        if (ns >= 0) { setns(home, CLONE_NEWNET); close(ns); }
    }
}

static void flood(int rate, double seconds) {
    uint64_t start = now(), at;
    static unsigned char out[BATCH][1500], in[BATCH][1500];
    for (uint64_t turn = 0; (at = now()) < start + (uint64_t)(seconds * 1e9); turn++) {
        if (sent >= (at - start) / 1e9 * rate) continue;
        struct mmsghdr messages[BATCH]; struct iovec parts[BATCH];
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){out[i], make(out[i], sent + i & 0xffff)};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
        }
        int done = sendmmsg(socks[turn % nsocks]->fd, messages, BATCH, MSG_DONTWAIT);
        if (done > 0) sent += done;
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){in[i], sizeof in[i]};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
        }
        done = recvmmsg(socks[turn % nsocks]->fd, messages, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < done; i++) { received++; rcodes[in[i][3] & 15]++; }
    }
}

int main(int argc, char **argv) {
    int closed = !strcmp(argv[4], "window"), amount = atoi(argv[5]), clients = 20;
    for (int i = 6; i < argc; i++) {
        if (!strcmp(argv[i], "mixed")) mixed = 1;
        if (!strcmp(argv[i], "tcp")) tcp = 1;
        if (!strcmp(argv[i], "clients")) clients = atoi(argv[++i]);
    }
    struct rlimit r; getrlimit(RLIMIT_NOFILE, &r); r.rlim_cur = r.rlim_max; setrlimit(RLIMIT_NOFILE, &r);
    epfd = epoll_create1(0);
    FILE *f = fopen(argv[2], "r"); int high;
    queries = malloc(sizeof *queries * 2000000); sizes = malloc(sizeof *sizes * 2000000);
    while ((high = fgetc(f)) != EOF) {
        int size = high << 8 | fgetc(f);
        queries[nqueries] = malloc(size); sizes[nqueries] = fread(queries[nqueries], 1, size, f); nqueries++;
    }
    open_sockets(argv[1], clients);
    int window = closed ? amount : SLOTS, numbers[SLOTS];
    uint64_t start = now(), end = start + (uint64_t)(atof(argv[3]) * 1e9), last_look = start;
    double period = closed ? 0 : 1e9 / amount, due = start;
    int turn = 0, free_at = 0;
    int floods = !strcmp(argv[4], "flood");
    if (floods) flood(amount, atof(argv[3]));
    for (; !floods;) {
        uint64_t at = now();
        if (at > end) break;
        int count = 0;
        if (closed) {
            for (int i = 0; i < window; i++)
                if (!slots[i].busy) { slots[i] = (struct slot){at, 1, i % nsocks}; numbers[count++] = i; }
        } else while (due <= at) {
            int tries = 0;
            while (slots[free_at].busy && tries++ < SLOTS) free_at = (free_at + 1) % SLOTS;
            if (tries > SLOTS) unasked++;
            else { slots[free_at] = (struct slot){(uint64_t)due, 1, turn++ % nsocks}; numbers[count++] = free_at; free_at = (free_at + 1) % SLOTS; }
            due += period;
            if (count == SLOTS) break;
        }
        if (count > 1 && closed) {  /* those of one socket together */
            static int sorted[SLOTS]; int n = 0;
            static int head[200000], link[SLOTS], used[SLOTS]; int distinct = 0;
            for (int i = count - 1; i >= 0; i--) { int s = slots[numbers[i]].sock; if (!head[s]) used[distinct++] = s; link[i] = head[s] - 1; head[s] = i + 1; }
            for (int d = distinct - 1; d >= 0; d--) { for (int i = head[used[d]] - 1; i >= 0; i = link[i]) sorted[n++] = numbers[i]; head[used[d]] = 0; }
            memcpy(numbers, sorted, count * sizeof *numbers);
        }
        if (count) send_all(numbers, count);
        struct epoll_event events[256];
        int ready;
        if (closed || amount > 5000) ready = epoll_wait(epfd, events, 256, closed ? 100 : 0);
        else {  /* sleep: one that spins with real-time priority is stopped by the kernel for 50 ms in each second */
            int64_t left = (int64_t)due - (int64_t)now();
            struct timespec wait = {0, left > 0 ? (left > 999999999 ? 999999999 : left) : 0};
            ready = epoll_pwait2(epfd, events, 256, &wait, NULL);
        }
        for (int i = 0; i < ready; i++) receive(socks[events[i].data.u32]);
        if (at - last_look > 100000000) {
            last_look = at;
            for (int i = 0; i < SLOTS; i++) if (slots[i].busy && at > slots[i].due && at - slots[i].due > (closed ? TIMEOUT : 5 * TIMEOUT)) { slots[i].busy = 0; lost++; }
        }
    }
    uint64_t took = now() - start, counted = received;
    if (!closed && !floods) {
        for (uint64_t until = now() + 300000000; now() < until;) {
            struct epoll_event events[256];
            int ready = epoll_wait(epfd, events, 256, 10);
            for (int i = 0; i < ready; i++) receive(socks[events[i].data.u32]);
        }
        counted = received;
        for (int i = 0; i < SLOTS; i++) lost += slots[i].busy;
    }
    printf("{\"sent\": %lu, \"received\": %lu, \"lost\": %lu, \"unasked\": %lu, \"seconds\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"rcodes\": {",
           sent, counted, lost, unasked, took / 1e9, percentile(0.5), percentile(0.99), most / 1000.0);
    for (int i = 0, first = 1; i < 16; i++) if (rcodes[i]) { printf("%s\"%d\": %lu", first ? "" : ", ", i, rcodes[i]); first = 0; }
    printf("}}\n");
}
