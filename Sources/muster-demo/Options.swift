// SPDX-License-Identifier: Apache-2.0

public import ArgumentParser
public import Logging
public import Muster

/// The name of a backend on the command line or in the environment.
struct BackendOption: ExpressibleByArgument {
    let type: BackendType

    init?(argument: String) {
        let types: [BackendType] = [.cooperative, .threading]
        guard let type = types.first(where: { $0.rawValue == argument }) else { return nil }
        self.type = type
    }
}

/// A parameter of a request is missing or not what it should be.
struct BadParameter: Error, CustomStringConvertible {
    let name: String
    let wanted: String

    var description: String { "\(name) must be \(wanted)" }
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

/// Where the store's HTTP server takes its connections from.
enum ListenTarget: Sendable {
    /// A socket of its own at an address.
    case address(ListenAddress)
    /// A listening socket that was opened by someone else and may be shared with other processes. It stays open.
    case descriptor(Int32)
}

extension Logger.Level: @retroactive ExpressibleByArgument {}

extension RestartMethod: ExpressibleByArgument {}

/// `MUSTER_BACKEND` names no backend.
struct UnknownBackendName: Error, CustomStringConvertible {
    let name: String

    var description: String {
        "MUSTER_BACKEND is '\(name)': set it to 'cooperative' or 'threading', or unset it"
    }
}
