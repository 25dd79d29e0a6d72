// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// What a supervisor is to run, and how its workers are started.
package struct SupervisorPlan: Sendable {
    /// A listening socket that every worker inherits.
    package struct Socket: Sendable {
        /// The name by which workers ask for it.
        package var name: String
        /// The listening descriptor.
        package var descriptor: Int32

        /// Names a socket.
        package init(name: String, descriptor: Int32) {
            self.name = name
            self.descriptor = descriptor
        }
    }

    /// The groups and their limits.
    package var configuration: SupervisorConfiguration
    /// The executable that is started again as a worker.
    package var executable = "/proc/self/exe"
    /// What the program is called.
    package var program: String
    /// The arguments after the program's name, byte for byte.
    package var arguments: [[UInt8]]
    /// The workers' environment, but for the marker.
    package var environment: ProcessEnvironment
    /// The sockets that workers inherit.
    package var sockets: [Socket] = []
    /// How long a worker may show no progress before it counts as hung.
    package var livenessLimit: Duration
    /// The size of a slot's metric arena in bytes.
    package var arenaCapacity: Int

    /// Makes a plan.
    package init(
        configuration: SupervisorConfiguration, program: String, arguments: [[UInt8]],
        environment: ProcessEnvironment, livenessLimit: Duration, arenaCapacity: Int
    ) {
        self.configuration = configuration
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.livenessLimit = livenessLimit
        self.arenaCapacity = arenaCapacity
    }
}
