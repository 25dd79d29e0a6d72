// SPDX-License-Identifier: Apache-2.0
// The least that each task needs, in C with nothing but the C library: the contract is in ../bench.
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t setting(const char *name) {
    const char *text = getenv(name);
    if (!text) {
        fprintf(stderr, "%s is not set: this program is run by scripts/peers/bench\n", name);
        exit(2);
    }
    return atoll(text);
}

static FILE *log_file(void) {
    FILE *file = fopen(getenv("PEER_LOG"), "a");
    if (!file) exit(2);
    return file;
}

// A heap of deadlines, and one thread that sleeps until the first.
struct loop {
    int64_t due;
    int number;
};

static void sift_down(struct loop *heap, int count) {
    for (int at = 0, child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1].due < heap[child].due) child++;
        if (heap[at].due <= heap[child].due) return;
        struct loop other = heap[at];
        heap[at] = heap[child];
        heap[child] = other;
    }
}

static int loops(void) {
    int64_t interval = setting("PEER_INTERVAL"), end = now() + setting("PEER_SECONDS") * 1000000000LL;
    int count = setting("PEER_LOOPS");
    int capacity = (end - now()) / interval + 16;
    int64_t *instants = calloc((size_t)count * capacity, sizeof *instants);
    int *used = calloc(count, sizeof *used);
    struct loop *heap = calloc(count, sizeof *heap);
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    for (int i = 0; i < count; i++) heap[i] = (struct loop){now(), i};
    while (heap->due < end) {
        struct timespec due = {heap->due / 1000000000, heap->due % 1000000000};
        if (heap->due > now()) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        int i = heap->number;
        if (used[i] < capacity) instants[(size_t)i * capacity + used[i]++] = now();
        heap->due += interval;
        sift_down(heap, count);
    }
    FILE *file = log_file();
    for (int i = 0; i < count; i++)
        for (int k = 0; k < used[i]; k++) fprintf(file, "%d %lld\n", i, (long long)instants[(size_t)i * capacity + k]);
    return fclose(file);
}

static void *nothing(void *argument) { return argument; }

static int jobs(void) {
    int64_t count = setting("PEER_JOBS");
    for (int round = 0; round < 5; round++) {
        int64_t start = now();
        for (int64_t i = 0; i < count; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, nothing, NULL)) return 1;
            pthread_join(thread, NULL);
        }
        FILE *file = log_file();
        fprintf(file, "%lld\n", (long long)((now() - start) / count));
        fclose(file);
    }
    return 0;
}

static pid_t start_worker(void) {
    pid_t pid = fork();
    if (pid) return pid;
    char line[64];
    int length = snprintf(line, sizeof line, "%d %lld\n", getpid(), (long long)now());
    int file = open(getenv("PEER_LOG"), O_WRONLY | O_APPEND);
    if (write(file, line, length) < 0) _exit(2);
    close(file);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (;;) pause();
}

static int workers(void) {
    enum { limit = 64 };
    pid_t pids[limit];
    int count = setting("PEER_WORKERS");
    if (count > limit) return 2;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < count; i++) pids[i] = start_worker();
    while (sigwaitinfo(&set, NULL) == SIGCHLD)
        for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
            for (int i = 0; i < count; i++)
                if (pids[i] == pid) pids[i] = start_worker();
    for (int i = 0; i < count; i++) kill(pids[i], SIGTERM);
    while (wait(NULL) > 0) {}
    return 0;
}

static bool send_all(int client, const char *bytes, size_t count) {
    for (ssize_t sent; count; bytes += sent, count -= sent)
        if ((sent = send(client, bytes, count, MSG_NOSIGNAL)) <= 0) return false;
    return true;
}

// Serves the bytes of a file, whatever is asked for, to one client at a time.
static int serve(void) {
    int file = open(getenv("PEER_PAGE"), O_RDONLY);
    struct stat status;
    if (file < 0 || fstat(file, &status)) return 2;
    char *page = malloc(status.st_size + 128);
    int head = sprintf(page, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", (long long)status.st_size);
    if (read(file, page + head, status.st_size) != status.st_size) return 2;
    struct sockaddr_in address = {AF_INET, htons(setting("PEER_PORT")), {htonl(INADDR_LOOPBACK)}, {0}};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) return 1;
    for (int client; (client = accept(listener, NULL, NULL)) >= 0; close(client)) {
        char request[4096];
        ssize_t length = 0, got;
        while ((got = recv(client, request + length, sizeof request - length, 0)) > 0) {
            length += got;
            if (length < 4 || memcmp(request + length - 4, "\r\n\r\n", 4)) continue;
            length = 0;
            if (!send_all(client, page, head + status.st_size)) break;
        }
    }
    return 1;
}

int main(void) {
    const char *task = getenv("PEER_TASK");
    if (task && !strcmp(task, "loops")) return loops();
    if (task && !strcmp(task, "jobs")) return jobs();
    if (task && !strcmp(task, "workers")) return workers();
    if (task && !strcmp(task, "series")) return serve();
    fputs("PEER_TASK is not set: this program is run by scripts/peers/bench\n", stderr);
    return 2;
}
