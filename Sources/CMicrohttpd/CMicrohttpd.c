// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1

// Not exported: the library must go on calling its own functions.
#pragma GCC visibility push(hidden)
#include <microhttpd.h>
#pragma GCC visibility pop

#include "CMicrohttpd.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define FUNCTIONS(F) \
    F(MHD_start_daemon_va) \
    F(MHD_stop_daemon) \
    F(MHD_run) \
    F(MHD_get_timeout) \
    F(MHD_get_daemon_info) \
    F(MHD_get_connection_info) \
    F(MHD_get_connection_values) \
    F(MHD_lookup_connection_value) \
    F(MHD_add_connection) \
    F(MHD_suspend_connection) \
    F(MHD_resume_connection) \
    F(MHD_queue_response) \
    F(MHD_create_response_from_buffer) \
    F(MHD_create_response_from_buffer_with_free_callback_cls) \
    F(MHD_create_response_from_callback) \
    F(MHD_create_response_from_fd_at_offset64) \
    F(MHD_add_response_header) \
    F(MHD_destroy_response)

#define DECLARE(name) __typeof__(name) *name;
static struct { FUNCTIONS(DECLARE) } library;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char problem[256];

static void load(void) {
    void *handle = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        snprintf(problem, sizeof problem, "%s", dlerror());
        return;
    }
#define RESOLVE(name) \
    library.name = (__typeof__(library.name))dlsym(handle, #name); \
    if (library.name == NULL) { \
        snprintf(problem, sizeof problem, "%s is missing from libmicrohttpd.so.12", #name); \
        return; \
    }
    FUNCTIONS(RESOLVE)
}

const char *cmicrohttpd_load(void) {
    pthread_once(&once, load);
    return problem[0] ? problem : NULL;
}

struct MHD_Daemon *MHD_start_daemon_va(
    unsigned int flags, uint16_t port, MHD_AcceptPolicyCallback policy, void *policy_context,
    MHD_AccessHandlerCallback handler, void *handler_context, va_list options) {
    return library.MHD_start_daemon_va(flags, port, policy, policy_context, handler, handler_context, options);
}

struct MHD_Daemon *MHD_start_daemon(
    unsigned int flags, uint16_t port, MHD_AcceptPolicyCallback policy, void *policy_context,
    MHD_AccessHandlerCallback handler, void *handler_context, ...) {
    va_list options;
    va_start(options, handler_context);
    struct MHD_Daemon *daemon =
        library.MHD_start_daemon_va(flags, port, policy, policy_context, handler, handler_context, options);
    va_end(options);
    return daemon;
}

void MHD_stop_daemon(struct MHD_Daemon *daemon) { library.MHD_stop_daemon(daemon); }

enum MHD_Result MHD_run(struct MHD_Daemon *daemon) { return library.MHD_run(daemon); }

enum MHD_Result MHD_get_timeout(struct MHD_Daemon *daemon, MHD_UNSIGNED_LONG_LONG *timeout) {
    return library.MHD_get_timeout(daemon, timeout);
}

// Both take further arguments for kinds of information that are not asked for here.
const union MHD_DaemonInfo *MHD_get_daemon_info(struct MHD_Daemon *daemon, enum MHD_DaemonInfoType type, ...) {
    return library.MHD_get_daemon_info(daemon, type);
}

const union MHD_ConnectionInfo *MHD_get_connection_info(
    struct MHD_Connection *connection, enum MHD_ConnectionInfoType type, ...) {
    return library.MHD_get_connection_info(connection, type);
}

int MHD_get_connection_values(
    struct MHD_Connection *connection, enum MHD_ValueKind kind, MHD_KeyValueIterator iterator, void *context) {
    return library.MHD_get_connection_values(connection, kind, iterator, context);
}

const char *MHD_lookup_connection_value(
    struct MHD_Connection *connection, enum MHD_ValueKind kind, const char *name) {
    return library.MHD_lookup_connection_value(connection, kind, name);
}

enum MHD_Result MHD_add_connection(
    struct MHD_Daemon *daemon, MHD_socket socket, const struct sockaddr *address, socklen_t length) {
    return library.MHD_add_connection(daemon, socket, address, length);
}

void MHD_suspend_connection(struct MHD_Connection *connection) { library.MHD_suspend_connection(connection); }
void MHD_resume_connection(struct MHD_Connection *connection) { library.MHD_resume_connection(connection); }

enum MHD_Result MHD_queue_response(
    struct MHD_Connection *connection, unsigned int status, struct MHD_Response *response) {
    return library.MHD_queue_response(connection, status, response);
}

struct MHD_Response *MHD_create_response_from_buffer(
    size_t size, void *buffer, enum MHD_ResponseMemoryMode mode) {
    return library.MHD_create_response_from_buffer(size, buffer, mode);
}

struct MHD_Response *MHD_create_response_from_buffer_with_free_callback_cls(
    size_t size, void *buffer, MHD_ContentReaderFreeCallback release, void *context) {
    return library.MHD_create_response_from_buffer_with_free_callback_cls(size, buffer, release, context);
}

struct MHD_Response *MHD_create_response_from_callback(
    uint64_t size, size_t block_size, MHD_ContentReaderCallback reader, void *context,
    MHD_ContentReaderFreeCallback release) {
    return library.MHD_create_response_from_callback(size, block_size, reader, context, release);
}

struct MHD_Response *MHD_create_response_from_fd_at_offset64(uint64_t size, int descriptor, uint64_t offset) {
    return library.MHD_create_response_from_fd_at_offset64(size, descriptor, offset);
}

enum MHD_Result MHD_add_response_header(struct MHD_Response *response, const char *header, const char *content) {
    return library.MHD_add_response_header(response, header, content);
}

void MHD_destroy_response(struct MHD_Response *response) { library.MHD_destroy_response(response); }

static enum MHD_Result take_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value) {
    struct cmicrohttpd_header **next = context;
    (*next)->name = name;
    (*next)->value = value ? value : "";
    (*next)++;
    return MHD_YES;
}

void cmicrohttpd_headers(struct MHD_Connection *connection, struct cmicrohttpd_header *headers) {
    MHD_get_connection_values(connection, MHD_HEADER_KIND, take_header, &headers);
}
