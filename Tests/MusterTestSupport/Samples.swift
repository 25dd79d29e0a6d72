// SPDX-License-Identifier: Apache-2.0

/// The samples of a text exposition.
package struct Samples {
    package struct Sample {
        package let name: Substring
        package let labels: [String: String]
        package let value: Double
    }

    package let all: [Sample]

    package init(_ text: String) {
        all = text.split(separator: "\n").compactMap { line in
            guard !line.hasPrefix("#"), let space = line.lastIndex(of: " "),
                let value = Double(line[line.index(after: space)...])
            else { return nil }
            // Bytes, and no regular expression: there are thousands of lines, which tests ask for again and again. No label
            // of the demo's has a quotation mark in its value.
            let parts = line[..<space].utf8.split(separator: UInt8(ascii: "\""), omittingEmptySubsequences: false)
            var labels: [String: String] = [:]
            for index in stride(from: 0, to: parts.count - 1, by: 2) {
                let name = parts[index].dropLast().split { $0 == UInt8(ascii: "{") || $0 == UInt8(ascii: ",") }.last
                labels[name.map { String(Substring($0)) } ?? ""] = String(Substring(parts[index + 1]))
            }
            return Sample(name: line[..<space].prefix { $0 != "{" }, labels: labels, value: value)
        }
    }

    /// The samples of a name that have the labels.
    package func matching(_ name: String, _ labels: [String: String] = [:]) -> [Sample] {
        all.filter { sample in sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value } }
    }

    /// Their sum; 0 where there are none.
    package func sum(_ name: String, _ labels: [String: String] = [:]) -> Int {
        Int(matching(name, labels).reduce(0) { $0 + $1.value })
    }
}
