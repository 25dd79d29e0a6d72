// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterPlatform
import Testing

@testable import Muster

@Suite("Schedules")
struct ScheduleTests {
    /// Local or UTC time as text, such as `2026-03-29T02:30Z`.
    private static func instant(_ text: String) throws -> Int64 {
        let date = try Date(text.replacing("Z", with: ":00Z"), strategy: .iso8601)
        return Int64(date.timeIntervalSince1970)
    }

    private static func text(_ instant: Int64?) -> String {
        guard let instant else { return "never" }
        return Date(timeIntervalSince1970: Double(instant)).formatted(.iso8601).replacing(":00Z", with: "Z")
    }

    private static func runs(_ expression: String, _ zone: String, after start: String, _ count: Int) throws -> [String]
    {
        let cron = try CronExpression(expression, zone: zone)
        var instant = try Self.instant(start)
        return (0..<count).map { _ in
            guard let next = cron.next(after: instant) else { return "never" }
            instant = next
            return text(next)
        }
    }

    @Test(
        "The next runs of a line of cron",
        arguments: [
            ("* * * * *", "UTC", "2026-01-01T00:00Z", ["2026-01-01T00:01Z", "2026-01-01T00:02Z"]),
            ("30 3 * * *", "UTC", "2026-02-27T12:00Z", ["2026-02-28T03:30Z", "2026-03-01T03:30Z"]),
            (
                "*/20 8-9 * * mon-fri", "UTC", "2026-01-02T09:20Z",
                ["2026-01-02T09:40Z", "2026-01-05T08:00Z", "2026-01-05T08:20Z"]
            ),
            ("0 0 29 feb *", "UTC", "2026-01-01T00:00Z", ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]),
            (
                "0 12 13 * fri", "UTC", "2026-02-01T00:00Z",
                ["2026-02-06T12:00Z", "2026-02-13T12:00Z", "2026-02-20T12:00Z"]
            ),
            (
                "0 12 */10 * *", "UTC", "2026-01-01T12:00Z",
                ["2026-01-11T12:00Z", "2026-01-21T12:00Z", "2026-01-31T12:00Z"]
            ),
            ("0 0 * * 7", "UTC", "2026-01-01T00:00Z", ["2026-01-04T00:00Z", "2026-01-11T00:00Z"]),
            ("@monthly", "UTC", "2026-01-15T00:00Z", ["2026-02-01T00:00Z", "2026-03-01T00:00Z"]),
            ("0,15 4 1 1,7 *", "UTC", "2026-01-01T04:00Z", ["2026-01-01T04:15Z", "2026-07-01T04:00Z"]),
            ("0 3 * * *", "Asia/Tokyo", "2026-01-01T00:00Z", ["2026-01-01T18:00Z"]),
            ("0 3 * * *", "America/New_York", "2026-03-07T12:00Z", ["2026-03-08T07:00Z", "2026-03-09T07:00Z"]),
            // Clocks go from 02:00 to 03:00: 02:30 is left out, and comes an hour later.
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:30Z", "2026-03-30T00:30Z"]),
            // From 03:00 to 02:00: 02:30 comes twice, and counts once.
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
            // Every hour of real time.
            (
                "30 * * * *", "Europe/Berlin", "2026-10-24T23:45Z",
                ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"]
            ),
            (
                "30 * * * *", "Europe/Berlin", "2026-03-29T00:00Z",
                ["2026-03-29T00:30Z", "2026-03-29T01:30Z", "2026-03-29T02:30Z"]
            ),
            // After the last change in the zone's file, and in the other half of the world.
            ("0 3 * * *", "Europe/Berlin", "2050-07-01T12:00Z", ["2050-07-02T01:00Z"]),
            ("0 3 * * *", "Australia/Sydney", "2060-01-01T12:00Z", ["2060-01-01T16:00Z"]),
            // Half an hour.
            ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z", ["2026-10-03T15:45Z", "2026-10-04T15:15Z"]),
        ])
    func cron(expression: String, zone: String, start: String, expected: [String]) throws {
        #expect(try Self.runs(expression, zone, after: start, expected.count) == expected)
    }

    /// The first instant after another one, found by looking at each minute.
    private static func searched(
        _ minutes: [Int], _ hours: [Int], _ rules: ZoneRules, everyHour: Bool, after instant: Int64
    ) -> Int64? {
        var found: Int64?
        let first = (instant / 86_400 - 2) * 86_400
        for local in stride(from: first, to: first + 6 * 86_400, by: 60) {
            let (hour, minute) = (Int(local % 86_400 / 3600), Int(local % 3600 / 60))
            guard minutes.contains(minute), hours.contains(hour) else { continue }
            let instants = rules.instants(ofLocal: local)
            let counted = everyHour ? instants : [instants.first ?? rules.instantAfterGap(ofLocal: local)]
            for candidate in counted where candidate > instant { found = min(found ?? candidate, candidate) }
        }
        return found
    }

    @Test(
        "No run is overlooked around changes of the clocks",
        arguments: [
            "UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca",
        ])
    func search(zone: String) throws {
        let rules = try ZoneRules(named: zone)
        var random = SplitMix64(seed: 3)
        let lines: [(String, [Int], [Int])] = [
            ("* * * * *", Array(0..<60), Array(0..<24)), ("*/20 1-3 * * *", [0, 20, 40], [1, 2, 3]),
            ("59 23,0 * * *", [59], [0, 23]),
        ]
        for (line, minutes, hours) in lines {
            let cron = try CronExpression(line, zone: zone, rules: rules)
            // Hours on both sides of a change in 2026, and of Samoa's missing day.
            for center in ["2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-04-04T15:00Z", "2011-12-30T10:00Z"] {
                for _ in 0..<4 {
                    let start = try Self.instant(center) + Int64.random(in: -14_400...14_400, using: &random)
                    #expect(
                        cron.next(after: start)
                            == Self.searched(minutes, hours, rules, everyHour: line.hasPrefix("* *"), after: start),
                        "\(line) after \(start)")
                }
            }
        }
    }

    @Test(
        "What is no schedule is refused, and the error says what to change",
        arguments: [
            "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8",
            "a * * * *",
            "*/0 * * * *", "5-1 * * * *", "1,,2 * * * *", "1-2-3 * * * *", "-1 * * * *", "1/ * * * *", "0 0 31 2 *",
            "0 0 30 feb *",
            "99999999999999999999 * * * *", "٣ * * * *", "@never",
        ])
    func refused(expression: String) {
        #expect(throws: ScheduleError.self) { try Schedule.cron(expression) }
    }

    @Test(
        "Time zones and times that are none are refused",
        arguments: ["Mars/Olympus", "../../etc/passwd", "", "Europe/", "/etc/passwd", "Europe"])
    func zones(name: String) {
        #expect(throws: ScheduleError.self) { try Schedule.daily(at: "03:00", in: name) }
        for time in ["3", "24:00", "03:60", "a:b", "", "03:00:00"] {
            #expect(throws: ScheduleError.time(time)) { try Schedule.daily(at: time) }
        }
    }

    @Test("Damaged zone files are refused, and none of them ends the program")
    func damaged() throws {
        let bytes = try SmallFile.read("/usr/share/zoneinfo/Europe/Berlin")
        #expect(ZoneRules(file: bytes) != nil)
        for length in stride(from: 0, to: bytes.count, by: 13) {
            #expect(ZoneRules(file: Array(bytes.prefix(length))) == nil)
        }
        var random = SplitMix64(seed: 1)
        for _ in 0..<2000 {
            var broken = bytes
            for _ in 0..<4 {
                let place = Int(random.next() % UInt64(broken.count))
                broken[place] = UInt8(truncatingIfNeeded: random.next())
            }
            let rules = ZoneRules(file: broken)
            _ = rules?.offset(at: 1_700_000_000)
            _ = rules?.instants(ofLocal: 4_000_000_000)
        }
    }
}
