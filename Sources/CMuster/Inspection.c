// SPDX-License-Identifier: Apache-2.0
//
// Inside a process that is looked at: a signal handler that copies the registers and the stack of the thread that it
// interrupts into shared memory, where another process, or another thread, makes a backtrace of them. It allocates
// nothing, takes no lock, and reads no memory that might not be there.
//
// The signal is SIGPROF, which even libdispatch's threads do not block.
#define _GNU_SOURCE 1

#include "CMuster.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

_Static_assert(sizeof(struct cmuster_sample) == 32 << 10, "samples begin and end at pages");
_Static_assert(offsetof(struct cmuster_inspection, samples) % 4096 == 0, "samples begin at a page");

enum phase { is_free, is_requested, is_being_written, is_written };
enum command { take_sample = 1, start_timers, stop_timers };

// A sample's state, of one request among all.
static uint32_t state_of(uint32_t request, enum phase phase) { return request << 2 | phase; }

static bool change(uint32_t *word, uint32_t from, uint32_t to) {
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }

// MARK: The process that is looked at

static struct cmuster_inspection *installed;

#if defined(__x86_64__)
static void copy_registers(const ucontext_t *context, uint64_t *registers) {
    // In DWARF's order.
    static const int order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
        REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    for (size_t index = 0; index < sizeof order / sizeof order[0]; index++) {
        registers[index] = (uint64_t)context->uc_mcontext.gregs[order[index]];
    }
}
static uint64_t stack_pointer(const ucontext_t *context) { return (uint64_t)context->uc_mcontext.gregs[REG_RSP]; }
#elif defined(__aarch64__)
static void copy_registers(const ucontext_t *context, uint64_t *registers) {
    for (int index = 0; index < 31; index++) registers[index] = context->uc_mcontext.regs[index];
    registers[31] = context->uc_mcontext.sp;
    registers[32] = context->uc_mcontext.pc;
}
static uint64_t stack_pointer(const ucontext_t *context) { return context->uc_mcontext.sp; }
#else
static void copy_registers(const ucontext_t *context, uint64_t *registers) { (void)context, (void)registers; }
static uint64_t stack_pointer(const ucontext_t *context) { return 0; }
#endif

// The kernel stops at what is not mapped.
static long copy_by_pipe(const void *start, unsigned char *copy, size_t room) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -1;
    long count = write(ends[1], start, room);
    if (count > 0) count = read(ends[0], copy, (size_t)count);
    close(ends[0]);
    close(ends[1]);
    return count;
}

// The kernel stops at what is not mapped. It promises so for whole parts only.
static uint64_t copy_stack(uint64_t start, unsigned char *copy, size_t room) {
    enum { page = 4096 };
    struct iovec parts[CMUSTER_SAMPLE_STACK / page + 2];
    struct iovec whole = {.iov_base = copy, .iov_len = room};
    unsigned long count = 0;
    for (uint64_t next = start, left = room; left > 0; count++) {
        uint64_t length = page - next % page;
        if (length > left) length = left;
        parts[count] = (struct iovec){.iov_base = (void *)next, .iov_len = length};
        next += length;
        left -= length;
    }
    long copied = syscall(SYS_process_vm_readv, (long)getpid(), &whole, 1UL, parts, count, 0UL);
    if (copied > 0) return (uint64_t)copied;
    // A seccomp filter refuses it.
    copied = copy_by_pipe((const void *)start, copy, room);
    if (copied > 0) return (uint64_t)copied;
    // What the processor has used of this page is there.
    memcpy(copy, (const void *)start, parts[0].iov_len);
    return parts[0].iov_len;
}

static void write_sample(struct cmuster_sample *sample, const ucontext_t *context, uint32_t weight) {
    sample->thread = cmuster_thread_id();
    sample->weight = weight;
    copy_registers(context, sample->registers);
    sample->length = copy_stack(stack_pointer(context), sample->stack, sizeof sample->stack);
}

static void count_written(struct cmuster_inspection *area, uint32_t wake_each) {
    uint32_t written = __atomic_add_fetch(&area->written, 1, __ATOMIC_ACQ_REL);
    if (written % wake_each == 0) wake(&area->written);
}

static void answer(struct cmuster_inspection *area, uint32_t request, uint32_t index, const ucontext_t *context) {
    struct cmuster_sample *sample = &area->samples[index % CMUSTER_SAMPLES];
    if (!change(&sample->state, state_of(request, is_requested), state_of(request, is_being_written))) return;
    write_sample(sample, context, 1);
    change(&sample->state, state_of(request, is_being_written), state_of(request, is_written));
    count_written(area, 1);
}

// Of the kernel's numbers, not the C library's, whose functions allocate.
static int timers[CMUSTER_PROFILED_THREADS];
static uint32_t timer_count;
static uint32_t timer_lock;

static void set_timer(int timer, int64_t nanoseconds) {
    struct timespec interval = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    struct itimerspec times = {.it_value = interval, .it_interval = interval};
    syscall(SYS_timer_settime, timer, 0, &times, NULL);
}

static void control_timers(struct cmuster_inspection *area, uint32_t request, enum command command) {
    if (!change(&timer_lock, 0, 1)) return;
    if (command == stop_timers) {
        while (timer_count > 0) syscall(SYS_timer_delete, timers[--timer_count]);
    } else if (cmuster_monotonic_ns() < __atomic_load_n(&area->deadline, __ATOMIC_RELAXED)) {
        // Else a request that was pending in a stopped process is over.
        uint32_t count = __atomic_load_n(&area->thread_count, __ATOMIC_ACQUIRE);
        for (uint32_t index = 0; index < count; index++) {
            if (index >= CMUSTER_PROFILED_THREADS) break;
            if (timer_count == CMUSTER_PROFILED_THREADS) {
                __atomic_fetch_add(&area->lost, 1, __ATOMIC_RELAXED);
                continue;
            }
            int thread = area->threads[index];
            struct sigevent event = {.sigev_signo = SIGPROF, .sigev_notify = SIGEV_THREAD_ID};
            event._sigev_un._tid = thread;
            // The clock of another thread's time on processors, as the kernel numbers it.
            int clock = (int)(~(unsigned)thread << 3 | 6);
            if (syscall(SYS_timer_create, clock, &event, &timers[timer_count]) != 0) {
                // EINVAL: it has ended.
                if (errno != EINVAL) __atomic_fetch_add(&area->lost, 1, __ATOMIC_RELAXED);
                continue;
            }
            set_timer(timers[timer_count++], area->interval);
        }
        area->thread_count = 0;
    }
    __atomic_store_n(&timer_lock, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&area->obeyed, request, __ATOMIC_RELEASE);
    count_written(area, 1);
}

static void sample_by_timer(struct cmuster_inspection *area, const siginfo_t *information, const ucontext_t *context) {
    // Whoever has asked for it may have died.
    if (cmuster_monotonic_ns() > __atomic_load_n(&area->deadline, __ATOMIC_RELAXED)) {
        return set_timer(information->si_timerid, 0);
    }
    uint32_t weight = 1 + (uint32_t)information->si_overrun;
    uint32_t index = __atomic_fetch_add(&area->next, 1, __ATOMIC_RELAXED) % CMUSTER_SAMPLES;
    struct cmuster_sample *sample = &area->samples[index];
    if (!change(&sample->state, is_free, is_being_written)) {
        __atomic_fetch_add(&area->lost, weight, __ATOMIC_RELAXED);
        return;
    }
    write_sample(sample, context, weight);
    change(&sample->state, is_being_written, is_written);
    count_written(area, CMUSTER_SAMPLES / 4);
}

static void on_inspection(int signal_number, siginfo_t *information, void *context) {
    (void)signal_number;
    int error = errno;
    struct cmuster_inspection *area = installed;
    if (information->si_code == SI_TIMER) {
        sample_by_timer(area, information, context);
    } else if (information->si_code == SI_QUEUE) {
        uint64_t value = (uint64_t)information->si_value.sival_ptr;
        uint32_t request = value >> 32;
        enum command command = value >> 16 & 0xFFFF;
        if (command == take_sample) answer(area, request, value & 0xFFFF, context);
        if (command == start_timers || command == stop_timers) control_timers(area, request, command);
    }
    errno = error;
}

int cmuster_inspection_install(struct cmuster_inspection *area) {
#if !defined(__x86_64__) && !defined(__aarch64__)
    return ENOTSUP;
#endif
    struct sigaction previous;
    if (sigaction(SIGPROF, NULL, &previous) != 0) return errno;
    bool is_ours = (previous.sa_flags & SA_SIGINFO) && previous.sa_sigaction == on_inspection;
    // A profiler's, perhaps.
    if (!is_ours && previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return EBUSY;
    installed = area;
    // Not blocked meanwhile: a thread that still returns from it is not one that blocks the signal.
    int flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | SA_NODEFER;
    struct sigaction action = {.sa_sigaction = on_inspection, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGPROF, &action, NULL) != 0) return errno;
    __atomic_store_n(&area->owner, (uint32_t)getpid(), __ATOMIC_RELEASE);
    return 0;
}

struct cmuster_inspection *cmuster_inspection_installed(void) { return installed; }

// MARK: Who looks

bool cmuster_inspection_begin(struct cmuster_inspection *area) {
    uint32_t own = (uint32_t)getpid();
    uint32_t other = __atomic_load_n(&area->looker, __ATOMIC_RELAXED);
    if (other != 0 && (other == own || kill((int)other, 0) == 0 || errno != ESRCH)) return false;
    return change(&area->looker, other, own);
}

void cmuster_inspection_end(struct cmuster_inspection *area) {
    __atomic_store_n(&area->looker, 0, __ATOMIC_RELEASE);
}

uint32_t cmuster_inspection_next_request(struct cmuster_inspection *area) {
    // Beside two bits for its state; 0 is no request's.
    return __atomic_add_fetch(&area->request, 1, __ATOMIC_RELAXED) % ((1u << 30) - 1) + 1;
}

bool cmuster_inspection_is_installed(struct cmuster_inspection *area, int pid) {
    return __atomic_load_n(&area->owner, __ATOMIC_ACQUIRE) == (uint32_t)pid;
}

static int queue(int pid, int thread, uint32_t request, enum command command, uint32_t index) {
    siginfo_t information = {.si_signo = SIGPROF, .si_code = SI_QUEUE};
    information.si_pid = getpid();
    information.si_uid = getuid();
    information.si_value.sival_ptr = (void *)((uint64_t)request << 32 | (uint64_t)command << 16 | index);
    long result = thread != 0 ? syscall(SYS_rt_tgsigqueueinfo, pid, thread, SIGPROF, &information)
                              : syscall(SYS_rt_sigqueueinfo, pid, SIGPROF, &information);
    return result == 0 ? 0 : errno;
}

int cmuster_inspection_request(struct cmuster_inspection *area, int pid, int thread, uint32_t request, int index) {
    uint32_t *state = &area->samples[index].state;
    __atomic_store_n(state, state_of(request, is_requested), __ATOMIC_RELEASE);
    int error = queue(pid, thread, request, take_sample, (uint32_t)index);
    if (error != 0) __atomic_store_n(state, is_free, __ATOMIC_RELEASE);
    return error;
}

bool cmuster_inspection_is_written(struct cmuster_inspection *area, uint32_t request, int index) {
    return __atomic_load_n(&area->samples[index].state, __ATOMIC_ACQUIRE) == state_of(request, is_written);
}

void cmuster_inspection_free(struct cmuster_inspection *area, int index) {
    __atomic_store_n(&area->samples[index].state, is_free, __ATOMIC_RELEASE);
}

int cmuster_inspection_start(
    struct cmuster_inspection *area, int pid, uint32_t request, int64_t interval, int64_t deadline, const int *threads,
    int count) {
    if (count > CMUSTER_PROFILED_THREADS) {
        __atomic_fetch_add(&area->lost, (uint32_t)(count - CMUSTER_PROFILED_THREADS), __ATOMIC_RELAXED);
        count = CMUSTER_PROFILED_THREADS;
    }
    area->interval = interval;
    __atomic_store_n(&area->deadline, deadline, __ATOMIC_RELAXED);
    memcpy(area->threads, threads, sizeof *threads * (size_t)count);
    __atomic_store_n(&area->thread_count, (uint32_t)count, __ATOMIC_RELEASE);
    return queue(pid, 0, request, start_timers, 0);
}

int cmuster_inspection_stop(struct cmuster_inspection *area, int pid, uint32_t request) {
    __atomic_store_n(&area->deadline, 0, __ATOMIC_RELAXED);
    return queue(pid, 0, request, stop_timers, 0);
}

bool cmuster_inspection_is_obeyed(struct cmuster_inspection *area, uint32_t request) {
    return __atomic_load_n(&area->obeyed, __ATOMIC_ACQUIRE) == request;
}

uint32_t cmuster_inspection_lost(struct cmuster_inspection *area) {
    return __atomic_exchange_n(&area->lost, 0, __ATOMIC_RELAXED);
}

uint32_t cmuster_inspection_written(struct cmuster_inspection *area) {
    return __atomic_load_n(&area->written, __ATOMIC_ACQUIRE);
}

void cmuster_inspection_wait(struct cmuster_inspection *area, uint32_t written, int64_t timeout_ns) {
    if (timeout_ns <= 0) return;
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    syscall(SYS_futex, &area->written, FUTEX_WAIT, written, &timeout, NULL, 0);
}

// MARK: Names

const void *cmuster_kernel_image(void) { return (const void *)getauxval(AT_SYSINFO_EHDR); }

// Exported by the Swift runtime.
extern char *swift_demangle(const char *name, size_t length, char *room, size_t *room_length, uint32_t flags);

// Of the C++ library, which is there wherever that runtime is.
extern char *__cxa_demangle(const char *name, char *room, size_t *length, int *status) __attribute__((weak));

char *cmuster_demangle(const char *name) {
    int status = 0;
    if (strncmp(name, "_Z", 2) == 0) return __cxa_demangle ? __cxa_demangle(name, NULL, NULL, &status) : NULL;
    return swift_demangle(name, strlen(name), NULL, NULL, 0);
}
