// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd

/// The arguments of a request that mean something to the endpoint.
struct Query {
    /// More exclusions than this are refused.
    static let mostExclusions = 100

    /// Whether `verbose` is there, with or without a value.
    var isVerbose = false
    /// The values of `exclude`, each once.
    var excluded: [String] = []
    /// The values of `name[]`.
    var names: Set<String> = []
    /// Whether there are more exclusions than allowed.
    var isExcessive = false

    init() {}

    /// Reads a request's arguments.
    init(_ connection: OpaquePointer) {
        withUnsafeMutablePointer(to: &self) { pointer in
            cmicrohttpd_each_argument(
                connection,
                { context, _, key, value in
                    guard let context, let key else { return .YES }
                    let query = context.assumingMemoryBound(to: Query.self)
                    query.pointee.add(String(cString: key), value.map { String(cString: $0) })
                    return .YES
                }, pointer)
        }
    }

    /// Takes in one argument.
    mutating func add(_ name: String, _ value: String?) {
        switch name {
        case "verbose":
            isVerbose = true
        case "exclude":
            guard let value, !excluded.contains(value) else { return }
            if excluded.count < Self.mostExclusions { excluded.append(value) } else { isExcessive = true }
        case "name[]":
            if let value { names.insert(value) }
        default:
            break
        }
    }
}
