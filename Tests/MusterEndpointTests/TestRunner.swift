// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import MusterPlatform

/// Runs checks' jobs on a thread of its own, so that tests may block theirs. The thread ends when it is idle.
final class TestRunner: Sendable {
    private let loop: EventLoop
    private let names = Box<[String]>([])

    init() throws {
        loop = try EventLoop(name: "test-runner") { $0.startThread(name: "test-runner", keepAlive: .seconds(1)) }
    }

    /// The names of the jobs that were started.
    var started: [String] { names.value }

    var run: HealthRegistry.Runner {
        { [self] name, job in
            names.change { $0.append(name) }
            Task(executorPreference: loop) { await job() }
        }
    }
}
