// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The checkout that the tests belong to.
enum Repository {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    static func page(_ path: String) throws -> MarkdownPage {
        MarkdownPage(try text(path))
    }

    /// The paths of all files below some folders that are there, but for what was built.
    static func files(in folders: [String], endingIn suffixes: [String]) -> [String] {
        var paths: [String] = []
        for folder in folders {
            let start = root.appendingPathComponent(folder).path
            guard let all = FileManager.default.enumerator(atPath: start) else { continue }
            for case let path as String in all where !path.hasPrefix(".") && !path.contains("/.") {
                if suffixes.contains(where: path.hasSuffix) { paths.append("\(folder)/\(path)") }
            }
        }
        return paths.sorted()
    }

    /// All pages for people.
    static var pages: [String] {
        ["README.md"] + files(in: ["docs", "dashboards", "deploy"], endingIn: [".md"])
    }
}
