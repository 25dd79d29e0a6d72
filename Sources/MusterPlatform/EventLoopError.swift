// SPDX-License-Identifier: Apache-2.0

/// Why an event loop refused.
public enum EventLoopError: Error, Hashable, Sendable, CustomStringConvertible {
    /// `run` was called while another thread runs the loop.
    case alreadyRunning(loop: String)
    /// The kernel refused to watch a descriptor.
    case cannotWatch(descriptor: Int32, SystemError)

    /// What was wrong.
    public var description: String {
        switch self {
        case .alreadyRunning(let loop):
            "the event loop '\(loop)' is already run by another thread"
        case .cannotWatch(let descriptor, let error):
            "file descriptor \(descriptor) cannot be awaited: \(error)"
        }
    }
}
