// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Muster

/// The name of a backend on the command line or in the environment.
struct BackendOption: ExpressibleByArgument {
    let type: BackendType

    init?(argument: String) {
        let types: [BackendType] = [.cooperative, .threading]
        guard let type = types.first(where: { $0.rawValue == argument }) else { return nil }
        self.type = type
    }
}
