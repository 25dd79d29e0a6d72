// SPDX-License-Identifier: Apache-2.0

import MusterLock
import MusterPlatform
import MusterSupervision

/// A process whose threads a console can look at.
struct InspectedProcess: Sendable {
    var name: String
    var inspector: @Sendable () throws(InspectionError) -> ProcessInspector

    /// This process.
    static func own(_ name: String) -> InspectedProcess {
        InspectedProcess(name: name) { () throws(InspectionError) in try .own() }
    }
}

/// Answers `threads` and `profile`: looks into processes, each from a thread of its own, without their help.
enum ConsoleInspection {
    static let commands: Set = ["threads", "profile"]
    /// How many processes are looked at at a time.
    private static let mostProcesses = 64
    /// The most lines of an answer.
    private static let mostLines = 50_000
    private static let durations = 0.1...300.0

    static func answer(
        _ request: ConsoleRequest, of processes: [InspectedProcess],
        complete: @escaping @Sendable (ConsoleAnswer) -> Void
    ) {
        let isProfile = request.command.name == "profile"
        let seconds = request.argument(0).flatMap(Double.init) ?? 0
        guard !isProfile || durations.contains(seconds) else {
            return complete(ConsoleAnswer(.usage, "\(request.command.usage): SECONDS is a number from 0.1 to 300"))
        }
        guard !processes.isEmpty else {
            return complete(
                request.target.map { .noWorker($0) } ?? ConsoleAnswer(.failed, "no worker has a process at present"))
        }
        guard processes.count <= mostProcesses else {
            let text = "\(processes.count) processes; name a worker or a group of at most \(mostProcesses)"
            return complete(ConsoleAnswer(.failed, text))
        }
        let isJSON = request.isJSON
        let results = Locked([Int: ConsoleAnswer]())
        for (index, process) in processes.enumerated() {
            let done: @Sendable (ConsoleAnswer) -> Void = { answer in
                let all = results.withLock { results -> [Int: ConsoleAnswer]? in
                    results[index] = answer
                    return results.count == processes.count ? results : nil
                }
                if let all { complete(merged(processes.indices.compactMap { all[$0] })) }
            }
            do {
                try NativeThread.start(name: "muster-inspect") {
                    do throws(InspectionError) {
                        let inspector = try process.inspector()
                        if isProfile {
                            done(report(try inspector.profile(for: .seconds(seconds)), of: process.name))
                        } else {
                            done(report(try inspector.threads(), of: process.name, isJSON: isJSON))
                        }
                    } catch {
                        let status = error == .noAnswer ? ConsoleStatus.timeout : .failed
                        done(ConsoleAnswer(status, "\(process.name): \(error)"))
                    }
                }
            } catch {
                done(ConsoleAnswer(.failed, "\(process.name): \(error)"))
            }
        }
    }

    private static func merged(_ answers: [ConsoleAnswer]) -> ConsoleAnswer {
        var result = ConsoleAnswer()
        result.status = answers.map(\.status).reduce(.ok, ConsoleMerge.worse)
        let messages = answers.compactMap(\.message)
        result.message = messages.isEmpty ? nil : messages.joined(separator: "; ")
        for answer in answers {
            if let table = answer.table {
                result.table = ConsoleTable(table.columns, rows: (result.table?.rows ?? []) + table.rows)
            }
            if let lines = answer.lines { result.lines = (result.lines ?? []) + lines }
        }
        if let lines = result.lines, lines.count > mostLines {
            result.lines = Array(lines.prefix(mostLines))
            result.message = (result.message.map { $0 + "; " } ?? "") + "the first \(mostLines) lines"
        }
        return result
    }

    private static func report(_ threads: [InspectedThread], of process: String, isJSON: Bool) -> ConsoleAnswer {
        guard isJSON else {
            return ConsoleAnswer(
                lines: threads.flatMap { thread in
                    let cpu = PlainText.duration(thread.cpuSeconds) ?? ""
                    var lines = [
                        "\(process)  thread \(thread.identifier)  \(thread.name)  \(thread.state)  CPU \(cpu)"
                    ]
                    lines += thread.frames.map { "    \($0.name)" }
                    if let obstacle = thread.obstacle {
                        lines.append("    no backtrace: \(obstacle.rawValue)")
                    } else if !thread.isWhole {
                        lines.append("    … outer functions unknown")
                    }
                    return lines
                })
        }
        return ConsoleAnswer(
            ConsoleTable(
                [
                    .init("worker"), .init("thread"), .init("name"), .init("state"), .init("cpuSeconds", .seconds),
                    .init("stack"), .init("note"),
                ],
                rows: threads.map { thread in
                    [
                        .text(process), ConsoleCell(thread.identifier), .text(thread.name), .text("\(thread.state)"),
                        .number(thread.cpuSeconds),
                        thread.frames.isEmpty
                            ? .none : .text(ProcessProfile.folded(thread.frames.reversed().map(\.name))),
                        ConsoleCell(thread.obstacle?.rawValue),
                    ]
                }))
    }

    private static func report(_ profile: ProcessProfile, of process: String) -> ConsoleAnswer {
        var answer = ConsoleAnswer(lines: profile.folded(below: process))
        var message = "\(process): \(PlainText.count(profile.samples, "sample")) in \(profile.duration.text)"
        message += " at \(profile.frequency) Hz of CPU time"
        if profile.lost > 0 { message += ", \(profile.lost) lost" }
        if profile.hasEnded { message += "; the process has ended" }
        answer.message = message
        return answer
    }
}
