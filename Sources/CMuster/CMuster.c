// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1

#include "CMuster.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread void *current_loop;

void *cmuster_current_loop(void) { return current_loop; }
void cmuster_set_current_loop(void *loop) { current_loop = loop; }

static atomic_bool epoll_pwait2_missing;

static struct timespec timespec_of(int64_t ns) {
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return t;
}

int cmuster_epoll_wait_ns(int epoll_fd, struct epoll_event *events, int capacity, int64_t timeout_ns) {
    struct timespec timeout = timespec_of(timeout_ns < 0 ? 0 : timeout_ns);
    struct timespec *limit = timeout_ns < 0 ? NULL : &timeout;
    if (!atomic_load_explicit(&epoll_pwait2_missing, memory_order_relaxed)) {
        int count = epoll_pwait2(epoll_fd, events, capacity, limit, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
        atomic_store_explicit(&epoll_pwait2_missing, true, memory_order_relaxed);
    }
    struct pollfd poll_fd = {.fd = epoll_fd, .events = POLLIN};
    int count = ppoll(&poll_fd, 1, limit, NULL);
    return count > 0 ? epoll_wait(epoll_fd, events, capacity, 0) : count;
}

int cmuster_epoll_control(int epoll_fd, int operation, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data = {.u64 = data}};
    return epoll_ctl(epoll_fd, operation, fd, &event) == 0 ? 0 : errno;
}

int cmuster_event_descriptor(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int cmuster_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns) {
    if (deadline_ns < 0) return pthread_cond_wait(condition, mutex);
    struct timespec deadline = timespec_of(deadline_ns);
    return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &deadline);
}

int cmuster_thread_id(void) { return (int)syscall(SYS_gettid); }
void cmuster_set_thread_name(const char *name) { prctl(PR_SET_NAME, (unsigned long)name, 0, 0, 0); }
void cmuster_set_timer_slack(unsigned long nanoseconds) { prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0); }

int64_t cmuster_descriptor_limit(int pid) {
    struct rlimit limit;
    if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) != 0) return -2;
    return limit.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_cur;
}

int cmuster_memory_file_create(const char *name, int64_t size) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    if (ftruncate(fd, size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int cmuster_memory_file_seals(int fd) { return fcntl(fd, F_GET_SEALS); }

bool cmuster_seals_forbid_resizing(int seals) {
    int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    return seals >= 0 && (seals & wanted) == wanted;
}

static int signal_pipe[2] = {-1, -1};
static pthread_once_t signal_pipe_once = PTHREAD_ONCE_INIT;
static int signal_pipe_error;

static void open_signal_pipe(void) {
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) signal_pipe_error = errno;
}

int cmuster_signal_pipe_open(void) {
    pthread_once(&signal_pipe_once, open_signal_pipe);
    if (signal_pipe_error != 0) {
        errno = signal_pipe_error;
        return -1;
    }
    return signal_pipe[0];
}

// A full pipe drops the byte: 65,536 deliveries that nobody has read carry no more news than the first of them.
static void on_signal(int signal_number) {
    int error = errno;
    unsigned char byte = (unsigned char)signal_number;
    ssize_t ignored = write(signal_pipe[1], &byte, 1);
    (void)ignored;
    errno = error;
}

static int set_disposition(int signal_number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    return sigaction(signal_number, &action, NULL) == 0 ? 0 : errno;
}

int cmuster_signal_install(int signal_number) {
    if (cmuster_signal_pipe_open() < 0) return errno;
    int error = set_disposition(signal_number, on_signal);
    if (error != 0) return error;
    // Whoever started us may have blocked it; a handler that is never called would be a silent failure.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    return pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int cmuster_signal_restore_default(int signal_number) { return set_disposition(signal_number, SIG_DFL); }
int cmuster_signal_ignore(int signal_number) { return set_disposition(signal_number, SIG_IGN); }

// Exported by libdispatch for CoreFoundation; on Linux the handle is an eventfd.
extern int _dispatch_get_main_queue_handle_4CF(void);
extern void _dispatch_main_queue_callback_4CF(void *message);

int cmuster_main_queue_descriptor(void) { return _dispatch_get_main_queue_handle_4CF(); }

void cmuster_main_queue_drain(void) {
    uint64_t count;
    ssize_t ignored = read(_dispatch_get_main_queue_handle_4CF(), &count, sizeof count);
    (void)ignored;
    _dispatch_main_queue_callback_4CF(NULL);
}

bool cmuster_is_main_thread(void) { return getpid() == cmuster_thread_id(); }

void cmuster_exit_now(int code) { _exit(code); }
