// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Muster

/// An address to listen at on the command line, as ``ListenAddress`` reads it.
struct ListenOption: ExpressibleByArgument, ExpressibleByStringLiteral {
    let address: ListenAddress

    init?(argument: String) {
        guard let address = try? ListenAddress(parsing: argument) else { return nil }
        self.address = address
    }

    init(stringLiteral value: String) {
        address = (try? ListenAddress(parsing: value)) ?? .tcp(host: value, port: 0)
    }

    var defaultValueDescription: String { "\(address)" }
}
