// SPDX-License-Identifier: Apache-2.0

/// How a service that had started has ended without being stopped.
public enum ServiceEnd: Sendable {
    /// It has nothing more to do.
    case finished
    /// It cannot go on.
    case failed(any Error)
}
