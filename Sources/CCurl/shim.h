// SPDX-License-Identifier: Apache-2.0
#ifndef MUSTER_CCURL_SHIM_H
#define MUSTER_CCURL_SHIM_H

// The checks of types are macros around variadic functions, which Swift cannot call either way.
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

typedef size_t (*ccurl_receiver)(char *bytes, size_t size, size_t count, void *context);

static inline CURLcode ccurl_set_number(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode ccurl_set_text(CURL *handle, CURLoption option, const char *text) {
    return curl_easy_setopt(handle, option, text);
}

static inline CURLcode ccurl_set_receiver(CURL *handle, ccurl_receiver receiver, void *context) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, receiver);
    return code ? code : curl_easy_setopt(handle, CURLOPT_WRITEDATA, context);
}

// Sends name and password at once, without being asked first.
static inline CURLcode ccurl_use_basic_auth(CURL *handle) {
    return curl_easy_setopt(handle, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
}

// Headers of the request; the list has to live as long as the transfer.
static inline CURLcode ccurl_set_headers(CURL *handle, struct curl_slist *headers) {
    return curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
}

// A token in the place of name and password. The text is copied.
static inline CURLcode ccurl_use_token(CURL *handle, const char *token) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
    return code ? code : curl_easy_setopt(handle, CURLOPT_XOAUTH2_BEARER, token);
}

// Where curl writes what went wrong: CURL_ERROR_SIZE characters.
static inline CURLcode ccurl_set_error_text(CURL *handle, char *text) {
    return curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, text);
}

// A number about a transfer that has ended, or 0.
static inline long ccurl_number(CURL *handle, CURLINFO info) {
    long value = 0;
    return curl_easy_getinfo(handle, info, &value) == CURLE_OK ? value : 0;
}

// Takes the result of a transfer that has ended; false as long as none has.
static inline int ccurl_take_result(CURLM *multi, CURLcode *result) {
    int left = 0;
    CURLMsg *message;
    while ((message = curl_multi_info_read(multi, &left))) {
        if (message->msg == CURLMSG_DONE) {
            *result = message->data.result;
            return 1;
        }
    }
    return 0;
}

#endif
