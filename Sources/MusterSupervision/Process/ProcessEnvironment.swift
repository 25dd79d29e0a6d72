// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The environment of a process to be started, byte for byte: what is inherited need not be UTF-8.
package struct ProcessEnvironment: Sendable {
    /// `NAME=VALUE`, without the final zero.
    package private(set) var entries: [[UInt8]]

    package init(_ variables: [String: String] = [:]) {
        entries = variables.sorted { $0.key < $1.key }.map { Array("\($0.key)=\($0.value)".utf8) }
    }

    /// A copy of this process' environment.
    package static var inherited: ProcessEnvironment {
        var environment = ProcessEnvironment()
        var next = environ
        while let entry = next.pointee {
            environment.entries.append(
                UnsafeBufferPointer(start: entry, count: strlen(entry)).map { UInt8(bitPattern: $0) })
            next += 1
        }
        return environment
    }

    /// The value of a variable; `nil` when it is not set, and set to `nil` to remove it.
    package subscript(name: String) -> String? {
        get {
            let prefix = Array("\(name)=".utf8)
            return entries.first { $0.starts(with: prefix) }
                .map { String(decoding: $0.dropFirst(prefix.count), as: UTF8.self) }
        }
        set {
            let prefix = Array("\(name)=".utf8)
            entries.removeAll { $0.starts(with: prefix) }
            if let newValue { entries.append(prefix + Array(newValue.utf8)) }
        }
    }
}
