// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1

#include "CEdit.h"

#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cedit {
    EditLine *line;
    History *history;
    char *prompt;
    char *history_path;
    char *text;
    cedit_complete complete;
    void *context;
    bool was_interrupted;
};

static struct cedit *owner(EditLine *line) {
    struct cedit *edit = NULL;
    el_get(line, EL_CLIENTDATA, &edit);
    return edit;
}

static char *prompt(EditLine *line) { return owner(line)->prompt; }

static unsigned char complete(EditLine *line, int character) {
    (void)character;
    struct cedit *edit = owner(line);
    const LineInfo *state = el_line(line);
    char *before = strndup(state->buffer, (size_t)(state->cursor - state->buffer));
    if (before == NULL) return CC_ERROR;
    bool has_written = false;
    char *text = edit->complete(edit->context, before, &has_written);
    free(before);
    int inserted = text != NULL && *text != 0 ? el_insertstr(line, text) : -1;
    free(text);
    if (has_written) return CC_REDISPLAY;
    return inserted == 0 ? CC_REFRESH : CC_ERROR;
}

// The terminal sends no signal while a line is edited: the line ends, as in a shell.
static unsigned char interrupt(EditLine *line, int character) {
    (void)character;
    owner(line)->was_interrupted = true;
    return CC_NEWLINE;
}

static unsigned char suspend(EditLine *line, int character) {
    (void)line, (void)character;
    kill(0, SIGTSTP);
    return CC_REDISPLAY;
}

struct cedit *cedit_open(
    const char *program, const char *prompt_text, const char *history_path, cedit_complete complete_line, void *context) {
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) return NULL;
    setlocale(LC_CTYPE, "");
    // Names of groups may have any letters.
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    struct cedit *edit = calloc(1, sizeof *edit);
    if (edit == NULL) return NULL;
    edit->complete = complete_line;
    edit->context = context;
    edit->prompt = strdup(prompt_text);
    edit->history_path = history_path != NULL ? strdup(history_path) : NULL;
    edit->history = history_init();
    edit->line = el_init(program, stdin, stdout, stderr);
    if (edit->prompt == NULL || edit->history == NULL || edit->line == NULL) {
        cedit_close(edit);
        return NULL;
    }
    HistEvent event;
    el_set(edit->line, EL_CLIENTDATA, edit);
    el_set(edit->line, EL_PROMPT, prompt);
    el_set(edit->line, EL_EDITOR, "emacs");
    el_set(edit->line, EL_SIGNAL, 1);
    el_set(edit->line, EL_SETTY, "-d", "-isig", NULL);
    el_set(edit->line, EL_ADDFN, "muster-complete", "complete", complete);
    el_set(edit->line, EL_BIND, "^I", "muster-complete", NULL);
    el_set(edit->line, EL_ADDFN, "muster-interrupt", "interrupt", interrupt);
    el_set(edit->line, EL_BIND, "^C", "muster-interrupt", NULL);
    el_set(edit->line, EL_ADDFN, "muster-suspend", "suspend", suspend);
    el_set(edit->line, EL_BIND, "^Z", "muster-suspend", NULL);
    el_set(edit->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(edit->line, EL_BIND, "^W", "ed-delete-prev-word", NULL);
    // ~/.editrc, where people bind other keys.
    el_source(edit->line, NULL);
    history(edit->history, &event, H_SETSIZE, 1000);
    history(edit->history, &event, H_SETUNIQUE, 1);
    if (edit->history_path != NULL) history(edit->history, &event, H_LOAD, edit->history_path);
    el_set(edit->line, EL_HIST, history, edit->history);
    return edit;
}

void cedit_close(struct cedit *edit) {
    HistEvent event;
    if (edit->line != NULL) {
        if (edit->history_path != NULL) history(edit->history, &event, H_SAVE, edit->history_path);
        el_end(edit->line);
    }
    if (edit->history != NULL) history_end(edit->history);
    free(edit->prompt);
    free(edit->history_path);
    free(edit->text);
    free(edit);
}

enum cedit_result cedit_read(struct cedit *edit, const char **line) {
    int count = 0;
    edit->was_interrupted = false;
    const char *text = el_gets(edit->line, &count);
    if (edit->was_interrupted) return CEDIT_INTERRUPTED;
    if (text == NULL || count <= 0) return CEDIT_END;
    free(edit->text);
    edit->text = strndup(text, strcspn(text, "\n"));
    if (edit->text == NULL) return CEDIT_END;
    HistEvent event;
    if (edit->text[strspn(edit->text, " \t")] != 0) history(edit->history, &event, H_ENTER, edit->text);
    *line = edit->text;
    return CEDIT_LINE;
}
