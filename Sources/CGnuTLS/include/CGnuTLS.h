// SPDX-License-Identifier: Apache-2.0
//
// What Muster needs of GnuTLS, the TLS library of libmicrohttpd: loaded, like that one, when it is first needed. The
// functions that are used bear the library's names and lead to it.
#ifndef MUSTER_CGNUTLS_H
#define MUSTER_CGNUTLS_H

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

// Loads the library, once. Returns NULL, or what keeps it from being loaded; before it has been loaded none of its
// functions may be called.
const char *cgnutls_load(void);

// Frees what the library has allocated for its caller.
void cgnutls_free(void *memory);

// Verifies the peer's certificate against the session's trust anchors as one made for clients. Returns 0 and the
// status, or a negative code.
static inline int cgnutls_verify_client(gnutls_session_t session, unsigned int *status) {
    gnutls_typed_vdata_st data = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    return gnutls_certificate_verify_peers(session, &data, 1, status);
}

#endif
