// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Follows links between the repository's files.
struct LinkChecker {
    /// The anchors of the pages that links led to so far.
    private var anchors: [String: Set<String>] = [:]

    /// What is wrong with a link, if anything. Addresses of the web are left to the reader.
    ///
    /// - Parameters:
    ///   - target: Where it leads to, as it is written.
    ///   - page: The path of the file that it stands in.
    mutating func fault(of target: String, from page: String) throws -> String? {
        if target.prefixMatch(of: /[a-z]+:/) != nil { return nil }
        let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let source = Repository.root.appendingPathComponent(page)
        let file =
            parts[0].isEmpty
            ? source.path
            : source.deletingLastPathComponent().appendingPathComponent(parts[0]).standardizedFileURL.path
        guard FileManager.default.fileExists(atPath: file) else { return "there is no such file" }
        guard parts.count > 1, file.hasSuffix(".md") else { return nil }
        return try anchors(of: file).contains(parts[1]) ? nil : "the page has no such heading"
    }

    private mutating func anchors(of file: String) throws -> Set<String> {
        if let known = anchors[file] { return known }
        let found = MarkdownPage(try String(contentsOfFile: file, encoding: .utf8)).anchors
        anchors[file] = found
        return found
    }
}
