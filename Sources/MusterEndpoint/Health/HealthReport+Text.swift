// SPDX-License-Identifier: Apache-2.0

extension HealthReport {
    /// The report as kube-apiserver's health endpoints write it.
    ///
    /// A passing report is `ok` alone. A verbose one, and any failing one, has a line for each check; why a check
    /// fails is told only when asked for, because the endpoint may be seen by more people than the log.
    ///
    /// - Parameters:
    ///   - isVerbose: Whether to tell all.
    ///   - endpointName: The endpoint's name for the last line; the level's own unless given.
    /// - Returns: The body of the response.
    public func text(isVerbose: Bool, endpointName: String? = nil) -> String {
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
