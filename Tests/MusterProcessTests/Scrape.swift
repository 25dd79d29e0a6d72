// SPDX-License-Identifier: Apache-2.0

/// The samples of one scrape.
struct Scrape: Sendable {
    struct Sample: Sendable {
        let name: String
        let labels: [String: String]
        let value: Double
    }

    let samples: [Sample]
    /// All lines, comments included.
    let lineCount: Int

    init(_ text: String) {
        let lines = text.split(separator: "\n")
        lineCount = lines.count
        samples = lines.filter { !$0.hasPrefix("#") }.compactMap(Self.sample)
    }

    private static func sample(_ line: Substring) -> Sample? {
        guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else {
            return nil
        }
        let series = line[..<space]
        guard let brace = series.firstIndex(of: "{") else {
            return Sample(name: String(series), labels: [:], value: value)
        }
        var labels: [String: String] = [:]
        for match in series[brace...].matches(of: /([a-z_]+)="([^"]*)"/) {
            labels[String(match.1)] = String(match.2)
        }
        return Sample(name: String(series[..<brace]), labels: labels, value: value)
    }

    /// The sum of the samples with at least these labels; nil when there is none.
    func sum(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        let found = samples.filter { sample in
            sample.name == name && labels.allSatisfy { sample.labels[$0] == $1 }
        }
        return found.isEmpty ? nil : found.reduce(0) { $0 + $1.value }
    }
}
