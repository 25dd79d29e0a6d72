// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1

#include "CMuster.h"

#include "ForkServer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
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

int cmuster_accept(int listening_socket) {
    return accept4(listening_socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int cmuster_event_descriptor(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int cmuster_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns) {
    if (deadline_ns < 0) return pthread_cond_wait(condition, mutex);
    struct timespec deadline = timespec_of(deadline_ns);
    return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &deadline);
}

int cmuster_thread_id(void) { return (int)syscall(SYS_gettid); }
void cmuster_set_thread_name(const char *name) { prctl(PR_SET_NAME, (unsigned long)name, 0, 0, 0); }
void cmuster_ask_for_slices(uint64_t nanoseconds) {
    // A seccomp filter may end the process for it: systemd's @resources, for example, unless the unit says with which error.
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0) return;
    // struct sched_attr as all kernels know it; the C library does not.
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {0};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
    // Somebody who has chosen a policy knows better.
    if (attributes.policy != SCHED_OTHER) return;
    attributes.size = sizeof attributes;
    attributes.runtime = nanoseconds;
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void cmuster_set_timer_slack(unsigned long nanoseconds) { prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0); }

int64_t cmuster_descriptor_limit(int pid) {
    struct rlimit limit;
    if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) != 0) return -2;
    return limit.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_cur;
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
static void report_signal(int signal_number) {
    int error = errno;
    unsigned char byte = (unsigned char)signal_number;
    ssize_t ignored = write(signal_pipe[1], &byte, 1);
    (void)ignored;
    errno = error;
}

static void on_signal(int signal_number, siginfo_t *information, void *context) {
    // The terminal's, not an operator's: this program writes to it, or reads from it, in the background. The call is
    // made again when the handler returns, and goes through where the signal is blocked.
    if ((signal_number == SIGTTOU || signal_number == SIGTTIN) && information->si_code == SI_KERNEL) {
        sigaddset(&((ucontext_t *)context)->uc_sigmask, signal_number);
        return;
    }
    report_signal(signal_number);
}

// Lets the failing call report its error. As a handler, unlike SIG_IGN, it does not outlast execve(2).
static void on_discarded(int signal_number) { (void)signal_number; }

static bool is_discarded(int signal_number) { return signal_number == SIGPIPE || signal_number == SIGXFSZ; }

static int set_disposition(int signal_number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    return sigaction(signal_number, &action, NULL) == 0 ? 0 : errno;
}

static void discard_if_default(int signal_number) {
    struct sigaction action;
    if (sigaction(signal_number, NULL, &action) != 0) return;
    if ((action.sa_flags & SA_SIGINFO) || action.sa_handler != SIG_DFL) return;
    set_disposition(signal_number, on_discarded);
}

void cmuster_discard_write_signals(void) {
    discard_if_default(SIGPIPE);
    discard_if_default(SIGXFSZ);
}

int cmuster_memory_file_create(const char *name, int64_t size) {
    // RLIMIT_FSIZE counts for memory files, too: an error, not the end.
    cmuster_discard_write_signals();
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    if (ftruncate(fd, size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int cmuster_signal_install(int signal_number) {
    if (cmuster_signal_pipe_open() < 0) return errno;
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    if (sigaction(signal_number, &action, NULL) != 0) return errno;
    // Whoever started us may have blocked it; a handler that is never called would be a silent failure.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    return pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int cmuster_signal_restore_default(int signal_number) {
    return set_disposition(signal_number, is_discarded(signal_number) ? on_discarded : SIG_DFL);
}

int cmuster_signal_ignore(int signal_number) { return set_disposition(signal_number, SIG_IGN); }

bool cmuster_signal_is_ignored(int signal_number) {
    struct sigaction action;
    if (sigaction(signal_number, NULL, &action) != 0) return false;
    return !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN;
}

void cmuster_signal_block(int signal_number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool cmuster_take_stream_failure(void) {
    bool failed = ferror(stdout) || ferror(stderr);
    if (failed) {
        clearerr(stdout);
        clearerr(stderr);
    }
    return failed;
}

void cmuster_abandon_streams(int thread) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (int descriptor = 1; null >= 0 && descriptor <= 2; descriptor++) {
        struct pollfd stream = {.fd = descriptor, .events = POLLOUT};
        if (poll(&stream, 1, 0) == 0) dup2(null, descriptor);
    }
    // Without SA_RESTART, the write under way fails.
    struct sigaction action = {.sa_handler = on_discarded};
    sigemptyset(&action.sa_mask);
    sigaction(SIGPIPE, &action, NULL);
    syscall(SYS_tgkill, getpid(), thread, SIGPIPE);
}

// What a closed one would become is a descriptor of ours: log text would then go into a metric arena or a socket.
// Reading from the input, and writing to the others, fails as it would if they were closed.
static void open_standard_descriptors(void) {
    for (int descriptor = 0; descriptor <= 2; descriptor++) {
        if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
        int opened = open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
        if (opened < 0) opened = open("/", O_PATH);
        if (opened > descriptor) {
            dup2(opened, descriptor);
            close(opened);
        }
    }
}

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

// Descriptors are moved by dup2(2) one after the other, so no source may be a number that is a target, too: those
// that are get another number above all targets for as long as the call takes.
static int stage_descriptors(
    posix_spawn_file_actions_t *actions, const int *descriptors, int count, int *staged) {
    for (int index = 0; index < count; index++) {
        int source = descriptors[index];
        if (source < 3 + count) {
            source = staged[index] = fcntl(source, F_DUPFD_CLOEXEC, 3 + count);
            if (source < 0) return errno;
        } else if (fcntl(source, F_GETFD) < 0) {
            return errno;
        }
        int error = posix_spawn_file_actions_adddup2(actions, source, 3 + index);
        if (error != 0) return error;
    }
    return posix_spawn_file_actions_addclosefrom_np(actions, 3 + count);
}

static int spawn_in_order(
    const char *path, char *const *arguments, char *const *environment, posix_spawn_file_actions_t *actions,
    int *pid) {
    posix_spawnattr_t attributes;
    int error = posix_spawnattr_init(&attributes);
    if (error != 0) return error;
    sigset_t set;
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attributes, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attributes, &set);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    error = posix_spawn(pid, path, actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    return error;
}

// By a seccomp filter, or by an old kernel.
static bool is_refused(int error) { return error == ENOSYS || error == EPERM || error == EACCES; }

int cmuster_spawn(
    const char *path, char *const *arguments, char *const *environment, const int *descriptors, int count, int *pid,
    int *pid_fd) {
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    int *staged = malloc(sizeof(int) * (size_t)(count > 0 ? count : 1));
    if (staged == NULL) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    for (int index = 0; index < count; index++) staged[index] = -1;
    error = stage_descriptors(&actions, descriptors, count, staged);
    if (error == 0) error = spawn_in_order(path, arguments, environment, &actions, pid);
    for (int index = 0; index < count; index++) {
        if (staged[index] >= 0) close(staged[index]);
    }
    free(staged);
    posix_spawn_file_actions_destroy(&actions);
    return error != 0 ? error : cmuster_child_open(*pid, pid_fd);
}

int cmuster_child_open(int pid, int *pid_fd) {
    // The number cannot have gone to another process yet: it is free only when we have waited for it.
    *pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (*pid_fd >= 0 || is_refused(errno)) return 0;
    int error = errno;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
    return error;
}

int cmuster_child_send_signal(int pid, int pid_fd, int signal_number) {
    if (pid_fd >= 0) {
        if (syscall(SYS_pidfd_send_signal, pid_fd, signal_number, NULL, 0) == 0) return 0;
        if (!is_refused(errno)) return errno;
    }
    // Only a child that nobody has waited for has its number for certain.
    siginfo_t information;
    if (waitid(P_PID, (id_t)pid, &information, WEXITED | WNOHANG | WNOWAIT) != 0) return errno;
    return kill(pid, signal_number) == 0 ? 0 : errno;
}

int cmuster_pidfd_missing(void) {
    int pid_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (pid_fd < 0) return errno;
    int error = syscall(SYS_pidfd_send_signal, pid_fd, 0, NULL, 0) == 0 ? 0 : errno;
    close(pid_fd);
    return error;
}

static double seconds_of(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static int wait_for_child(int pid, int options, siginfo_t *information, struct rusage *usage) {
    memset(information, 0, sizeof *information);
    // The function of the C library does not tell the resources used.
    while (syscall(SYS_waitid, P_PID, pid, information, options, usage) != 0) {
        if (errno != EINTR) return errno;
    }
    return 0;
}

int cmuster_child_poll(int pid, struct cmuster_child_event *event) {
    siginfo_t information;
    struct rusage usage;
    memset(&usage, 0, sizeof usage);
    memset(event, 0, sizeof *event);
    int options = WEXITED | WSTOPPED | WCONTINUED | WNOHANG;
    int error = wait_for_child(pid, options | WNOWAIT, &information, &usage);
    if (error != 0 || information.si_pid == 0) return error;
    // What it has started ends with it. Its group has its number until it has been waited for.
    int code = information.si_code;
    if (code == CLD_EXITED || code == CLD_KILLED || code == CLD_DUMPED) kill(-pid, SIGKILL);
    error = wait_for_child(pid, options, &information, &usage);
    if (error != 0 || information.si_pid == 0) return error;
    event->happened = true;
    event->code = information.si_code;
    event->status = information.si_status;
    event->cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    return 0;
}

bool cmuster_is_child_stopped_or_continued(void) {
    siginfo_t information;
    memset(&information, 0, sizeof information);
    while (waitid(P_ALL, 0, &information, WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT) != 0) {
        if (errno != EINTR) return false;
    }
    return information.si_pid != 0;
}

int cmuster_peek_ended_child(void) {
    siginfo_t information;
    memset(&information, 0, sizeof information);
    while (waitid(P_ALL, 0, &information, WEXITED | WNOHANG | WNOWAIT) != 0) {
        if (errno != EINTR) return 0;
    }
    return information.si_pid;
}

bool cmuster_reap(int pid) {
    siginfo_t information;
    memset(&information, 0, sizeof information);
    while (waitid(P_PID, (id_t)pid, &information, WEXITED | WNOHANG) != 0) {
        if (errno != EINTR) return false;
    }
    return information.si_pid == pid;
}

int cmuster_become_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 ? 0 : errno; }

// Out of the way of the numbers that programs use, which count from SIGRTMIN up.
int cmuster_orphan_signal(void) { return SIGRTMAX - 3; }

static int orphan_reported;
static long orphan_grace_us;

static void on_parent_death(int signal_number, siginfo_t *information, void *context) {
    (void)signal_number;
    (void)information;
    int error = errno;
    report_signal(orphan_reported);
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    // It takes effect when the handler returns, in a thread that is alive for certain.
    sigdelset(&((ucontext_t *)context)->uc_sigmask, SIGALRM);
    struct itimerval timer = {
        .it_value = {.tv_sec = orphan_grace_us / 1000000, .tv_usec = orphan_grace_us % 1000000},
    };
    setitimer(ITIMER_REAL, &timer, NULL);
    errno = error;
}

int cmuster_orphan_arm(int reported, long grace_us) {
    if (cmuster_signal_pipe_open() < 0) return errno;
    orphan_reported = reported;
    orphan_grace_us = grace_us;
    struct sigaction action = {.sa_sigaction = on_parent_death, .sa_flags = SA_RESTART | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    int signal_number = cmuster_orphan_signal();
    if (sigaction(signal_number, &action, NULL) != 0) return errno;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    int error = pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    if (error != 0) return error;
    return prctl(PR_SET_PDEATHSIG, (unsigned long)signal_number, 0, 0, 0) == 0 ? 0 : errno;
}

static char *first_argument;
static unsigned long first_argument_length;

// A worker, whose supervisor has put it into a background group of the terminal, if there is one.
static void begin_worker(void) {
    if (getenv("MUSTER_WORKER") == NULL) return;
    cmuster_discard_write_signals();
    cmuster_signal_ignore(SIGTTOU);
    cmuster_signal_ignore(SIGTTIN);
}

// The C library hands the arguments to constructors, which is the only way to their real memory: Swift's are copies.
// Before all others, one of which may run a whole program.
__attribute__((constructor(101))) static void prepare(int count, char **arguments) {
    open_standard_descriptors();
    if (count > 0 && arguments != NULL && arguments[0] != NULL) {
        first_argument = arguments[0];
        first_argument_length = strlen(arguments[0]);
        cmuster_fork_server_begin(first_argument, first_argument_length, begin_worker);
    }
    begin_worker();
}

char *cmuster_title_memory(unsigned long *length) {
    *length = first_argument_length;
    return first_argument;
}

static int crash_channel = -1;
static unsigned char crash_message;
static struct sigaction runtime_action;

// The Swift runtime's handler writes backtraces, puts the default action back and returns, which ends a process that
// has trapped, but not one that was sent the signal: that would go on, at worst with threads that stay suspended. It gets
// the signal once more.
static void on_crash(int signal_number, siginfo_t *information, void *context) {
    int error = errno;
    send(crash_channel, &crash_message, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    errno = error;
    if (runtime_action.sa_flags & SA_SIGINFO) {
        runtime_action.sa_sigaction(signal_number, information, context);
    } else {
        runtime_action.sa_handler(signal_number);
    }
    set_disposition(signal_number, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    syscall(SYS_tgkill, getpid(), cmuster_thread_id(), signal_number);
}

void cmuster_report_crashes(int channel, unsigned char message) {
    static const int signals[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGSEGV, SIGTRAP};
    crash_channel = channel;
    crash_message = message;
    struct sigaction *runtime = &runtime_action;
    if (sigaction(SIGILL, NULL, runtime) != 0 || runtime->sa_handler == SIG_DFL || runtime->sa_handler == SIG_IGN) return;
    for (size_t index = 0; index < sizeof signals / sizeof signals[0]; index++) {
        int signal_number = signals[index];
        struct sigaction action;
        // Another handler, of the program's own for SIGQUIT perhaps, may mean to live on.
        if (sigaction(signal_number, NULL, &action) != 0 || action.sa_sigaction != runtime->sa_sigaction) continue;
        // On the runtime's terms, but for the signal itself, which must not come again meanwhile.
        action.sa_sigaction = on_crash;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaddset(&action.sa_mask, signal_number);
        sigaction(signal_number, &action, NULL);
    }
}
