// SPDX-License-Identifier: Apache-2.0

public import ArgumentParser
import Glibc
public import Logging
public import Muster
import MusterGlobalPoolBackend

/// The name of a backend on the command line or in the environment.
struct BackendOption: ExpressibleByArgument {
    let type: BackendType

    init?(argument: String) {
        let types: [BackendType] = [.cooperative, .threading, .globalPool]
        guard let type = types.first(where: { $0.rawValue == argument }) else { return nil }
        self.type = type
    }

    /// The backend that `MUSTER_BACKEND` names; the default one if it is not set.
    ///
    /// - Throws: `UnknownBackendName`.
    static func ofEnvironment() throws -> BackendType {
        guard let name = getenv("MUSTER_BACKEND").map({ String(cString: $0) }), !name.isEmpty else { return .default }
        guard let choice = BackendOption(argument: name) else { throw UnknownBackendName(name: name) }
        return choice.type
    }
}

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

/// A size on the command line: a number of bytes, or of KiB, MiB or GiB.
struct SizeOption: ExpressibleByArgument, ExpressibleByStringLiteral {
    let text: String
    let bytes: Int

    init?(argument: String) {
        let units = ["": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30]
        let digits = argument.prefix { ("0"..."9").contains($0) }
        guard let number = Int(digits), let unit = units[String(argument.dropFirst(digits.count))] else { return nil }
        let (bytes, isTooLarge) = number.multipliedReportingOverflow(by: unit)
        if isTooLarge { return nil }
        text = argument
        self.bytes = bytes
    }

    init(stringLiteral value: String) {
        self = SizeOption(argument: value) ?? SizeOption(text: value, bytes: 0)
    }

    private init(text: String, bytes: Int) {
        self.text = text
        self.bytes = bytes
    }

    var defaultValueDescription: String { text }
}

extension Logger.Level: @retroactive ExpressibleByArgument {}

extension RestartMethod: ExpressibleByArgument {}

/// `MUSTER_BACKEND` names no backend. The demo does not start then: on the default backend it would look as if it ran
/// on the one that was meant.
struct UnknownBackendName: Error, CustomStringConvertible {
    let name: String

    var description: String {
        "MUSTER_BACKEND is '\(name)': set it to 'cooperative', 'threading' or 'global-pool', or unset it"
    }
}
