// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Muster

@Suite("The life of a service launcher")
struct LaunchStateTests {
    private typealias Phase = LaunchState.Phase
    private typealias Event = LaunchState.Event
    private typealias Action = LaunchState.Action

    private static let custom = ExitStatus(rawValue: 7)

    /// How to get into each phase.
    private static let ways: [(phase: Phase, events: [Event])] = [
        (.starting, []),
        (.running, [.started]),
        (.restarting, [.started, .hangUp]),
        (.stopping(.success), [.started, .terminate]),
        (.stopping(.failure), [.startFailed]),
        (.stopping(custom), [.end(custom)]),
        (.finished(.success), [.terminate, .stopped]),
        (.finished(.failure), [.interrupt]),
    ]

    private static let events: [Event] = [
        .started, .startFailed, .terminate, .end(.success), .end(custom), .interrupt, .hangUp, .restarted, .stopped,
        .deadline,
    ]

    private static func exit(_ reason: String) -> Action { .exitNow(.failure, reason: reason) }

    /// What an event leads to, for each phase it matters in; anything else changes nothing.
    private static func expected(_ phase: Phase, _ event: Event) -> (Phase, Action?) {
        switch phase {
        case .starting:
            switch event {
            case .started: (.running, nil)
            case .startFailed: (.stopping(.failure), .stop)
            case .terminate: (.stopping(.success), .stop)
            case .end(let status): (.stopping(status), .stop)
            case .interrupt: (.finished(.failure), exit("SIGINT"))
            default: (phase, nil)
            }
        case .running:
            switch event {
            case .terminate: (.stopping(.success), .stop)
            case .end(let status): (.stopping(status), .stop)
            case .interrupt: (.finished(.failure), exit("SIGINT"))
            case .hangUp: (.restarting, .restart)
            default: (phase, nil)
            }
        case .restarting:
            switch event {
            case .startFailed: (.stopping(.failure), .stop)
            case .terminate: (.stopping(.success), .stop)
            case .end(let status): (.stopping(status), .stop)
            case .interrupt: (.finished(.failure), exit("SIGINT"))
            case .restarted: (.running, nil)
            case .deadline: (.finished(.failure), exit("graceful shutdown timeout exceeded"))
            default: (phase, nil)
            }
        case .stopping(let status):
            switch event {
            case .startFailed: (.stopping(.failure), nil)
            case .terminate: (.finished(.failure), exit("second SIGTERM"))
            case .interrupt: (.finished(.failure), exit("SIGINT"))
            case .stopped: (.finished(status), .finish(status))
            case .deadline: (.finished(.failure), exit("graceful shutdown timeout exceeded"))
            default: (phase, nil)
            }
        case .finished: (phase, nil)
        }
    }

    @Test("Each event does in each phase what the table says")
    func table() {
        for (phase, events) in Self.ways {
            for event in Self.events {
                var machine = LaunchState()
                for event in events { _ = machine.handle(event) }
                #expect(machine.phase == phase)
                let action = machine.handle(event)
                let (nextPhase, nextAction) = Self.expected(phase, event)
                #expect(machine.phase == nextPhase, "\(phase), \(event)")
                #expect(action == nextAction, "\(phase), \(event)")
            }
        }
    }

    @Test("A reload that comes during the start, or during another one, follows once")
    func remembered() {
        for (begin, end) in [(Event.interrupt, Event.started), (.hangUp, .restarted)] {
            var machine = LaunchState()
            if begin == .hangUp {
                _ = machine.handle(.started)
                #expect(machine.handle(.hangUp) == .restart)
            }
            for _ in 0..<3 { #expect(machine.handle(.hangUp) == nil) }
            #expect(machine.handle(end) == .restart)
            #expect(machine.phase == .restarting)
            #expect(machine.handle(.restarted) == nil)
            #expect(machine.phase == .running)
        }
    }

    @Test("It is ready only while the services run")
    func ready() {
        for (phase, events) in Self.ways {
            var machine = LaunchState()
            for event in events { _ = machine.handle(event) }
            #expect(machine.isReady == (phase == .running))
        }
    }
}
