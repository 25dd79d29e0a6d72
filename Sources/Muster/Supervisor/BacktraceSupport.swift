// SPDX-License-Identifier: Apache-2.0

/// Whether and how crashing workers can write backtraces.
enum BacktraceSupport {
    static var environmentValue: String? { nil }
}
