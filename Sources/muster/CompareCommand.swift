// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import MusterCommand
import MusterCompare
import MusterPlatform

/// `muster compare`
struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Compare two backends, or two of anything else, by what they do to a service.",
        discussion: """
            From a Prometheus that scrapes both sides: over one window, in one deployment with canaries of another \
            backend, or in two. Or by running a program under each backend in turn: see muster help compare run.

            Examples:
              muster compare --prometheus http://prometheus:9090 --selector 'namespace="staging"' --window 30m
              muster compare --prometheus http://prometheus:9090 --by version --baseline 0.1.0 --candidate 0.2.0
              muster compare --prometheus http://prometheus:9090 --fail-if 'loop_lateness_p99 > 1.2x or any worse'
              muster compare --from report.json --format html --output report.html

            Exit codes:
              0   compared; no condition of --fail-if is met
              1   a condition of --fail-if is met
              2   there is nothing to compare: no data, no answer, a program that does not start, …
              3   a condition of --fail-if is undecided: there was no verdict
              64  usage error
            """,
        subcommands: [CompareRunCommand.self])

    @Option(help: ArgumentHelp("The base URL of a Prometheus.", valueName: "url"))
    var prometheus: String?

    @Option(
        help: ArgumentHelp("Matchers of labels, such as 'namespace=\"staging\",job=\"mailer\"'.", valueName: "matchers")
    )
    var selector = ""

    @Option(help: ArgumentHelp("How long a time is compared.", valueName: "duration"))
    var window: DurationArgument = "30m"

    @Option(
        help: ArgumentHelp(
            "When the window ends: 2026-01-31T12:00:00Z, or seconds since 1970. (default: now)", valueName: "time"))
    var end: String?

    @Option(
        help: ArgumentHelp(
            "What the sides differ in: backend, version (of Muster), or a label of the targets.", valueName: "label"))
    var by = "backend"

    @Option(
        help: ArgumentHelp("Make the report again from one that was written with --format json.", valueName: "file"),
        completion: .file(extensions: ["json"]))
    var from: String?

    @Flag(help: "List the quantities that --fail-if knows, and end.")
    var listQuantities = false

    @OptionGroup(title: "Report options") var options: CompareOptions
    @OptionGroup(title: "Access options") var access: AccessOptions

    @Option(help: ArgumentHelp("File whose first line is a bearer token.", valueName: "file"), completion: .file())
    var bearerTokenFile: String?

    @Option(help: ArgumentHelp("How long a response may take.", valueName: "duration"))
    var timeout: DurationArgument = "30s"

    func run() throws {
        if listQuantities { return list() }
        // The parent of a subcommand is validated with it, so what it needs by itself is looked for here.
        switch (prometheus, from) {
        case (let url?, nil): try options.finish(evidence(from: url))
        case (nil, let file?): try options.finish(saved(file))
        case (nil, nil):
            throw ValidationError("Say what to compare: --prometheus URL, --from FILE, or 'run -- PROGRAM'.")
        default: throw ValidationError("'--prometheus' and '--from' exclude each other.")
        }
    }

    private func list() {
        for measure in Measure.all {
            let quantity = measure.quantity
            let name = quantity.name + String(repeating: " ", count: max(1, 24 - quantity.name.count))
            let better = quantity.better == .neither ? "" : ", \(quantity.better.rawValue) is better"
            Terminal.write("\(name)\(quantity.title)\(better)\n")
        }
    }

    private func saved(_ file: String) throws -> Evidence {
        do {
            return try Report.evidence(json: Self.bytes(of: file))
        } catch let failure as SmallFile.Failure {
            throw CompareFailure("--from: \(file): \(failure.reason)")
        } catch let error as Report.UnknownVersion {
            throw CompareFailure("--from: \(file): \(error)")
        } catch {
            throw CompareFailure("--from: \(file) is not a report that was written with --format json")
        }
    }

    /// A report of many runs is longer than settings are.
    private static func bytes(of file: String) throws -> [UInt8] {
        guard let text = SmallFile.beginning(of: file, limit: 256 << 20) else {
            throw SmallFile.Failure(reason: "cannot be read")
        }
        return Array(text.utf8)
    }

    private func evidence(from url: String) throws -> Evidence {
        let target: PrometheusTarget
        do {
            target = try PrometheusTarget(parsing: url)
        } catch {
            throw ValidationError("'--prometheus': \(error).")
        }
        guard window.duration >= .seconds(10), window.duration <= .seconds(30 * 86_400) else {
            throw ValidationError("'--window' must be from 10s to 30 days, not \(window.text).")
        }
        guard bearerTokenFile == nil || access.user == nil else {
            throw ValidationError("'--user' and '--bearer-token-file' exclude each other.")
        }
        let instant = end.map { Instant.instant($0) } ?? .some(Double(time(nil)))
        guard let instant else {
            throw ValidationError("'--end' must be a time such as 2026-01-31T12:00:00Z, not \(end ?? "").")
        }
        var credentials = try access.read()
        if let bearerTokenFile {
            switch TextFile.read(bearerTokenFile) {
            case .success(let text):
                credentials.token = text.split(whereSeparator: \.isWhitespace).first.map(String.init)
            case .failure(let failure): throw CompareFailure("--bearer-token-file: \(bearerTokenFile) \(failure)")
            }
        }
        let client = CurlClient(access: credentials, limit: timeout.duration, largest: 256 << 20)
        let survey = PrometheusSurvey(
            selector: selector, by: by, baseline: options.baseline, candidate: options.candidate,
            window: Double(window.duration.components.seconds), end: instant,
            measures: Measure.all + (try options.ownMeasures { try kind(of: $0, client, target) })
        ) { query throws(PrometheusProblem) in
            try Self.ask(query, client, target)
        }
        do {
            return try survey.evidence()
        } catch PrometheusSurvey.Problem.prometheus(let problem) {
            if case .transport(let text) = problem { throw CompareFailure(text) }
            throw CompareFailure("\(target.url): \(problem)")
        } catch {
            throw CompareFailure("\(target.url): \(error)")
        }
    }

    private static func ask(
        _ query: PrometheusQuery, _ client: CurlClient, _ target: PrometheusTarget
    ) throws(PrometheusProblem) -> [PrometheusSeries] {
        let request = CurlClient.Request(
            url: "\(target.url)/api/v1/\(query.path)", isLocal: target.isLocal, form: query.form)
        switch client.fetch(request, interruptedBy: nil) {
        case .success(let answer): return try PrometheusAnswer.read(status: answer.status, body: answer.body)
        case .failure(let failure): throw .transport(target.message(for: failure))
        }
    }

    /// What an application's metric is, by the series that there are of it.
    private func kind(
        of name: String, _ client: CurlClient, _ target: PrometheusTarget
    ) throws -> Measure.Metric.Kind? {
        func exists(_ query: String) throws -> Bool {
            let series = try Self.ask(
                PrometheusQuery(path: "query", parameters: [.init("query", query)]), client, target)
            return !series.isEmpty
        }
        do {
            if try exists("count(\(name)_bucket{\(selector)})") { return .histogram }
            guard try exists("count(\(name){\(selector)})") else { return nil }
            return name.hasSuffix("_total") ? .counter : .gauge
        } catch let problem as PrometheusProblem {
            if case .transport(let text) = problem { throw CompareFailure(text) }
            throw CompareFailure("\(target.url): \(problem)")
        }
    }
}

/// Why there is nothing to compare: printed in a line, with the exit code 2.
struct CompareFailure: Error {
    let text: String

    init(_ text: String) { self.text = text }
}

/// What both ways to compare have in common.
struct CompareOptions: ParsableArguments {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text, json, markdown, html
    }

    @Option(help: ArgumentHelp("The side that is compared with.", valueName: "name"))
    var baseline: String?

    @Option(help: ArgumentHelp("The side that is compared.", valueName: "name"))
    var candidate: String?

    @Option(
        help: ArgumentHelp(
            "A metric of the application's own, and whether less or more of it is better. Can be repeated.",
            valueName: "name[:less|:more]"))
    var metric: [String] = []

    @Option(help: ArgumentHelp("The least change that counts as one.", valueName: "percent"))
    var relevant = "5%"

    @Option(
        help: ArgumentHelp(
            "A condition on which to fail, such as 'loop_lateness_p99 > 1.2x' or 'any worse'. Can be repeated.",
            valueName: "condition"))
    var failIf: [String] = []

    @Option(help: "How the report is written.")
    var format: Format = .text

    @Option(
        name: [.short, .long],
        help: ArgumentHelp("Write the report to a file. (default: standard output)", valueName: "file"),
        completion: .file())
    var output: String?

    @Flag(help: "Disable colours, as NO_COLOR and TERM=dumb do.")
    var noColor = false

    func validate() throws {
        _ = try share()
        let own = metric.map { String($0.split(separator: ":")[0]) }
        for name in own where !name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == ":") })
        {
            throw ValidationError("'--metric': '\(name)' is not the name of a metric.")
        }
        for entry in metric where entry.contains(":") && !entry.hasSuffix(":less") && !entry.hasSuffix(":more") {
            throw ValidationError("'--metric': '\(entry)' must end with ':less' or ':more', or have no colon.")
        }
        _ = try conditions()
    }

    private func share() throws -> Double {
        let digits = relevant.hasSuffix("%") ? relevant.dropLast() : relevant[...]
        guard let percent = Double(digits), percent >= 0, percent <= 1000 else {
            throw ValidationError("'--relevant' must be a percentage such as 5%, not \(relevant).")
        }
        return percent / 100
    }

    private func conditions() throws -> [Condition] {
        let own = metric.flatMap { entry in
            let name = String(entry.split(separator: ":")[0])
            return [name] + ["mean", "p50", "p99", "max"].map { "\(name)_\($0)" }
        }
        let names = Set(Measure.all.map(\.quantity.name) + own)
        return try failIf.map { text in
            do {
                return try Condition(parsing: text, names: names)
            } catch {
                throw ValidationError("'--fail-if': \(error)")
            }
        }
    }

    /// The measures of the metrics that were named.
    ///
    /// - Parameter kind: What a metric is; `nil` if there is none of the name.
    func ownMeasures(_ kind: (String) throws -> Measure.Metric.Kind?) throws -> [Measure] {
        try metric.flatMap { entry in
            let parts = entry.split(separator: ":")
            let name = String(parts[0])
            guard let kind = try kind(name) else { throw CompareFailure("--metric: there is no metric '\(name)'") }
            let better: Quantity.Direction =
                parts.count < 2 ? .neither : parts[1] == "less" ? .less : .more
            return Measure.own(Measure.Metric(name: name, kind: kind), better: better)
        }
    }

    /// Judges, writes the report, and ends with the exit code.
    func finish(_ evidence: @autoclosure () throws -> Evidence) throws {
        let report: Report
        do {
            report = Judge(relevant: try share(), conditions: try conditions()).report(try evidence())
        } catch let failure as CompareFailure {
            Terminal.complain("muster: \(failure.text)")
            throw ExitCode(CommandExit.failure.rawValue)
        }
        let text: String
        switch format {
        case .json: text = try report.json()
        case .markdown: text = report.markdown()
        case .html: text = report.html()
        case .text:
            let style = Style(
                isTerminal: Terminal.isOutput && output == nil, isRefused: noColor,
                environment: { Environment.value($0) })
            let width = output == nil ? Terminal.size.width : 1000
            text = CompareView(report, width: width, style: style).lines.joined(separator: "\n") + "\n"
        }
        if let output {
            guard let file = fopen(output, "we") else {
                Terminal.complain("muster: --output: \(output): \(String(cString: strerror(errno)))")
                throw ExitCode(CommandExit.failure.rawValue)
            }
            let isWritten = fputs(text, file) >= 0
            guard fclose(file) == 0, isWritten else {
                Terminal.complain("muster: --output: \(output) cannot be written")
                throw ExitCode(CommandExit.failure.rawValue)
            }
        } else {
            Terminal.write(text)
        }
        if Terminal.hasFailed { throw ExitCode(Terminal.end(.failure).rawValue) }
        let outcomes = report.conditions.map(\.outcome)
        throw ExitCode(outcomes.contains(.holds) ? 1 : outcomes.contains(.undecided) ? 3 : 0)
    }
}
