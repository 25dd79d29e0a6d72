// SPDX-License-Identifier: Apache-2.0

import Logging
import Testing

@testable import MusterPlatform

@Suite("Log levels")
struct LogLevelsTests {
    @Test("The longest rule counts, and holds for the handlers that there are and those to come")
    func rules() throws {
        let levels = LogLevels()
        let before = levels.cell(of: "store.cache.disk", usual: .info)
        #expect(before.chosen == nil)
        try levels.set(.debug, for: "store")
        #expect(before.chosen == .debug)
        try levels.set(.trace, for: "store.cache")
        #expect(before.chosen == .trace)
        #expect(levels.cell(of: "store.web", usual: .info).chosen == .debug)
        #expect(levels.cell(of: "storefront", usual: .info).chosen == nil, "no part of its label")
        try levels.set(.error, for: "*")
        #expect(levels.cell(of: "storefront", usual: .info).chosen == .error)
        #expect(before.chosen == .trace)
        #expect(levels.reset("store.cache"))
        #expect(before.chosen == .debug)
        #expect(!levels.reset("store.cache"))
        #expect(levels.rules.map(\.label) == ["*", "store"])
        #expect(levels.reset())
        #expect(before.chosen == nil)
    }

    @Test("Labels are listed with the level that counts and the application's own")
    func entries() throws {
        let levels = LogLevels()
        let (first, second) = (levels.cell(of: "b", usual: .warning), levels.cell(of: "a", usual: .info))
        try levels.set(.trace, for: "b")
        #expect(
            levels.entries == [
                LogLevels.Entry(label: "a", level: .info, usual: .info),
                LogLevels.Entry(label: "b", level: .trace, usual: .warning),
            ])
        withExtendedLifetime((first, second)) {}
    }

    @Test("Labels without loggers are forgotten")
    func sweep() {
        let levels = LogLevels()
        let kept = levels.cell(of: "kept", usual: .info)
        for number in 0..<10_000 { _ = levels.cell(of: "request-\(number)", usual: .info) }
        #expect(levels.entries.map(\.label) == ["kept"])
        withExtendedLifetime(kept) {}
    }

    @Test("What another process says is taken as far as it makes sense")
    func encoded() throws {
        let levels = LogLevels()
        try levels.set(.debug, for: "a=b")
        try levels.set(.critical, for: "grün 😀")
        let other = LogLevels()
        other.take(levels.encoded)
        #expect(other.rules.map(\.label) == levels.rules.map(\.label))
        #expect(other.rules.map(\.level) == [.debug, .critical])
        other.take("x=loud\n\n=debug\nno level\n" + String(repeating: "y", count: 200) + "=info\nz=info")
        #expect(other.rules.map(\.label) == ["z"])
        other.take("")
        #expect(other.rules.isEmpty)
    }

    @Test("A label that is none, and one too many, is refused")
    func refusals() throws {
        let levels = LogLevels()
        for label in ["", "a\nb", "\u{7F}", String(repeating: "x", count: 129)] {
            #expect(throws: LogLevels.Refusal.badLabel(label)) { try levels.set(.info, for: label) }
        }
        for number in 0..<32 { try levels.set(.info, for: "\(number)") }
        #expect(throws: LogLevels.Refusal.tooMany(limit: 32)) { try levels.set(.info, for: "another") }
        try levels.set(.debug, for: "0")
    }
}
