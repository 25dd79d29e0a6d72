// SPDX-License-Identifier: Apache-2.0

// Programs, connections and folders, which the kit has for its own harness: the tests use them as if they were here.
@_exported public import MusterTestKit
