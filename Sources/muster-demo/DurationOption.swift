// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Muster

/// A duration on the command line.
struct DurationOption: ExpressibleByArgument, ExpressibleByStringLiteral {
    let text: String
    let duration: Duration

    init?(argument: String) {
        guard let duration = Duration(parsing: argument) else { return nil }
        text = argument
        self.duration = duration
    }

    init(stringLiteral value: String) {
        text = value
        duration = Duration(parsing: value) ?? .zero
    }

    var defaultValueDescription: String { text }
}
