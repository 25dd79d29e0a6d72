// SPDX-License-Identifier: Apache-2.0

/// What was built.
public struct VersionStatus: Codable, Hashable, Sendable {
    /// Muster's version.
    public var muster: String?
    /// The version of Swift that it was compiled with.
    public var swift: String?

    /// Creates a description.
    ///
    /// - Parameters:
    ///   - muster: Muster's version.
    ///   - swift: The version of Swift that it was compiled with.
    public init(muster: String? = nil, swift: String? = nil) {
        self.muster = muster
        self.swift = swift
    }
}
