// SPDX-License-Identifier: Apache-2.0

import Configuration
import Muster

extension MusterSettings {
    /// The settings of a process with these environment variables.
    init(environment: [String: String]) throws {
        try self.init(config: ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: environment)))
    }
}
