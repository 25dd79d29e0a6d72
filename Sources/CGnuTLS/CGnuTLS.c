// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE 1

// Not exported: the library must go on calling its own functions.
#pragma GCC visibility push(hidden)
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#pragma GCC visibility pop

#include "CGnuTLS.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define FUNCTIONS(F) \
    F(gnutls_strerror) \
    F(gnutls_certificate_allocate_credentials) \
    F(gnutls_certificate_free_credentials) \
    F(gnutls_certificate_set_x509_key_mem) \
    F(gnutls_certificate_set_x509_trust_mem) \
    F(gnutls_certificate_server_set_request) \
    F(gnutls_certificate_verify_peers) \
    F(gnutls_certificate_get_peers) \
    F(gnutls_credentials_set) \
    F(gnutls_priority_init) \
    F(gnutls_priority_deinit) \
    F(gnutls_priority_set) \
    F(gnutls_session_set_verify_function) \
    F(gnutls_db_set_ptr) \
    F(gnutls_db_get_ptr) \
    F(gnutls_hmac_fast) \
    F(gnutls_x509_crt_init) \
    F(gnutls_x509_crt_deinit) \
    F(gnutls_x509_crt_import) \
    F(gnutls_x509_crt_list_import2) \
    F(gnutls_x509_crt_get_activation_time) \
    F(gnutls_x509_crt_get_expiration_time) \
    F(gnutls_handshake_set_hook_function) \
    F(gnutls_record_get_direction) \
    F(gnutls_record_send) \
    F(gnutls_bye) \
    F(gnutls_x509_crt_get_subject_alt_name)

// As in CMicrohttpd: modules of this floor share nothing, so that each of them can be read, and left out, by itself.
#define DECLARE(name) __typeof__(name) *name;
static struct { FUNCTIONS(DECLARE) } library;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char problem[256];

static void load(void) {
    void *handle = dlopen("libgnutls.so.30", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        snprintf(problem, sizeof problem, "%s", dlerror());
        return;
    }
#define RESOLVE(name) \
    library.name = (__typeof__(library.name))dlsym(handle, #name); \
    if (library.name == NULL) { \
        snprintf(problem, sizeof problem, "%s is missing from libgnutls.so.30", #name); \
        return; \
    }
    FUNCTIONS(RESOLVE)
}

const char *cgnutls_load(void) {
    pthread_once(&once, load);
    return problem[0] ? problem : NULL;
}

const char *gnutls_strerror(int error) { return library.gnutls_strerror(error); }

int gnutls_certificate_allocate_credentials(gnutls_certificate_credentials_t *credentials) {
    return library.gnutls_certificate_allocate_credentials(credentials);
}

void gnutls_certificate_free_credentials(gnutls_certificate_credentials_t credentials) {
    library.gnutls_certificate_free_credentials(credentials);
}

int gnutls_certificate_set_x509_key_mem(
    gnutls_certificate_credentials_t credentials, const gnutls_datum_t *certificate, const gnutls_datum_t *key,
    gnutls_x509_crt_fmt_t format) {
    return library.gnutls_certificate_set_x509_key_mem(credentials, certificate, key, format);
}

int gnutls_certificate_set_x509_trust_mem(
    gnutls_certificate_credentials_t credentials, const gnutls_datum_t *authorities, gnutls_x509_crt_fmt_t format) {
    return library.gnutls_certificate_set_x509_trust_mem(credentials, authorities, format);
}

void gnutls_certificate_server_set_request(gnutls_session_t session, gnutls_certificate_request_t request) {
    library.gnutls_certificate_server_set_request(session, request);
}

int gnutls_certificate_verify_peers(
    gnutls_session_t session, gnutls_typed_vdata_st *data, unsigned int count, unsigned int *status) {
    return library.gnutls_certificate_verify_peers(session, data, count, status);
}

const gnutls_datum_t *gnutls_certificate_get_peers(gnutls_session_t session, unsigned int *count) {
    return library.gnutls_certificate_get_peers(session, count);
}

int gnutls_credentials_set(gnutls_session_t session, gnutls_credentials_type_t type, void *credentials) {
    return library.gnutls_credentials_set(session, type, credentials);
}

int gnutls_priority_init(gnutls_priority_t *priorities, const char *text, const char **error) {
    return library.gnutls_priority_init(priorities, text, error);
}

void gnutls_priority_deinit(gnutls_priority_t priorities) { library.gnutls_priority_deinit(priorities); }

int gnutls_priority_set(gnutls_session_t session, gnutls_priority_t priorities) {
    return library.gnutls_priority_set(session, priorities);
}

void gnutls_session_set_verify_function(gnutls_session_t session, gnutls_certificate_verify_function *function) {
    library.gnutls_session_set_verify_function(session, function);
}

void gnutls_db_set_ptr(gnutls_session_t session, void *pointer) { library.gnutls_db_set_ptr(session, pointer); }

void *gnutls_db_get_ptr(gnutls_session_t session) { return library.gnutls_db_get_ptr(session); }

int gnutls_hmac_fast(
    gnutls_mac_algorithm_t algorithm, const void *key, size_t key_length, const void *text, size_t length,
    void *digest) {
    return library.gnutls_hmac_fast(algorithm, key, key_length, text, length, digest);
}

int gnutls_x509_crt_init(gnutls_x509_crt_t *certificate) { return library.gnutls_x509_crt_init(certificate); }

void gnutls_x509_crt_deinit(gnutls_x509_crt_t certificate) { library.gnutls_x509_crt_deinit(certificate); }

int gnutls_x509_crt_import(
    gnutls_x509_crt_t certificate, const gnutls_datum_t *data, gnutls_x509_crt_fmt_t format) {
    return library.gnutls_x509_crt_import(certificate, data, format);
}

int gnutls_x509_crt_list_import2(
    gnutls_x509_crt_t **certificates, unsigned int *count, const gnutls_datum_t *data, gnutls_x509_crt_fmt_t format,
    unsigned int flags) {
    return library.gnutls_x509_crt_list_import2(certificates, count, data, format, flags);
}

// gnutls_free() is a variable of the library's, which is free(3) unless somebody has replaced it.
void cgnutls_free(void *memory) { free(memory); }

time_t gnutls_x509_crt_get_activation_time(gnutls_x509_crt_t certificate) {
    return library.gnutls_x509_crt_get_activation_time(certificate);
}

time_t gnutls_x509_crt_get_expiration_time(gnutls_x509_crt_t certificate) {
    return library.gnutls_x509_crt_get_expiration_time(certificate);
}

void gnutls_handshake_set_hook_function(
    gnutls_session_t session, unsigned int message, int when, gnutls_handshake_hook_func hook) {
    library.gnutls_handshake_set_hook_function(session, message, when, hook);
}

int gnutls_bye(gnutls_session_t session, gnutls_close_request_t how) { return library.gnutls_bye(session, how); }

ssize_t gnutls_record_send(gnutls_session_t session, const void *data, size_t size) {
    return library.gnutls_record_send(session, data, size);
}

int gnutls_record_get_direction(gnutls_session_t session) { return library.gnutls_record_get_direction(session); }

int gnutls_x509_crt_get_subject_alt_name(
    gnutls_x509_crt_t certificate, unsigned int sequence, void *name, size_t *length, unsigned int *critical) {
    return library.gnutls_x509_crt_get_subject_alt_name(certificate, sequence, name, length, critical);
}
