// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Muster

/// A duration on the command line, written as in settings.
struct DurationArgument: ExpressibleByArgument, ExpressibleByStringLiteral, CustomStringConvertible {
    let duration: Duration
    let text: String

    init?(argument: String) {
        guard let duration = Duration(parsing: argument) else { return nil }
        self.duration = duration
        text = argument
    }

    init(stringLiteral text: String) {
        duration = Duration(parsing: text) ?? .zero
        self.text = text
    }

    var description: String { text }
    var defaultValueDescription: String { text }
}
