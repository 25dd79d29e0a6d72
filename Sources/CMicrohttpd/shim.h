// SPDX-License-Identifier: Apache-2.0
#ifndef MUSTER_CMICROHTTPD_SHIM_H
#define MUSTER_CMICROHTTPD_SHIM_H

#include <microhttpd.h>

// `MHD_get_daemon_info` and `MHD_set_connection_option` are variadic; these say the calls that Swift needs.
static inline int cmicrohttpd_epoll_descriptor(struct MHD_Daemon *daemon) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return info ? info->epoll_fd : -1;
}

static inline unsigned int cmicrohttpd_connection_count(struct MHD_Daemon *daemon) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

#endif
