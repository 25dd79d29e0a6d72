// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import MusterHealth
package import MusterPlatform

extension HealthReport {
    /// The report as `application/health+json` (draft-inadarei-api-health-check-06).
    ///
    /// - Parameters:
    ///   - isVerbose: Whether to tell why a check warns or fails.
    ///   - now: The present instant of the clock that the report was made by.
    package func json(isVerbose: Bool, now: MonotonicInstant = .now) -> String {
        let present = WallClock.secondsSinceEpoch
        var json = "{\"status\":\"\(status.rawValue)\",\"checks\":{"
        var isFirst = true
        for entry in entries where !entry.isExcluded {
            if !isFirst { json += "," }
            isFirst = false
            Self.append(entry.name, to: &json)
            json += ":[{\"status\":\"\(entry.result.state.rawValue)\""
            if let instant = entry.instant {
                let time = present + now.duration(to: instant).inSeconds
                json += ",\"time\":\"\(Self.timestamp(time))\""
            }
            if let reason = entry.result.reason {
                json += ",\"output\":"
                Self.append(isVerbose ? reason : Self.withheld, to: &json)
            }
            json += "}]"
        }
        json += "}"
        let notes =
            entries.filter(\.isExcluded).map { "\($0.name) excluded" }
            + unmatchedExclusions.map { "no check named \"\($0)\" to exclude" }
        if !notes.isEmpty {
            json += ",\"notes\":["
            for (index, note) in notes.enumerated() {
                if index > 0 { json += "," }
                Self.append(note, to: &json)
            }
            json += "]"
        }
        json += "}\n"
        return json
    }

    private static func append(_ text: String, to json: inout String) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        // Every string can be encoded.
        if let encoded = try? encoder.encode(text) { json += String(decoding: encoded, as: UTF8.self) }
    }

    /// An instant as RFC 3339 writes it, in UTC to the millisecond.
    static func timestamp(_ secondsSinceEpoch: Double) -> String {
        // Half a microsecond more, because the style cuts off what is below a millisecond.
        let rounded = (secondsSinceEpoch * 1000).rounded() / 1000 + 0.5e-6
        return Date(timeIntervalSince1970: rounded).formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}

extension HealthReport {
    /// The report as kube-apiserver's health endpoints write it.
    ///
    /// A passing report is `ok` alone. A verbose one, and any failing one, has a line for each check; why a check
    /// fails is told only when asked for, because the endpoint may be seen by more people than the log.
    ///
    /// - Parameters:
    ///   - isVerbose: Whether to tell all.
    ///   - endpointName: The endpoint's name for the last line; the level's own unless given.
    package func text(isVerbose: Bool, endpointName: String? = nil) -> String {
        let isPassing = isPassing
        if isPassing, !isVerbose { return "ok" }
        var text = ""
        for entry in entries {
            if entry.isExcluded {
                text += "[+]\(entry.name) excluded: ok\n"
                continue
            }
            switch entry.result {
            case .pass:
                text += "[+]\(entry.name) ok\n"
            case .warn(let reason):
                text += isVerbose ? "[+]\(entry.name) ok (warning: \(reason))\n" : "[+]\(entry.name) ok\n"
            case .fail(let reason):
                text += "[-]\(entry.name) failed: \(isVerbose ? reason : Self.withheld)\n"
            }
        }
        if !unmatchedExclusions.isEmpty {
            let names = unmatchedExclusions.map { "\"\(HealthResult.line($0))\"" }.joined(separator: ",")
            text += "warn: some health checks cannot be excluded: no matches for \(names)\n"
        }
        text += "\(endpointName ?? level.endpointName) check \(isPassing ? "passed" : "failed")\n"
        return text
    }

    /// What stands in a failure's place when its reason is not told.
    static let withheld = "reason withheld"
}
