// SPDX-License-Identifier: Apache-2.0
//
// libmicrohttpd, loaded when it is first needed. It brings seventeen more libraries along (GnuTLS and what that needs),
// whose loading takes twice as long as the start of a small program: a worker process, which serves no endpoint, shall
// not pay for that. The functions that are used bear the library's names and lead to it.
#ifndef MUSTER_CMICROHTTPD_H
#define MUSTER_CMICROHTTPD_H

#include <microhttpd.h>
#include <stdarg.h>

// Loads the library, once. Returns NULL, or what keeps it from being loaded; before it has been loaded none of its
// functions may be called.
const char *cmicrohttpd_load(void);

// The library's variadic calls, said for Swift.

static inline int cmicrohttpd_epoll_descriptor(struct MHD_Daemon *daemon) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info ? info->epoll_fd : -1;
}

static inline unsigned int cmicrohttpd_connection_count(struct MHD_Daemon *daemon) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

// accept4(2), which the C library declares on request only: a non-blocking, close-on-exec connection, or -1 with errno
// set. Marking it afterwards would let a process that is spawned meanwhile inherit it.
int accept4(int socket, struct sockaddr *address, socklen_t *length, int flags);
static inline int cmicrohttpd_accept(int listening_socket, struct sockaddr *address, socklen_t *length) {
    return accept4(listening_socket, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

// The connection's socket, or -1.
static inline int cmicrohttpd_connection_descriptor(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

// Where the connection comes from, or NULL.
static inline const struct sockaddr *cmicrohttpd_client_address(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return info ? info->client_addr : NULL;
}

// What the connection callback has stored for the connection, or NULL.
static inline void *cmicrohttpd_socket_context(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

// The connection's GnuTLS session, or NULL for a connection without TLS.
static inline struct gnutls_session_int *cmicrohttpd_tls_session(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info ? (struct gnutls_session_int *)info->tls_session : NULL;
}

// Starts a daemon without a thread and without a listening socket: it is given connections by MHD_add_connection() and
// driven by MHD_run() whenever its epoll descriptor is ready. With a certificate and a key in PEM form its connections
// have TLS. NULL when it cannot be started.
static inline struct MHD_Daemon *cmicrohttpd_start(
    unsigned int connection_limit, size_t memory_limit,
    const char *certificate, const char *key, MHD_AccessHandlerCallback handler,
    MHD_RequestCompletedCallback completed, MHD_NotifyConnectionCallback connected,
    void *(*began)(void *context, const char *target, struct MHD_Connection *connection),
    void (*logged)(void *context, const char *format, va_list arguments), void *context) {
    // The end of the list, when there is no certificate.
    enum MHD_OPTION tls = certificate ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END;
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
            (certificate ? MHD_USE_TLS : 0),
        0, NULL, NULL, handler, context,
        MHD_OPTION_EXTERNAL_LOGGER, logged, context,
        MHD_OPTION_CONNECTION_LIMIT, connection_limit,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory_limit,
        // Its own error for a missing Host sends the headers twice; the caller looks after that.
        MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_URI_LOG_CALLBACK, began, context,
        MHD_OPTION_NOTIFY_COMPLETED, completed, context,
        MHD_OPTION_NOTIFY_CONNECTION, connected, context,
        tls, certificate,
        MHD_OPTION_HTTPS_MEM_KEY, key,
        MHD_OPTION_END);
}

// The number of the request's headers.
static inline int cmicrohttpd_header_count(struct MHD_Connection *connection) {
    return MHD_get_connection_values(connection, MHD_HEADER_KIND, NULL, NULL);
}

struct cmicrohttpd_header {
    const char *name;
    const char *value;
};

// Takes down the request's headers, all of them: there is room for cmicrohttpd_header_count().
void cmicrohttpd_headers(struct MHD_Connection *connection, struct cmicrohttpd_header *headers);

// How many fields follow the request's body.
static inline int cmicrohttpd_trailer_count(struct MHD_Connection *connection) {
    return MHD_get_connection_values(connection, MHD_FOOTER_KIND, NULL, NULL);
}

// What the library's macros say, which Swift does not see.
static const uint64_t cmicrohttpd_unknown_size = MHD_SIZE_UNKNOWN;
static const ssize_t cmicrohttpd_end_of_stream = MHD_CONTENT_READER_END_OF_STREAM;
static const ssize_t cmicrohttpd_end_with_error = MHD_CONTENT_READER_END_WITH_ERROR;

// The iterator's key and value kinds are the same for all kinds of values; query arguments are what Muster reads.
static inline void cmicrohttpd_each_argument(
    struct MHD_Connection *connection, MHD_KeyValueIterator iterator, void *context) {
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, iterator, context);
}

#endif
