// SPDX-License-Identifier: Apache-2.0

/// A backend that workers run.
public struct BackendStatus: Codable, Hashable, Sendable {
    /// The backend's name.
    public var name: String
    /// Who chose it: `explicit`, `hook` or `default`.
    public var source: String
    /// How many workers run it for this reason.
    public var workers: Int

    /// Creates a description.
    ///
    /// - Parameters:
    ///   - name: The backend's name.
    ///   - source: Who chose it.
    ///   - workers: How many workers run it.
    public init(name: String, source: String, workers: Int) {
        self.name = name
        self.source = source
        self.workers = workers
    }
}
