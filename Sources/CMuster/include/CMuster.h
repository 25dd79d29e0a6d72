// SPDX-License-Identifier: Apache-2.0
//
// The few lines that Swift cannot say: thread-local storage, variadic system calls, calls hidden behind
// feature macros, and what must run inside a signal handler.
#ifndef CMUSTER_H
#define CMUSTER_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include <time.h>

// The event loop that the calling thread runs, unretained; NULL on every other thread.
void *cmuster_current_loop(void);
void cmuster_set_current_loop(void *loop);

// CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds.
static inline int64_t cmuster_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// CLOCK_MONOTONIC at the latest tick: without reading a hardware clock, some milliseconds late.
static inline int64_t cmuster_monotonic_coarse_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t cmuster_realtime_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// CLOCK_REALTIME minus CLOCK_MONOTONIC in nanoseconds, from the clocks' readings at the latest tick: without reading a
// hardware clock. A tick between the two costs a few milliseconds of accuracy.
static inline int64_t cmuster_realtime_lead_ns(void) {
    struct timespec monotonic, realtime;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &monotonic);
    clock_gettime(CLOCK_REALTIME_COARSE, &realtime);
    return (int64_t)(realtime.tv_sec - monotonic.tv_sec) * 1000000000 + realtime.tv_nsec - monotonic.tv_nsec;
}

// Waits on an epoll descriptor with nanosecond precision; a negative time-out waits for ever. Falls back to
// ppoll(2) where the kernel or a seccomp filter has no epoll_pwait2(2). Returns as epoll_wait(2) does.
int cmuster_epoll_wait_ns(int epoll_fd, struct epoll_event *events, int capacity, int64_t timeout_ns);

// epoll_ctl(2) with the data word as a plain integer. Returns 0 or an errno value.
int cmuster_epoll_control(int epoll_fd, int operation, int fd, uint32_t events, uint64_t data);

// accept4(2): a non-blocking, close-on-exec connection, or -1 with errno set. Marking it afterwards would let a process
// that is spawned meanwhile inherit it.
int cmuster_accept(int listening_socket);

// eventfd(2), non-blocking and close-on-exec, or -1 with errno set.
int cmuster_event_descriptor(void);

// Waits on a condition until an absolute CLOCK_MONOTONIC instant; negative waits for ever. Returns 0 or ETIMEDOUT.
int cmuster_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t deadline_ns);

// The time that a thread which asks for short slices gets.
#define CMUSTER_SHORT_SLICE 100000
// Asks for slices of so many nanoseconds for the calling thread, 0 for the system's default. One with short slices runs soon after
// it is woken, before those that use their processor for long (Linux 6.12; else, and under a seccomp filter, without
// effect). Inherited by new threads and processes.
void cmuster_ask_for_slices(uint64_t nanoseconds);

// Threads.
int cmuster_thread_id(void);
void cmuster_set_thread_name(const char *name);
void cmuster_set_timer_slack(unsigned long nanoseconds);

// The soft limit of a process' open descriptors: -1 for none, -2 where it may not be read.
int64_t cmuster_descriptor_limit(int pid);

// A sealed memory file: a new descriptor of `size` bytes that can neither shrink nor grow, or -1 with errno set.
int cmuster_memory_file_create(const char *name, int64_t size);
// The seals of a memory file, or -1 with errno set.
int cmuster_memory_file_seals(int fd);
bool cmuster_seals_forbid_resizing(int seals);

// Signals: one process-wide pipe; each delivery writes the signal's number to it as one byte.
// Nothing but write(2) runs in signal context. A SIGTTOU or SIGTTIN of the terminal's is blocked instead, in the thread
// that gets it.
int cmuster_signal_pipe_open(void);                 // the read end (opened once), or -1 with errno set
int cmuster_signal_install(int signal_number);      // 0 or an errno value
int cmuster_signal_restore_default(int signal_number);
int cmuster_signal_ignore(int signal_number);
bool cmuster_signal_is_ignored(int signal_number);
void cmuster_signal_block(int signal_number);       // in the calling thread
// SIGPIPE and SIGXFSZ do nothing from now on, unless somebody has chosen an action; programs that are started from here
// get the default action.
void cmuster_discard_write_signals(void);

// Whether a write to the C library's standard streams has failed since the last call.
bool cmuster_take_stream_failure(void);

// Sends what is written to a standard stream that takes nothing nowhere from now on, and interrupts a thread that waits
// to write to one. For the end of the process.
void cmuster_abandon_streams(int thread);

// libdispatch's main queue, served by a loop of our own on the main thread, as CoreFoundation's run loop does it.
int cmuster_main_queue_descriptor(void);
void cmuster_main_queue_drain(void);

// Whether the calling thread is the process' first.
bool cmuster_is_main_thread(void);

// Ends the process at once, without handlers of exit(3).
void cmuster_exit_now(int code) __attribute__((noreturn));

// Child processes. What returns an int returns 0 or an errno value.

// Starts a program in a process group of its own, with every signal at its default (but the C library's own, 32 and
// 33, which it ignores in whatever it starts) and none blocked. It has this
// process' descriptors 0, 1 and 2, the given ones as 3, 4, 5… in their order, and no others.
int cmuster_spawn(
    const char *path, char *const *arguments, char *const *environment, const int *descriptors, int count, int *pid,
    int *pid_fd);
// The child's descriptor, or -1 where the kernel, or a seccomp filter, has no pidfd_open(2). Any other error ends the child.
int cmuster_child_open(int pid, int *pid_fd);
// Sends a signal to a child by its descriptor or, where there is none or the kernel refuses it, by its number. Returns 0
// or an errno value, ECHILD for a child that has been waited for.
int cmuster_child_send_signal(int pid, int pid_fd, int signal_number);
// Why processes cannot be named by descriptors: an errno value, 0 when they can.
int cmuster_pidfd_missing(void);

// What has happened to a child: nothing, or one of waitid(2)'s CLD_… codes with its status.
struct cmuster_child_event {
    bool happened;
    int code;
    int status;
    double cpu_seconds;
};
// Takes the next piece of news about a child without waiting. An end is told once; it frees the process' number, after
// what is left of its process group has been killed.
int cmuster_child_poll(int pid, struct cmuster_child_event *event);

// Whether there is news of that kind, which stays to be taken, about any child.
bool cmuster_is_child_stopped_or_continued(void);

// The number of a child that has ended and that nobody has waited for, which it leaves unwaited for; 0 for none.
int cmuster_peek_ended_child(void);
// Frees the number of a child that has ended.
bool cmuster_reap(int pid);

// Makes the orphans among this process' descendants its children, as those of a container's first process are.
int cmuster_become_subreaper(void);

// The signal that tells this process that its parent has died.
int cmuster_orphan_signal(void);
// Has that signal sent when the parent's thread that made this process ends. Its handler writes `reported` to the
// signal pipe and has the kernel end the process with SIGALRM after `grace_us` microseconds.
int cmuster_orphan_arm(int reported, long grace_us);

// Sends one byte to a socket when one of the signals of a crash comes that has a handler, as those have that write
// backtraces, before that handler runs; SIGABRT ends the process after it.
void cmuster_report_crashes(int channel, unsigned char message);

// The fork server: the same program, started with this variable, whose value is the inode of its socket. Its descriptors
// from 3 on, as many as a worker gets, are that socket, so that nothing else that it opens has their numbers.
#define CMUSTER_FORK_SERVER "MUSTER_FORK_SERVER"
// Another variable of its, whose value is as long as a worker's marker may become.
#define CMUSTER_FORK_ROOM "MUSTER_FORKED"
// The dynamic linker's variable, any value of which makes it look up all functions at the start, and our value.
#define CMUSTER_BIND_NOW "LD_BIND_NOW"
#define CMUSTER_BIND_NOW_VALUE "muster"
// Whether this program can be one. Sanitizers speak against it.
bool cmuster_fork_server_supported(void);
// Asks the server for a worker, a child of this process, with the given descriptors as its 3, 4, 5… The marker is the value
// of its MUSTER_WORKER.
int cmuster_fork_request(
    int socket, const char *title, const char *marker, const int *descriptors, int count);
// Waits for the answer to a request: ETIMEDOUT, an error of the socket, or 0 with the child's number or the errno value for
// which the server has refused.
int cmuster_fork_reply(int socket, int timeout_ms, int *refusal, int *pid);

// The bell: shared memory of this size, by which others learn at once that a process ends.
#define CMUSTER_BELL_SIZE 64
// Makes the calling thread's end ring it, in memory that is zero. The thread is to live as long as the process. Returns 0 or an
// errno value.
int cmuster_bell_hold(void *bell);
// Asks to be woken. Returns the value that the word has until the bell rings, or 0 when nobody holds it, or any more.
uint32_t cmuster_bell_listen(void *bell);
bool cmuster_bell_has_rung(const void *bell);

// A word of memory and the value that it is expected to have.
struct cmuster_futex {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};
struct cmuster_futex cmuster_futex_of(const void *word, uint32_t value, bool is_shared);
// Waits until one of up to 128 words is woken. Returns 0, EAGAIN when one has another value, EINTR, or another errno value where
// the kernel (before 5.16) or a seccomp filter has no futex_waitv(2).
int cmuster_futex_wait_any(const struct cmuster_futex *futexes, int count);
// Wakes who waits for a word of this process.
void cmuster_futex_wake(const void *word);

// Looking inside a process: memory that it shares with whoever looks.

// How many samples have room at once, and the bytes of stack in each: a sample is 32 KiB.
#define CMUSTER_SAMPLES 64
#define CMUSTER_REGISTERS 33
enum { CMUSTER_SAMPLE_STACK = (32 << 10) - 24 - 8 * CMUSTER_REGISTERS };
#define CMUSTER_PROFILED_THREADS 1000
// A thread's registers, in DWARF's order, and what its stack pointer points to.
struct cmuster_sample {
    uint32_t state;
    int32_t thread;
    uint32_t weight;    // how many intervals of a timer it stands for
    uint32_t reserved;
    uint64_t length;    // of the stack in bytes
    uint64_t registers[CMUSTER_REGISTERS];
    unsigned char stack[CMUSTER_SAMPLE_STACK];
};
struct cmuster_inspection {
    uint32_t owner;     // the process whose handler is installed
    uint32_t written;   // counts samples and answers; a futex
    uint32_t obeyed;    // the latest request about timers that has been done
    uint32_t next;      // where the next timer's sample goes
    uint32_t lost;      // samples that there was no room for
    uint32_t thread_count;
    uint32_t looker;    // the process that looks
    uint32_t request;   // the latest request's number
    int64_t deadline;   // when timers end by themselves
    int64_t interval;
    int32_t threads[CMUSTER_PROFILED_THREADS];
    unsigned char padding[8192 - 48 - 4 * CMUSTER_PROFILED_THREADS];
    struct cmuster_sample samples[CMUSTER_SAMPLES];
};
// Lets this process be looked at. Returns 0 or an errno value: EBUSY where the program handles SIGPROF itself.
int cmuster_inspection_install(struct cmuster_inspection *area);
// Where this process' samples go, if it can be looked at.
struct cmuster_inspection *cmuster_inspection_installed(void);
// One looks at a time: false while another does. The end of a process that looks ends that, too.
bool cmuster_inspection_begin(struct cmuster_inspection *area);
void cmuster_inspection_end(struct cmuster_inspection *area);
uint32_t cmuster_inspection_next_request(struct cmuster_inspection *area);
bool cmuster_inspection_is_installed(struct cmuster_inspection *area, int pid);
// Asks a thread for a sample. A request's number is other than that of the requests before it.
int cmuster_inspection_request(struct cmuster_inspection *area, int pid, int thread, uint32_t request, int index);
bool cmuster_inspection_is_written(struct cmuster_inspection *area, uint32_t request, int index);
void cmuster_inspection_free(struct cmuster_inspection *area, int index);
// Asks for samples of further threads, one per `interval` of processor time, until `deadline`; or for no more of any.
int cmuster_inspection_start(
    struct cmuster_inspection *area, int pid, uint32_t request, int64_t interval, int64_t deadline, const int *threads,
    int count);
int cmuster_inspection_stop(struct cmuster_inspection *area, int pid, uint32_t request);
bool cmuster_inspection_is_obeyed(struct cmuster_inspection *area, uint32_t request);
// How many samples were lost since the last call.
uint32_t cmuster_inspection_lost(struct cmuster_inspection *area);
uint32_t cmuster_inspection_written(struct cmuster_inspection *area);
// Waits until more is written, or the time is over.
void cmuster_inspection_wait(struct cmuster_inspection *area, uint32_t written, int64_t timeout_ns);

// The code that the kernel maps into every process, an ELF image; NULL where it maps none.
const void *cmuster_kernel_image(void);

// What a symbol of Swift's or C++'s stands for, to be freed; NULL for another.
char *cmuster_demangle(const char *name);

// Who has connected a Unix socket, in the namespaces of this process. Returns 0 or an errno value.
int cmuster_peer_credentials(int socket, int *pid, uint32_t *uid);
// Sends a packet without waiting, with a descriptor unless that is negative; receives one, truncated to the capacity but
// counted in full, with a close-on-exec descriptor or -1. Return as sendmsg(2) and recvmsg(2) do.
ssize_t cmuster_send_with_descriptor(int socket, const void *bytes, size_t count, int descriptor);
ssize_t cmuster_receive_with_descriptor(int socket, void *bytes, size_t capacity, int *descriptor);

// The memory of the program's name as the kernel shows it, with its length without the NUL; NULL where unknown.
char *cmuster_title_memory(unsigned long *length);

#endif
