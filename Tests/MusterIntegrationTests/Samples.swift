// SPDX-License-Identifier: Apache-2.0

/// The samples of a text exposition.
struct Samples {
    struct Sample {
        let name: Substring
        let labels: [String: String]
        let value: Double
    }

    let all: [Sample]

    init(_ text: String) {
        all = text.split(separator: "\n").compactMap { line in
            guard !line.hasPrefix("#"), let space = line.lastIndex(of: " "),
                let value = Double(line[line.index(after: space)...])
            else { return nil }
            let series = line[..<space]
            var labels: [String: String] = [:]
            // No label of the demo's has a quotation mark in its value.
            for match in series.matches(of: /(\w+)="([^"]*)"/) { labels[String(match.1)] = String(match.2) }
            return Sample(name: series.prefix { $0 != "{" }, labels: labels, value: value)
        }
    }

    /// The samples of a name that have the labels.
    func matching(_ name: String, _ labels: [String: String] = [:]) -> [Sample] {
        all.filter { sample in sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value } }
    }

    /// Their sum; 0 where there are none.
    func sum(_ name: String, _ labels: [String: String] = [:]) -> Int {
        Int(matching(name, labels).reduce(0) { $0 + $1.value })
    }
}
