// SPDX-License-Identifier: Apache-2.0

/// A request whose connection is suspended until something is known.
///
/// Sound as `@unchecked Sendable`: it is made, read and written on the endpoint's thread only; others merely carry
/// it back there.
class Suspension: @unchecked Sendable {
    let connection: OpaquePointer

    init(connection: OpaquePointer) {
        self.connection = connection
    }

    /// Says that nobody waits any more.
    func cancel() {}
}
