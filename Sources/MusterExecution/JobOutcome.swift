// SPDX-License-Identifier: Apache-2.0

/// How a job ended.
public enum JobOutcome: Sendable {
    /// The body returned.
    case finished
    /// The body threw, and not because it was cancelled.
    case failed(any Error)
    /// The job was cancelled, and its body ended with `CancellationError`.
    case cancelled

    /// The error of a failed job.
    public var error: (any Error)? {
        if case .failed(let error) = self { error } else { nil }
    }
}
