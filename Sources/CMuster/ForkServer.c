// SPDX-License-Identifier: Apache-2.0
//
// Both sides of the fork server: a process of the program that has not begun its own code yet, and from which workers are
// forked, so that they need not load and relocate the program again.
#define _GNU_SOURCE 1

#include "ForkServer.h"

#include "CMuster.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
// They keep threads and maps of their own, which do not outlive a bare clone(2).
#define MUSTER_SANITIZED 1
#endif
#endif

// SCM_MAX_FD of the kernel.
enum { most_descriptors = 253, server_socket = 3 };

struct request {
    uint32_t title_length, marker_length;
    // The title and the marker follow.
};

struct reply {
    int32_t error, pid;
};

union control {
    char bytes[CMSG_SPACE(sizeof(int) * most_descriptors)];
    struct cmsghdr alignment;
};

bool cmuster_fork_server_supported(void) {
#ifdef MUSTER_SANITIZED
    return false;
#else
    return true;
#endif
}

// MARK: The server

static int send_reply(struct reply reply) {
    while (send(server_socket, &reply, sizeof reply, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR) return errno;
    }
    return 0;
}

// Receives a request with its text, which is allocated anew, or returns NULL when the supervisor is gone.
static struct request *receive(int *descriptors, int *count) {
    ssize_t length;
    // Its size first, which the settings in the marker make unknown.
    while ((length = recv(server_socket, NULL, 0, MSG_PEEK | MSG_TRUNC)) < 0 && errno == EINTR) {}
    if (length < (ssize_t)sizeof(struct request)) return NULL;
    struct request *request = malloc((size_t)length);
    if (request == NULL) return NULL;
    union control control;
    struct iovec vector = {.iov_base = request, .iov_len = (size_t)length};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t received;
    while ((received = recvmsg(server_socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {}
    *count = 0;
    for (struct cmsghdr *part = received < 0 ? NULL : CMSG_FIRSTHDR(&message); part != NULL;
         part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        *count = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(descriptors, CMSG_DATA(part), sizeof(int) * (size_t)*count);
    }
    bool is_whole = received == length && (message.msg_flags & MSG_CTRUNC) == 0 &&
        (uint64_t)request->title_length + request->marker_length == (uint64_t)length - sizeof *request;
    if (!is_whole) {
        for (int index = 0; index < *count; index++) close(descriptors[index]);
        free(request);
        return NULL;
    }
    return request;
}

// A thread that has ended, and has been joined, may be counted for a moment more, and nothing tells when that is over.
static bool has_one_thread(void) {
    for (int attempt = 0; attempt < 100; attempt++) {
        struct stat tasks;
        if (stat("/proc/self/task", &tasks) != 0) return false;
        // The folder has two links, and one more for each thread.
        if (tasks.st_nlink == 3) return true;
        usleep(500);
    }
    return false;
}

// The kernel's word on where the C library keeps the thread's number: a child's has to be written there.
static int *thread_number;
static void *robust_list;
static size_t robust_length;

// A child of the server's parent, which waits for it and whose death signal it follows. Not clone3(2), which seccomp
// profiles of containers refuse.
static long fork_sibling(void) {
    unsigned long flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
#if defined(__x86_64__)
    return syscall(SYS_clone, flags, 0, 0, thread_number, 0);
#else
    return syscall(SYS_clone, flags, 0, 0, 0, thread_number);
#endif
}

// Gives a worker its descriptors from 3 on, where the server has its socket as often, and no others.
static void place_descriptors(const int *descriptors, int count) {
    int staged[most_descriptors];
    for (int index = 0; index < count; index++) {
        // Above all the numbers that they are going to get.
        staged[index] = fcntl(descriptors[index], F_DUPFD_CLOEXEC, server_socket + count);
        if (staged[index] < 0) _exit(127);
        close(descriptors[index]);
    }
    for (int index = 0; index < count; index++) {
        if (dup2(staged[index], 3 + index) < 0) _exit(127);
        close(staged[index]);
    }
}

// The server's variable whose value is the room for a worker's marker, and what it is called then. Whatever moves the
// environment, as setenv(3) does, would keep Swift's runtime from finding the arguments before it.
static const char room_variable[] = CMUSTER_FORK_ROOM "=";
static const char marker_variable[] = "MUSTER_WORKER=";
_Static_assert(sizeof room_variable == sizeof marker_variable, "one is written over the other");

static char *marker_room(void) {
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, room_variable, sizeof room_variable - 1) == 0) return *entry;
    }
    return NULL;
}

// Libraries that are initialised before the program keep the number of its thread in thread-local memory, as libdispatch does,
// and own their locks by it: with the server's number, unlocking one that somebody waits for would fail. Their places are
// those where the first thread has its number and the rehearsal's thread had its own: a word that merely equals the number,
// as the upper half of a pointer may, is none.
enum { most_number_places = 64 };
static struct {
    size_t module, word;
} number_places[most_number_places];
static int number_place_count;
static int *kept_numbers[most_number_places];
static int kept_number_count;

// On the rehearsal's thread, with its number.
static int find_numbers(struct dl_phdr_info *module, size_t size, void *own_number) {
    (void)size;
    for (int index = 0; module->dlpi_tls_data != NULL && index < module->dlpi_phnum; index++) {
        if (module->dlpi_phdr[index].p_type != PT_TLS) continue;
        const int *words = module->dlpi_tls_data;
        for (size_t word = 0; word < module->dlpi_phdr[index].p_memsz / sizeof *words; word++) {
            if (words[word] != *(int *)own_number || number_place_count == most_number_places) continue;
            number_places[number_place_count].module = module->dlpi_tls_modid;
            number_places[number_place_count].word = word;
            number_place_count++;
        }
    }
    return 0;
}

// On the first thread, with its number.
static int keep_numbers(struct dl_phdr_info *module, size_t size, void *own_number) {
    (void)size;
    for (int index = 0; module->dlpi_tls_data != NULL && index < number_place_count; index++) {
        if (number_places[index].module != module->dlpi_tls_modid) continue;
        int *word = (int *)module->dlpi_tls_data + number_places[index].word;
        if (*word == *(int *)own_number) kept_numbers[kept_number_count++] = word;
    }
    return 0;
}

// libdispatch's name for what the C library calls in a child of fork(3): the main queue is bound to the thread by its number.
extern void dispatch_atfork_child(void);

static bool has_run_constructors;

static void become_worker(
    const struct request *request, const int *descriptors, int count, char *title, unsigned long room, char *marker) {
    setpgid(0, 0);
    if (robust_list != NULL) syscall(SYS_set_robust_list, robust_list, robust_length);
    for (int index = 0; index < kept_number_count; index++) *kept_numbers[index] = *thread_number;
    dispatch_atfork_child();
    place_descriptors(descriptors, count);
    const char *text = (const char *)(request + 1);
    unsigned long length = request->title_length < room ? request->title_length : room;
    memcpy(title, text, length);
    memset(title + length, ' ', room - length);
    char *value = marker + sizeof marker_variable - 1;
    unsigned long rest = strlen(value) - request->marker_length;
    memcpy(marker, marker_variable, sizeof marker_variable - 1);
    memcpy(value, text + request->title_length, request->marker_length);
    memset(value + request->marker_length, 0, rest);
    unsetenv(CMUSTER_FORK_SERVER);
    const char *binding = getenv(CMUSTER_BIND_NOW);
    if (binding != NULL && strcmp(binding, CMUSTER_BIND_NOW_VALUE) == 0) unsetenv(CMUSTER_BIND_NOW);
}

// Whether a supervisor has started this process as its server: a variable alone may have been inherited.
static bool is_server(void) {
    const char *value = getenv(CMUSTER_FORK_SERVER);
    struct stat socket;
    int type = 0;
    socklen_t length = sizeof type;
    return value != NULL && fstat(server_socket, &socket) == 0 &&
        getsockopt(server_socket, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET &&
        strtoull(value, NULL, 10) == (unsigned long long)socket.st_ino;
}

// Where Muster is linked, runs what a worker runs, on the calling thread.
extern void muster_rehearse(void) __attribute__((weak));

// Has libdispatch look up the thread's number.
extern void dispatch_once_f(intptr_t *predicate, void *context, void (*function)(void *));

static void do_nothing(void *unused) {
    (void)unused;
}

static void *rehearse(void *unused) {
    muster_rehearse();
    static intptr_t predicate;
    dispatch_once_f(&predicate, NULL, do_nothing);
    int number = (int)syscall(SYS_gettid);
    dl_iterate_phdr(find_numbers, &number);
    return unused;
}

// Workers then find code in memory and the types of Swift's runtime made. On a thread of its own, which is gone before
// anything is forked: the runtime and its libraries keep a thread's number in its thread-local memory.
static void rehearse_on_thread(void) {
    pthread_t thread;
    if (muster_rehearse != NULL && pthread_create(&thread, NULL, rehearse, NULL) == 0) pthread_join(thread, NULL);
}

// Returns in a worker.
static void serve(char *title, unsigned long room) {
    // The supervisor's are short.
    cmuster_ask_for_slices(0);
    // Also if it is suspended; nobody is left to continue it.
    prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, (unsigned long)"muster-fork", 0, 0, 0);
    if (has_run_constructors) rehearse_on_thread();
    syscall(SYS_get_robust_list, 0, &robust_list, &robust_length);
    char *marker = marker_room();
    int number = getpid();
    dl_iterate_phdr(keep_numbers, &number);
    bool knows_thread = prctl(PR_GET_TID_ADDRESS, (unsigned long)&thread_number, 0, 0, 0) == 0;
    while (true) {
        int descriptors[most_descriptors];
        int count = 0;
        struct request *request = receive(descriptors, &count);
        if (request == NULL) _exit(0);
        long pid = -1;
        int error;
        if (marker == NULL || strlen(marker) - (sizeof room_variable - 1) < request->marker_length) {
            error = E2BIG;
        } else if (!knows_thread) {
            error = ENOSYS;
        } else if (!has_run_constructors) {
            error = ENOTSUP;
        } else if (!has_one_thread()) {
            error = EBUSY;
        } else {
            pid = fork_sibling();
            error = errno;
        }
        if (pid == 0) {
            become_worker(request, descriptors, count, title, room, marker);
            free(request);
            return;
        }
        for (int index = 0; index < count; index++) close(descriptors[index]);
        free(request);
        if (send_reply((struct reply){.error = pid < 0 ? error : 0, .pid = (int32_t)pid}) != 0) _exit(0);
    }
}

typedef void (*constructor)(int, char **, char **);

// The linker's names for the constructors of an executable. In a library they are null: it does not see the last one.
extern constructor __init_array_start[] __attribute__((weak, visibility("hidden")));
extern constructor __init_array_end[] __attribute__((weak, visibility("hidden")));

static constructor last_constructor;
static char *server_title;
static unsigned long server_room;
static void (*begin_worker)(void);

static void serve_after_last(int count, char **arguments, char **environment) {
    last_constructor(count, arguments, environment);
    has_run_constructors = true;
    serve(server_title, server_room);
    begin_worker();
}

// Whether the dynamic linker has made an address read-only once it had written there.
static int is_sealed(struct dl_phdr_info *module, size_t size, void *address) {
    (void)size;
    for (int index = 0; index < module->dlpi_phnum; index++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[index];
        if (part->p_type == PT_GNU_RELRO && (uintptr_t)address - (module->dlpi_addr + part->p_vaddr) < part->p_memsz) {
            return 1;
        }
    }
    return 0;
}

// Has the last one serve when it has done its own work.
static bool follow_last_constructor(void) {
    // This is one of them, and the first.
    if (__init_array_end - __init_array_start < 2) return false;
    constructor *last = __init_array_end - 1;
    uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)last & ~(page_size - 1));
    bool was_sealed = dl_iterate_phdr(is_sealed, last) != 0;
    if (was_sealed && mprotect(page, page_size, PROT_READ | PROT_WRITE) != 0) return false;
    last_constructor = *last;
    *last = serve_after_last;
    if (was_sealed) mprotect(page, page_size, PROT_READ);
    return true;
}

void cmuster_fork_server_begin(char *title, unsigned long room, void (*begin)(void)) {
    if (!is_server()) return;
    server_title = title;
    server_room = room;
    begin_worker = begin;
    if (!follow_last_constructor()) serve(title, room);
}

// MARK: The supervisor

int cmuster_fork_request(
    int socket, const char *title, const char *marker, const int *descriptors, int count) {
    if (count > most_descriptors) return E2BIG;
    struct request request = {
        .title_length = (uint32_t)strlen(title), .marker_length = (uint32_t)strlen(marker)};
    struct iovec parts[] = {
        {.iov_base = &request, .iov_len = sizeof request},
        {.iov_base = (void *)title, .iov_len = request.title_length},
        {.iov_base = (void *)marker, .iov_len = request.marker_length},
    };
    union control control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(part), descriptors, sizeof(int) * (size_t)count);
    }
    while (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno != EINTR) return errno;
    }
    return 0;
}

int cmuster_fork_reply(int socket, int timeout_ms, int *refusal, int *pid) {
    *refusal = 0;
    int64_t end = cmuster_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    while (true) {
        int64_t left = end - cmuster_monotonic_ns();
        struct pollfd answer = {.fd = socket, .events = POLLIN};
        int ready = poll(&answer, 1, left > 0 ? (int)((left + 999999) / 1000000) : 0);
        if (ready == 0) return ETIMEDOUT;
        if (ready > 0) break;
        if (errno != EINTR) return errno;
    }
    struct reply reply;
    ssize_t length;
    while ((length = recv(socket, &reply, sizeof reply, MSG_DONTWAIT)) < 0 && errno == EINTR) {}
    if (length != sizeof reply) return length < 0 ? errno : EPIPE;
    *refusal = reply.error;
    *pid = reply.pid;
    // The child does it, too: whoever is first, its group can be signalled from here on.
    if (reply.error == 0) setpgid(reply.pid, reply.pid);
    return 0;
}
