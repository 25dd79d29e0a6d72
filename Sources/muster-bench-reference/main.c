// SPDX-License-Identifier: Apache-2.0
//
// The least that a supervisor and its workers need, in C and with nothing but the C library: what muster-bench measures
// Muster's supervisor against. A program of its own, so that neither its start nor its fork pays for Muster's size.
//
//     muster-bench-reference spawn|fork COUNT
//
// starts COUNT workers, each of which writes the instant of its first instruction to standard output, and replaces
// each that dies; SIGTERM ends them all.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// As muster-bench's SupervisionRecord.
struct record {
    int64_t kind, pid, value;
};
enum { kind_started = 1, kind_up = 2 };

extern char **environ;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void tell(int64_t kind, int64_t value) {
    struct record record = {kind, getpid(), value};
    if (write(STDOUT_FILENO, &record, sizeof record) < 0) _exit(1);
}

static void be_worker(void) {
    tell(kind_started, now());
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (;;) pause();
}

// With the attributes and as many descriptors as Muster's workers.
static pid_t spawn_worker(int descriptor) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    for (int number = 3; number < 6; number++) posix_spawn_file_actions_adddup2(&actions, descriptor, number);
    posix_spawn_file_actions_addclosefrom_np(&actions, 6);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t set;
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attributes, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attributes, &set);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    char *arguments[] = {"muster-bench-reference", "worker", NULL};
    pid_t pid = -1;
    if (posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments, environ) != 0) pid = -1;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static pid_t fork_worker(void) {
    pid_t pid = fork();
    if (pid == 0) be_worker();
    return pid;
}

// Starts a worker and watches its pidfd, which it returns.
static int start(bool forks, int descriptor, int epoll) {
    pid_t pid = forks ? fork_worker() : spawn_worker(descriptor);
    if (pid < 0) _exit(1);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = pidfd}};
    if (pidfd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, pidfd, &event) != 0) _exit(1);
    return pidfd;
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "worker") == 0) be_worker();
    if (count != 3) return 2;
    bool forks = strcmp(arguments[1], "fork") == 0;
    int workers = atoi(arguments[2]);
    if (workers < 1 || workers > 64) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);

    int pidfds[64];
    int descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);
    // Above the numbers that workers get.
    descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 16);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = signals}};
    if (descriptor < 0 || epoll < 0 || signals < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &event) != 0) return 1;
    for (int i = 0; i < workers; i++) pidfds[i] = start(forks, descriptor, epoll);
    tell(kind_up, 0);

    int left = workers;
    bool stopping = false;
    while (left > 0) {
        struct epoll_event events[8];
        int ready = epoll_wait(epoll, events, 8, -1);
        for (int i = 0; i < ready; i++) {
            int source = events[i].data.fd;
            if (source == signals) {
                struct signalfd_siginfo information;
                if (read(signals, &information, sizeof information) < 0 || stopping) continue;
                stopping = true;
                for (int k = 0; k < workers; k++) syscall(SYS_pidfd_send_signal, pidfds[k], SIGTERM, NULL, 0);
                continue;
            }
            siginfo_t information = {0};
            if (waitid(P_PIDFD, (id_t)source, &information, WEXITED | WNOHANG) != 0 || information.si_pid == 0) continue;
            close(source);
            int slot = 0;
            while (slot < workers - 1 && pidfds[slot] != source) slot++;
            pidfds[slot] = -1;
            if (stopping) {
                left--;
            } else {
                pidfds[slot] = start(forks, descriptor, epoll);
            }
        }
    }
    return 0;
}
