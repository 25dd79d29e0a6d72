// SPDX-License-Identifier: Apache-2.0
//
// libcrypt, linked from its archive like libyaml.
#ifndef MUSTER_CCRYPT_H
#define MUSTER_CCRYPT_H

#include <crypt.h>

// The room that crypt_rn() works in, which Swift cannot say as it is one large structure.
static inline int ccrypt_room(void) { return (int)sizeof(struct crypt_data); }

#endif
