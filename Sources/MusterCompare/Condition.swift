// SPDX-License-Identifier: Apache-2.0

/// A condition of `--fail-if`:
///
///     condition   = comparison { ("and" | "or") comparison }        "and" binds closer
///     comparison  = (NAME | "any") ( "worse" | "differs" | operator limit )
///     operator    = ">" | ">=" | "<" | "<="
///     limit       = NUMBER ( "x" | "%" | UNIT )
///
/// `1.2x` and `20%` stand for the candidate's ratio to the baseline, a unit (`ms`, `MiB`, `/s`, …) or none for the
/// candidate's own value.
package struct Condition: Hashable, Sendable {
    /// Why a text is not a condition.
    package struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        package let text: String
        /// How many characters stand before the fault.
        package let position: Int
        package let reason: String

        package var description: String {
            "\(reason), at character \(position + 1)\n  \(text)\n  \(String(repeating: " ", count: position))^"
        }
    }

    /// What a report says about a condition.
    package enum Outcome: String, Codable, Hashable, Sendable {
        case holds, fails, undecided
    }

    package enum Limit: Hashable, Sendable {
        /// Of the ratio to the baseline.
        case ratio(Double)
        /// Of the candidate's own value.
        case value(Double)
    }

    package enum Test: Hashable, Sendable {
        case worse
        case differs
        case above(Limit, orEqual: Bool)
        case below(Limit, orEqual: Bool)
    }

    package struct Comparison: Hashable, Sendable {
        /// `nil` for any quantity.
        package let quantity: String?
        package let test: Test
    }

    package let text: String
    /// One of these lists has to hold as a whole.
    package let alternatives: [[Comparison]]

    /// Reads a condition.
    ///
    /// - Parameter names: The quantities that there are.
    package init(parsing text: String, names: Set<String>) throws(Problem) {
        var reader = Reader(text: text, names: names)
        self.text = text
        alternatives = try reader.condition()
    }

    private struct Token {
        let text: String
        let position: Int
    }

    private struct Reader {
        private static let units: [String: (unit: [Quantity.Unit], factor: Double)] = [
            "ns": ([.seconds], 1e-9), "us": ([.seconds], 1e-6), "µs": ([.seconds], 1e-6), "ms": ([.seconds], 1e-3),
            "s": ([.seconds], 1), "B": ([.bytes], 1), "KiB": ([.bytes], 1024), "MiB": ([.bytes], 1_048_576),
            "GiB": ([.bytes], 1_073_741_824), "/s": ([.perSecond], 1), "": ([.number, .perSecond, .share], 1),
        ]

        private let text: String
        private let names: Set<String>
        private var tokens: [Token] = []
        private var next = 0

        init(text: String, names: Set<String>) {
            self.text = text
            self.names = names
            let characters = Array(text)
            var place = 0
            while place < characters.count {
                let start = place
                if characters[place].isWhitespace {
                    place += 1
                    continue
                }
                let isOperator = "<>=!".contains(characters[place])
                while place < characters.count, !characters[place].isWhitespace,
                    "<>=!".contains(characters[place]) == isOperator
                { place += 1 }
                tokens.append(Token(text: String(characters[start..<place]), position: start))
            }
        }

        mutating func condition() throws(Problem) -> [[Comparison]] {
            var result = [[try comparison()]]
            while next < tokens.count {
                let word = tokens[next]
                next += 1
                switch word.text {
                case "and": result[result.count - 1].append(try comparison())
                case "or": result.append([try comparison()])
                default: throw problem("expected 'and' or 'or', not '\(word.text)'", at: word.position)
                }
            }
            return result
        }

        private mutating func comparison() throws(Problem) -> Comparison {
            let name = try take("the name of a quantity")
            guard name.text == "any" || names.contains(name.text) else {
                throw problem("there is no quantity '\(name.text)'\(suggestion(for: name.text))", at: name.position)
            }
            let quantity = name.text == "any" ? nil : name.text
            let word = try take("'worse', 'differs', '>', '>=', '<' or '<='")
            switch word.text {
            case "worse": return Comparison(quantity: quantity, test: .worse)
            case "differs": return Comparison(quantity: quantity, test: .differs)
            case ">", ">=":
                return Comparison(quantity: quantity, test: .above(try limit(name), orEqual: word.text == ">="))
            case "<", "<=":
                return Comparison(quantity: quantity, test: .below(try limit(name), orEqual: word.text == "<="))
            default:
                throw problem(
                    "expected 'worse', 'differs', '>', '>=', '<' or '<=', not '\(word.text)'", at: word.position)
            }
        }

        private mutating func limit(_ name: Token) throws(Problem) -> Limit {
            let token = try take("a limit, such as 1.2x, 20% or 5ms")
            let digits = token.text.prefix { $0.isNumber || $0 == "." || $0 == "-" || $0 == "+" }
            guard let number = Double(digits), number.isFinite else {
                throw problem("expected a number, not '\(token.text)'", at: token.position)
            }
            var unit = String(token.text.dropFirst(digits.count))
            var place = token.position + digits.count
            // The unit may stand apart.
            if unit.isEmpty, next < tokens.count, !["and", "or"].contains(tokens[next].text) {
                unit = tokens[next].text
                place = tokens[next].position
                next += 1
            }
            switch unit {
            case "x" where number > 0: return .ratio(number)
            case "x": throw problem("a ratio has to be above 0", at: token.position)
            case "%" where number > -100: return .ratio(1 + number / 100)
            case "%": throw problem("a change has to be above -100%", at: token.position)
            default: break
            }
            guard let (units, factor) = Self.units[unit] else {
                throw problem("there is no unit '\(unit)'; use x, %, µs, ms, s, KiB, MiB, GiB or /s", at: place)
            }
            guard name.text != "any" else {
                throw problem("'any' has no unit in common; use a ratio such as 1.2x", at: token.position)
            }
            let known = Measure.all.first { $0.quantity.name == name.text }?.quantity.unit
            if let known, !units.contains(known) {
                let said = unit.isEmpty ? "a number without a unit" : "'\(unit)'"
                throw problem("\(said) does not fit \(name.text), which has \(Self.example[known] ?? "")", at: place)
            }
            return .value(number * factor)
        }

        private static let example: [Quantity.Unit: String] = [
            .seconds: "durations, such as 5ms", .bytes: "sizes, such as 20MiB", .perSecond: "rates, such as 100/s",
            .share: "shares, such as 0.05", .number: "plain numbers",
        ]

        private mutating func take(_ what: String) throws(Problem) -> Token {
            guard next < tokens.count else {
                throw problem(text.isEmpty ? "the condition is empty" : "expected \(what)", at: text.count)
            }
            next += 1
            return tokens[next - 1]
        }

        private func problem(_ reason: String, at position: Int) -> Problem {
            Problem(text: text, position: position, reason: reason)
        }

        private func suggestion(for name: String) -> String {
            let best = names.map { (name: $0, distance: distance($0, name)) }
                .min { ($0.distance, $0.name) < ($1.distance, $1.name) }
            guard let best, best.distance <= max(2, name.count / 3) else {
                return "; muster compare --list-quantities names them"
            }
            return "; is '\(best.name)' meant?"
        }

        /// Levenshtein's distance.
        private func distance(_ a: String, _ b: String) -> Int {
            var row = Array(0...b.count)
            for (i, x) in a.enumerated() {
                var diagonal = row[0]
                row[0] = i + 1
                for (j, y) in b.enumerated() {
                    let cost = min(row[j] + 1, row[j + 1] + 1, diagonal + (x == y ? 0 : 1))
                    diagonal = row[j + 1]
                    row[j + 1] = cost
                }
            }
            return row[b.count]
        }
    }

    // MARK: Evaluation

    /// What a report says about it. A limit counts as exceeded if the measured value exceeds it *and* the sides differ
    /// significantly, so that noise alone does not fail a pipeline.
    package func outcome(_ rows: [Row]) -> Outcome {
        let outcomes = alternatives.map { comparisons in
            let parts = comparisons.map { outcome($0, rows) }
            return parts.contains(.fails) ? Outcome.fails : parts.contains(.undecided) ? .undecided : .holds
        }
        return outcomes.contains(.holds) ? .holds : outcomes.contains(.undecided) ? .undecided : .fails
    }

    private func outcome(_ comparison: Comparison, _ rows: [Row]) -> Outcome {
        guard let name = comparison.quantity else {
            // Of quantities that were not measured nothing was demanded.
            let parts = rows.filter { $0.outcome != .noData }.map { outcome(comparison.test, $0) }
            if parts.contains(.holds) { return .holds }
            return parts.isEmpty || parts.allSatisfy { $0 == .undecided } ? .undecided : .fails
        }
        return rows.first { $0.quantity.name == name }.map { outcome(comparison.test, $0) } ?? .undecided
    }

    private func outcome(_ test: Test, _ row: Row) -> Outcome {
        guard row.outcome.isVerdict, let candidate = row.candidate else { return .undecided }
        func decide(_ limit: Limit, _ exceeds: (Double, Double) -> Bool) -> Outcome {
            switch limit {
            case .value(let limit): return exceeds(candidate, limit) ? .holds : .fails
            case .ratio(let limit):
                if row.outcome == .alike { return .fails }
                guard let ratio = row.ratio?.estimate else { return .undecided }
                return exceeds(ratio, limit) ? .holds : .fails
            }
        }
        switch test {
        case .worse: return row.outcome == .worse ? .holds : .fails
        case .differs: return row.outcome == .alike ? .fails : .holds
        case .above(let limit, let orEqual): return decide(limit) { orEqual ? $0 >= $1 : $0 > $1 }
        case .below(let limit, let orEqual): return decide(limit) { orEqual ? $0 <= $1 : $0 < $1 }
        }
    }
}
