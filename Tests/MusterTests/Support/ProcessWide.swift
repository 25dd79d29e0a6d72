// SPDX-License-Identifier: Apache-2.0

import Testing

/// What touches state that the process has once (the selected backend, signals): one test at a time.
@Suite(.serialized)
enum ProcessWide {}
