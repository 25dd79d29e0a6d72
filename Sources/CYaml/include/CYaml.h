// SPDX-License-Identifier: Apache-2.0
//
// libyaml's parser, linked from its archive: a worker process loads no further library for a file that only the
// process with the endpoint reads.
#ifndef MUSTER_CYAML_H
#define MUSTER_CYAML_H

#include <yaml.h>

#endif
