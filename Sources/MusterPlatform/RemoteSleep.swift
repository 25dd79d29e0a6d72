// SPDX-License-Identifier: Apache-2.0

/// What a task that sleeps on another thread's loop and its cancellation have to tell each other.
///
/// Sound as `@unchecked Sendable`: only closures submitted to the one loop touch it, on that loop's thread.
final class RemoteSleep<Token>: @unchecked Sendable {
    var token: Token?
    var isCancelled = false
}
