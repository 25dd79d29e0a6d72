// SPDX-License-Identifier: Apache-2.0
//
// Lines from a terminal, edited with libedit, whose functions are variadic.
#ifndef CEDIT_H
#define CEDIT_H

#include <stdbool.h>

struct cedit;

// Called at a tab with what stands before the cursor. Returns what is to be inserted, to be freed here, or NULL; may write to
// the terminal and says then so.
typedef char *(*cedit_complete)(void *context, const char *line, bool *has_written);

// The terminal of standard input and output; NULL when there is none, or no memory. The history's file need not exist.
struct cedit *cedit_open(
    const char *program, const char *prompt, const char *history, cedit_complete complete, void *context);
// Saves the history.
void cedit_close(struct cedit *edit);

enum cedit_result { CEDIT_LINE, CEDIT_INTERRUPTED, CEDIT_END };
// Reads a line, which is without its newline and valid until the next call, and adds it to the history.
enum cedit_result cedit_read(struct cedit *edit, const char **line);

#endif
