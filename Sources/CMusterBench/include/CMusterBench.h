// SPDX-License-Identifier: Apache-2.0
//
// The references that muster-bench measures Muster against: the least that the machine needs for the same work,
// in C. Each does its work on the calling thread unless said otherwise.
#ifndef CMUSTERBENCH_H
#define CMUSTERBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// CLOCK_MONOTONIC, and the processor time of the whole process, in nanoseconds.
int64_t cmusterbench_now(void);
int64_t cmusterbench_process_time(void);

// The processor time of another process in nanoseconds, or -1 when there is none.
int64_t cmusterbench_processor_time(int pid);

// A descriptor that is readable when a process has ended; -1 where there is none.
int cmusterbench_process_descriptor(int pid);

// Memory mapped from a file in memory and shared, as metrics live in; NULL when there is none.
void *cmusterbench_map_shared(size_t size);
void cmusterbench_unmap(void *memory, size_t size);

// Adds 1 to a word as often as told, one relaxed atomic add each.
void cmusterbench_atomic_adds(uint64_t *word, size_t count);

// Makes the calling thread's timers as exact as told. Returns the slack in force, in nanoseconds.
int64_t cmusterbench_set_timer_slack(int64_t nanoseconds);

// Wakes `count` times on a grid, by clock_nanosleep(2) until an absolute instant, and stores the instant of each
// waking. Grid point n is at `origin` + (n + 1) * `interval`.
void cmusterbench_periodic(int64_t origin, int64_t interval, size_t count, int64_t *wakings);

// Serves `count` timers of one interval from a binary heap until an instant, sleeping in between, and calls a
// function for each that is due, which stores the instant. `first` has the instants when each is due first. Returns
// how many it has called, or -1 when there is no memory.
int64_t cmusterbench_timer_heap(const int64_t *first, size_t count, int64_t interval, int64_t end);

// A line of an exposition: its text up to the value, and the value.
struct cmusterbench_line {
    const uint8_t *text;
    size_t length;
    uint64_t value;
    bool has_value;
};

// Copies the lines' texts and writes the values as decimal numbers, each with a line's end. Returns the bytes written.
size_t cmusterbench_render(const struct cmusterbench_line *lines, size_t count, uint8_t *target);

// Lets contexts of ucontext(3) take turns from a queue, each `rounds` times. Returns the nanoseconds that this took,
// or -1 when there is no memory.
int64_t cmusterbench_context_switches(size_t contexts, size_t rounds);

// Calls a function through a queue of functions, which queues itself again, `rounds` times for each of `jobs`.
// Returns the nanoseconds that this took, or -1 when there is no memory.
int64_t cmusterbench_queued_calls(size_t jobs, size_t rounds);

// Starts and joins `count` threads that do nothing, one by one. Returns the nanoseconds that this took, or -1 when
// a thread could not be started.
int64_t cmusterbench_threads_in_turn(size_t count);

// Starts `count` threads that all wait, calls `all_wait` when they do, and ends them. Returns the nanoseconds from
// the first start to the last end, without those of the call, or -1 when not all could be started.
int64_t cmusterbench_threads_at_once(size_t count, size_t stack_size, void (*all_wait)(void *), void *context);

// Gives back to the system what the allocator keeps, so that what is resident afterwards is in use.
void cmusterbench_trim_memory(void);

// Makes standard output appear line by line.
void cmusterbench_line_buffer_output(void);

// Fetches a document from 127.0.0.1 over HTTP/1.0 into `target`, headers included. Returns its bytes, or -1.
int64_t cmusterbench_fetch(int port, const char *path, uint8_t *target, size_t capacity);

// A pipe whose ends are closed in programs that are started: the end to read, then the one to write.
bool cmusterbench_pipe(int ends[2]);

#endif
