// SPDX-License-Identifier: Apache-2.0

import MusterTestSupport
import Synchronization

/// Sends one command after the other, each over a connection of its own, until it is told to end.
final class Client: Sendable {
    private let task: Task<Int, any Error>

    init(of program: TestProgram) {
        let (isOver, path) = (Flag(), program.socketPath)
        flag = isOver
        task = Task {
            try await onThread("client") {
                var count = 0
                while !isOver.isSet {
                    let connection = try Connection(path: path)
                    try connection.send("who\n")
                    guard try !connection.receiveAll().isEmpty else {
                        throw Program.Ended(description: "no answer after \(count) good ones")
                    }
                    count += 1
                }
                return count
            }
        }
    }

    private let flag: Flag

    /// Ends it.
    ///
    /// - Returns: How many commands were answered.
    /// - Throws: When one of them was not.
    func end() async throws -> Int {
        flag.set()
        return try await task.value
    }

    private final class Flag: Sendable {
        private let value = Atomic<Bool>(false)

        var isSet: Bool { value.load(ordering: .relaxed) }

        func set() {
            value.store(true, ordering: .relaxed)
        }
    }
}
