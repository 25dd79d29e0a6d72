// SPDX-License-Identifier: Apache-2.0
//
// What the parts of this module say to each other.
#ifndef MUSTER_FORK_SERVER_H
#define MUSTER_FORK_SERVER_H

// In a process that a supervisor has started as a fork server: serves once all constructors of the program have run, and
// comes back in each worker that it forks, with the worker's descriptors, title and marker, to call `begin` and go on to
// main. Returns at once in any other process. To be called before anything else has run.
void cmuster_fork_server_begin(char *title, unsigned long room, void (*begin)(void));

#endif
