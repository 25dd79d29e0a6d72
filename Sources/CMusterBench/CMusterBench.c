// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CMusterBench.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static int64_t read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t cmusterbench_now(void) { return read_clock(CLOCK_MONOTONIC); }

int64_t cmusterbench_process_time(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

int cmusterbench_process_descriptor(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int64_t cmusterbench_processor_time(int pid) {
    clockid_t clock;
    return clock_getcpuclockid(pid, &clock) == 0 ? read_clock(clock) : -1;
}

static void sleep_until(int64_t instant) {
    struct timespec t = {.tv_sec = instant / 1000000000, .tv_nsec = instant % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

// Updates

void *cmusterbench_map_shared(size_t size) {
    int file = memfd_create("muster-bench", MFD_CLOEXEC);
    if (file < 0) return NULL;
    void *memory = MAP_FAILED;
    if (ftruncate(file, (off_t)size) == 0) memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return memory == MAP_FAILED ? NULL : memory;
}

void cmusterbench_unmap(void *memory, size_t size) { munmap(memory, size); }

void cmusterbench_atomic_adds(uint64_t *word, size_t count) {
    _Atomic uint64_t *cell = (_Atomic uint64_t *)word;
    for (size_t i = 0; i < count; i++) atomic_fetch_add_explicit(cell, 1, memory_order_relaxed);
}

// Timers

int64_t cmusterbench_set_timer_slack(int64_t nanoseconds) {
    prctl(PR_SET_TIMERSLACK, (unsigned long)nanoseconds, 0, 0, 0);
    return prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
}

void cmusterbench_periodic(int64_t origin, int64_t interval, size_t count, int64_t *wakings) {
    for (size_t i = 0; i < count; i++) {
        sleep_until(origin + (int64_t)(i + 1) * interval);
        wakings[i] = cmusterbench_now();
    }
}

struct timer {
    int64_t due;
    void (*function)(void *);
    void *argument;
};

static void __attribute__((noinline)) store_instant(void *target) { *(volatile int64_t *)target = cmusterbench_now(); }

static void sift_down(struct timer *heap, size_t count, size_t index) {
    struct timer moving = heap[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= count) break;
        if (child + 1 < count && heap[child + 1].due < heap[child].due) child++;
        if (heap[child].due >= moving.due) break;
        heap[index] = heap[child];
        index = child;
    }
    heap[index] = moving;
}

int64_t cmusterbench_timer_heap(const int64_t *first, size_t count, int64_t interval, int64_t end) {
    struct timer *heap = calloc(count, sizeof *heap);
    int64_t *instants = calloc(count, sizeof *instants);
    int64_t calls = -1;
    if (heap && instants && count > 0) {
        for (size_t i = 0; i < count; i++) heap[i] = (struct timer){first[i], store_instant, &instants[i]};
        for (size_t i = count; i-- > 0;) sift_down(heap, count, i);
        calls = 0;
        for (;;) {
            int64_t now = cmusterbench_now();
            if (now >= end) break;
            while (heap[0].due <= now) {
                heap[0].function(heap[0].argument);
                calls++;
                heap[0].due += interval;
                sift_down(heap, count, 0);
            }
            sleep_until(heap[0].due < end ? heap[0].due : end);
        }
    }
    free(heap);
    free(instants);
    return calls;
}

// Text

static size_t write_number(uint64_t value, uint8_t *target) {
    uint8_t digits[20];
    size_t count = 0;
    do {
        digits[count++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < count; i++) target[i] = digits[count - 1 - i];
    return count;
}

size_t cmusterbench_render(const struct cmusterbench_line *lines, size_t count, uint8_t *target) {
    uint8_t *end = target;
    for (size_t i = 0; i < count; i++) {
        memcpy(end, lines[i].text, lines[i].length);
        end += lines[i].length;
        if (lines[i].has_value) end += write_number(lines[i].value, end);
        *end++ = '\n';
    }
    return (size_t)(end - target);
}

// Switches

struct turns {
    ucontext_t *contexts;
    size_t *queue;
    size_t capacity;  // a power of two
    size_t head, tail;
    size_t rounds;
    size_t current;
    ucontext_t outside;
};

static size_t power_of_two(size_t least) {
    size_t size = 1;
    while (size < least) size *= 2;
    return size;
}

static void take_turns(unsigned int high, unsigned int low) {
    struct turns *turns = (struct turns *)(((uintptr_t)high << 32) | low);
    size_t self = turns->current;
    for (size_t i = 0; i < turns->rounds; i++) {
        turns->queue[turns->tail++ & (turns->capacity - 1)] = self;
        size_t next = turns->queue[turns->head++ & (turns->capacity - 1)];
        turns->current = next;
        if (next != self) swapcontext(&turns->contexts[self], &turns->contexts[next]);
    }
    if (turns->head != turns->tail) {
        size_t next = turns->queue[turns->head++ & (turns->capacity - 1)];
        turns->current = next;
        setcontext(&turns->contexts[next]);
    }
    setcontext(&turns->outside);
}

int64_t cmusterbench_context_switches(size_t contexts, size_t rounds) {
    enum { stack_size = 64 << 10 };
    struct turns turns = {.capacity = power_of_two(contexts + 1), .rounds = rounds};
    turns.contexts = calloc(contexts, sizeof *turns.contexts);
    turns.queue = calloc(turns.capacity, sizeof *turns.queue);
    char *stacks = malloc(contexts * stack_size);
    int64_t took = -1;
    if (turns.contexts && turns.queue && stacks && contexts > 0) {
        uintptr_t address = (uintptr_t)&turns;
        for (size_t i = 0; i < contexts; i++) {
            getcontext(&turns.contexts[i]);
            turns.contexts[i].uc_stack.ss_sp = stacks + i * stack_size;
            turns.contexts[i].uc_stack.ss_size = stack_size;
            makecontext(
                &turns.contexts[i], (void (*)(void))take_turns, 2, (unsigned int)(address >> 32),
                (unsigned int)address);
            if (i > 0) turns.queue[turns.tail++] = i;
        }
        int64_t start = cmusterbench_now();
        swapcontext(&turns.outside, &turns.contexts[0]);
        took = cmusterbench_now() - start;
    }
    free(turns.contexts);
    free(turns.queue);
    free(stacks);
    return took;
}

struct calls;

struct call {
    void (*function)(struct calls *, size_t);
    size_t job;
};

struct calls {
    struct call *queue;
    size_t capacity;  // a power of two
    size_t head, tail;
    size_t *rounds_left;
};

static void __attribute__((noinline)) call_again(struct calls *calls, size_t job) {
    if (--calls->rounds_left[job] == 0) return;
    calls->queue[calls->tail++ & (calls->capacity - 1)] = (struct call){call_again, job};
}

int64_t cmusterbench_queued_calls(size_t jobs, size_t rounds) {
    struct calls calls = {.capacity = power_of_two(jobs + 1)};
    calls.queue = calloc(calls.capacity, sizeof *calls.queue);
    calls.rounds_left = calloc(jobs, sizeof *calls.rounds_left);
    int64_t took = -1;
    if (calls.queue && calls.rounds_left && rounds > 0) {
        for (size_t i = 0; i < jobs; i++) {
            calls.rounds_left[i] = rounds;
            calls.queue[calls.tail++] = (struct call){call_again, i};
        }
        int64_t start = cmusterbench_now();
        while (calls.head != calls.tail) {
            struct call call = calls.queue[calls.head++ & (calls.capacity - 1)];
            call.function(&calls, call.job);
        }
        took = cmusterbench_now() - start;
    }
    free(calls.queue);
    free(calls.rounds_left);
    return took;
}

// Threads

static void *return_at_once(void *argument) { return argument; }

int64_t cmusterbench_threads_in_turn(size_t count) {
    int64_t start = cmusterbench_now();
    for (size_t i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, return_at_once, NULL) != 0) return -1;
        pthread_join(thread, NULL);
    }
    return cmusterbench_now() - start;
}

struct gathering {
    pthread_mutex_t mutex;
    pthread_cond_t arrived, over;
    size_t waiting;
    bool is_over;
};

static void *wait_for_end(void *argument) {
    struct gathering *gathering = argument;
    pthread_mutex_lock(&gathering->mutex);
    gathering->waiting++;
    pthread_cond_signal(&gathering->arrived);
    while (!gathering->is_over) pthread_cond_wait(&gathering->over, &gathering->mutex);
    pthread_mutex_unlock(&gathering->mutex);
    return NULL;
}

int64_t cmusterbench_threads_at_once(size_t count, size_t stack_size, void (*all_wait)(void *), void *context) {
    pthread_t *threads = calloc(count, sizeof *threads);
    if (!threads) return -1;
    struct gathering gathering = {.waiting = 0};
    pthread_mutex_init(&gathering.mutex, NULL);
    pthread_cond_init(&gathering.arrived, NULL);
    pthread_cond_init(&gathering.over, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_size);
    size_t started = 0;
    int64_t start = cmusterbench_now();
    while (started < count && pthread_create(&threads[started], &attributes, wait_for_end, &gathering) == 0) started++;
    pthread_mutex_lock(&gathering.mutex);
    while (gathering.waiting < started) pthread_cond_wait(&gathering.arrived, &gathering.mutex);
    pthread_mutex_unlock(&gathering.mutex);
    int64_t took = cmusterbench_now() - start;
    all_wait(context);
    start = cmusterbench_now();
    pthread_mutex_lock(&gathering.mutex);
    gathering.is_over = true;
    pthread_cond_broadcast(&gathering.over);
    pthread_mutex_unlock(&gathering.mutex);
    for (size_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    took += cmusterbench_now() - start;
    pthread_attr_destroy(&attributes);
    pthread_cond_destroy(&gathering.arrived);
    pthread_cond_destroy(&gathering.over);
    pthread_mutex_destroy(&gathering.mutex);
    free(threads);
    return started == count ? took : -1;
}

void cmusterbench_trim_memory(void) { malloc_trim(0); }

void cmusterbench_line_buffer_output(void) { setvbuf(stdout, NULL, _IOLBF, 0); }

bool cmusterbench_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) == 0; }

int64_t cmusterbench_fetch(int port, const char *path, uint8_t *target, size_t capacity) {
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0) return -1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char request[256];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
    size_t received = 0;
    ssize_t count = -1;
    if (connect(connection, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(connection, request, (size_t)length, MSG_NOSIGNAL) == length) {
        while ((count = recv(connection, target + received, capacity - received, 0)) > 0) received += (size_t)count;
    }
    close(connection);
    return count < 0 ? -1 : (int64_t)received;
}
