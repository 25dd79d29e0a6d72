// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint
import MusterHealth
import Testing

@testable import MusterCommand

@Suite("A watch")
struct WatchTests {
    /// A world of which the answers and the events are written down beforehand.
    private final class World {
        var answers: [Result<StatusAnswer, FetchFailure>] = []
        var events: [Watch.Event] = []
        var width = 100
        var journal: [String] = []
        var waits: [Duration] = []

        func answer(_ change: (inout StatusReport) -> Void = { _ in }) throws {
            var report = StatusReport.sample()
            change(&report)
            answers.append(.success(try StatusAnswer(status: 200, body: report.json())))
        }

        func watch(_ form: Watch.Form, limit: Int? = nil) throws -> CommandExit {
            var watch = Watch(
                try StatusTarget(parsing: "web1"), form: form, style: .plain, interval: .seconds(3),
                in: Watch.Surroundings(
                    fetch: { self.answers.isEmpty ? .failure(.interrupted) : self.answers.removeFirst() },
                    wait: { limit in
                        self.waits.append(limit)
                        return self.events.isEmpty ? .ended : self.events.removeFirst()
                    },
                    suspend: { self.journal.append("suspend") }, write: { self.journal.append($0) },
                    complain: { self.journal.append("error: \($0)") }, size: { (self.width, 40) },
                    time: { "16:05:09" }))
            return watch.run(limit: limit)
        }
    }

    private let world = World()

    @Test("draws in place on a terminal, tells what has changed, and gives the screen back")
    func screen() throws {
        try world.answer()
        try world.answer { report in
            report.workers[0].restarts = ["signal": 1]
            report.workers[0].lastRestartReason = "signal"
            report.workers[0].process?.pid = 6001
        }
        world.events = [.due, .ended]
        #expect(try world.watch(.screen) == .success)
        #expect(world.journal.count == 4)
        #expect(world.journal.first == "\u{1B}[?1049h\u{1B}[?25l")
        #expect(world.journal.last == "\u{1B}[?25h\u{1B}[?1049l")
        #expect(world.journal[1].hasPrefix("\u{1B}[H\u{1B}[Khttp://web1:9917  every 3 s  16:05:09  Ctrl-C ends it\r\n"))
        #expect(!world.journal[1].contains("Changes"))
        #expect(world.journal[2].contains("16:05:09  worker store/0 was replaced (signal): pid 4714 is now 6001"))
        #expect(world.waits == [.seconds(3), .seconds(3)])
    }

    @Test("draws what it has once more when the terminal has another size, without asking")
    func resize() throws {
        try world.answer()
        world.events = [.resized, .ended]
        #expect(try world.watch(.screen) == .success)
        #expect(world.journal.count == 4)
        #expect(world.journal[1] == world.journal[2])
    }

    @Test("gives the screen back while it is suspended, and asks anew afterwards")
    func suspend() throws {
        try world.answer()
        try world.answer()
        world.events = [.suspended, .ended]
        _ = try world.watch(.screen)
        #expect(
            world.journal.map { $0.prefix(8) } == [
                "\u{1B}[?1049h", "\u{1B}[H\u{1B}[Kht", "\u{1B}[?25h\u{1B}[", "suspend", "\u{1B}[?1049h",
                "\u{1B}[H\u{1B}[Kht",
                "\u{1B}[?25h\u{1B}[",
            ])
    }

    @Test("goes on without an answer, shows the last one, and exits as the last look was")
    func failure() throws {
        try world.answer()
        world.answers.append(.failure(.refused))
        world.events = [.due, .ended]
        #expect(try world.watch(.screen) == .failure)
        let frame = world.journal[2]
        #expect(frame.contains("connection refused"))
        #expect(frame.contains("The last answer:"))
        #expect(frame.contains("16:05:09  no answer: http://web1:9917"))

        world.answers = [.failure(.refused)]
        try world.answer { $0.health.ready = .fail }
        world.events = [.due, .ended]
        #expect(try world.watch(.screen) == .unwell)
    }

    @Test("writes page after page where there is no terminal, each with its time")
    func pages() throws {
        try world.answer()
        world.answers.append(.failure(.refused))
        try world.answer()
        world.events = [.due, .due, .due, .due]
        #expect(try world.watch(.pages, limit: 3) == .success)
        #expect(world.journal.count == 3)
        #expect(world.journal[0].hasPrefix("16:05:09\nstore  degraded  "))
        #expect(world.journal[1].hasPrefix("error: 16:05:09  http://web1:9917: connection refused"))
        #expect(world.journal[2].hasPrefix("\n16:05:09\nstore  degraded  "))
        #expect(
            world.journal[2].hasSuffix(
                "\nChanges\n16:05:09  no answer: http://web1:9917\n16:05:09  there are answers again\n"))
        #expect(!world.journal.joined().contains("\u{1B}"))
    }

    @Test("writes a document on each line")
    func documents() throws {
        try world.answer()
        try world.answer()
        world.events = [.due]
        #expect(try world.watch(.documents) == .success)
        let line = String(decoding: try StatusReport.sample().json(), as: UTF8.self)
        #expect(world.journal == [line, line])
    }

    @Test("ends without a word when it is ended before the first answer")
    func interrupted() throws {
        #expect(try world.watch(.pages) == .failure)
        #expect(world.journal == [])
    }

    @Test("shows of more lines than the screen has as many as there is room for")
    func height() {
        let frame = Screen.frame((1...30).map { "line \($0)" }, height: 10)
        #expect(frame.hasSuffix("\u{1B}[Kline 9\r\n\u{1B}[K\u{2026} and 21 more lines"))
        #expect(!frame.contains("line 10"))
        #expect(Screen.frame(["a", "b"], height: 2) == "\u{1B}[H\u{1B}[Ka\r\n\u{1B}[Kb")
        #expect(Screen.frame(["a"], height: 2) == "\u{1B}[H\u{1B}[Ka\r\n\u{1B}[J")
    }
}
