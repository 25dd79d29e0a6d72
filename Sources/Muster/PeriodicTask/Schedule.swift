// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

/// When a periodic task runs.
///
/// ```swift
/// let schedules = [
///     Schedule.every(.seconds(60)),
///     try .daily(at: "03:00", in: "Europe/Berlin"),
///     try .cron("*/15 9-17 * * mon-fri", in: "Europe/Berlin"),
/// ]
/// ```
public struct Schedule: Hashable, Sendable, CustomStringConvertible {
    /// What an interval is counted from.
    public enum Anchor: String, Hashable, Sendable {
        /// A grid from the first run on, however long runs take.
        case start
        /// The end of the run before.
        case end
        /// A grid of the wall clock: `.every(.seconds(900), from: .clock)` is at :00, :15, :30 and :45 of UTC.
        case clock
    }

    enum Kind: Hashable, Sendable {
        case interval(nanoseconds: Int64, Anchor)
        case cron(CronExpression)
    }

    let kind: Kind
    /// As it was given.
    public let description: String

    /// At equal distances.
    ///
    /// - Parameters:
    ///   - interval: The time between two runs, 1 ms or more; checked when a task is added.
    ///   - anchor: What it is counted from.
    public static func every(_ interval: Duration, from anchor: Anchor = .start) -> Schedule {
        let words = ["start": "", "end": " from the end", "clock": " of the clock"]
        return Schedule(
            kind: .interval(nanoseconds: interval.clampedNanoseconds, anchor),
            description: "every \(interval.text)\(words[anchor.rawValue] ?? "")")
    }

    /// Once a day.
    ///
    /// - Parameters:
    ///   - time: Hours and minutes, such as `03:00`.
    ///   - zone: A time zone's name.
    /// - Throws: ``ScheduleError``.
    public static func daily(at time: String, in zone: String = "UTC") throws(ScheduleError) -> Schedule {
        let parts = time.split(separator: ":", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let hour = parts[0], let minute = parts[1], (0...23).contains(hour),
            (0...59).contains(minute)
        else { throw .time(time) }
        let cron = try CronExpression("\(minute) \(hour) * * *", zone: zone)
        return Schedule(kind: .cron(cron), description: "daily at \(time) \(zone)")
    }

    /// When a line of cron says: minute, hour, day of the month, month, day of the week, or `@hourly`, `@daily`, `@weekly`,
    /// `@monthly`, `@yearly`.
    ///
    /// - Parameters:
    ///   - expression: Numbers, names (`jan`, `mon`), `*`, ranges, steps and lists of these. With both days given, one of
    ///     them is enough.
    ///   - zone: A time zone's name.
    /// - Throws: ``ScheduleError``.
    public static func cron(_ expression: String, in zone: String = "UTC") throws(ScheduleError) -> Schedule {
        Schedule(
            kind: .cron(try CronExpression(expression, zone: zone)), description: "\(expression) \(zone)")
    }
}

/// Why a schedule cannot be used.
public struct ScheduleError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was wrong, and what to do.
    public let description: String

    static func zone(_ name: String, _ reason: String) -> ScheduleError {
        ScheduleError(description: "time zone '\(name)': \(reason)")
    }

    static func time(_ text: String) -> ScheduleError {
        ScheduleError(description: "'\(text)' is no time of day: give hours and minutes, such as 03:00")
    }

    static func cron(_ expression: String, _ reason: String) -> ScheduleError {
        ScheduleError(description: "cron expression '\(expression)': \(reason)")
    }
}

/// A line of cron, read.
struct CronExpression: Hashable, Sendable {
    private let minutes: [Int]
    private let hours: [Int]
    private let days: Set<Int>
    private let months: Set<Int>
    private let weekdays: Set<Int>
    /// One of the days is enough where both are restricted.
    private let anyDay: Bool
    private let isEveryHour: Bool
    private let zone: String
    private let rules: ZoneRules
    /// By how much the zone's offsets differ at most.
    private let spread: Int64

    static func == (first: CronExpression, second: CronExpression) -> Bool {
        first.zone == second.zone && first.minutes == second.minutes && first.hours == second.hours
            && first.days == second.days && first.months == second.months && first.weekdays == second.weekdays
            && first.anyDay == second.anyDay && first.isEveryHour == second.isEveryHour
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(minutes)
        hasher.combine(hours)
        hasher.combine(zone)
    }

    init(_ expression: String, zone: String) throws(ScheduleError) {
        try self.init(expression, zone: zone, rules: ZoneRules(named: zone))
    }

    init(_ expression: String, zone: String, rules: ZoneRules) throws(ScheduleError) {
        let macros = [
            "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
            "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
        ]
        let fields = (macros[expression.lowercased()] ?? expression).split(whereSeparator: \.isWhitespace)
        guard fields.count == 5 else {
            throw .cron(expression, "it has \(fields.count) fields; give 5, or a name like @daily")
        }
        func field(_ index: Int, _ name: String, _ range: ClosedRange<Int>, _ names: [String] = [])
            throws(ScheduleError)
            -> Set<Int>
        {
            guard let values = Self.values(fields[index], range, names) else {
                throw .cron(
                    expression,
                    "'\(fields[index])' is no \(name): give numbers from \(range.lowerBound) to \(range.upperBound)")
            }
            return values
        }
        minutes = try field(0, "minute", 0...59).sorted()
        hours = try field(1, "hour", 0...23).sorted()
        days = try field(2, "day of the month", 1...31)
        months = try field(3, "month", 1...12, Self.monthNames)
        weekdays = Set(try field(4, "day of the week", 0...7, Self.weekdayNames).map { $0 % 7 })
        anyDay = !fields[2].hasPrefix("*") && !fields[4].hasPrefix("*")
        isEveryHour = fields[1] == "*"
        self.zone = zone
        self.rules = rules
        spread = rules.spread
        guard months.contains(where: { month in days.contains { $0 <= CivilDate.days(in: month, of: 2000) } }) || anyDay
        else {
            throw .cron(expression, "no month has such a day")
        }
    }

    private static let monthNames = [
        "", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ]
    private static let weekdayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

    private static func values(_ field: Substring, _ range: ClosedRange<Int>, _ names: [String]) -> Set<Int>? {
        func number(_ text: Substring) -> Int? {
            if let index = names.firstIndex(of: text.lowercased()), !text.isEmpty { return index }
            guard !text.isEmpty, text.utf8.count <= 4, text.allSatisfy(\.isNumber), let number = Int(text) else {
                return nil
            }
            return range.contains(number) ? number : nil
        }
        var values: Set<Int> = []
        for item in field.split(separator: ",", omittingEmptySubsequences: false) {
            let parts = item.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count <= 2, let span = parts.first else { return nil }
            var step = 1
            if parts.count == 2 {
                guard parts[1].allSatisfy(\.isNumber), let number = Int(parts[1]), (1...1000).contains(number) else {
                    return nil
                }
                step = number
            }
            let ends = span.split(separator: "-", omittingEmptySubsequences: false)
            let (low, high): (Int, Int)
            if span == "*" {
                (low, high) = (range.lowerBound, range.upperBound)
            } else if ends.count == 2, let first = number(ends[0]), let last = number(ends[1]), first <= last {
                (low, high) = (first, last)
            } else if ends.count == 1, let only = number(ends[0]) {
                (low, high) = (only, parts.count == 2 ? range.upperBound : only)
            } else {
                return nil
            }
            values.formUnion(stride(from: low, through: high, by: step))
        }
        return values
    }

    private func matches(_ date: CivilDate) -> Bool {
        guard months.contains(date.month) else { return false }
        let (day, weekday) = (days.contains(date.day), weekdays.contains(date.weekday))
        return anyDay ? day || weekday : day && weekday
    }

    /// The first instant after another one, in seconds; `nil` when there is none in the next decades.
    ///
    /// A time that clocks show twice counts once, the first time. One that they leave out counts as much later as they are
    /// set forward. Where hours are `*`, every hour of real time counts instead.
    func next(after instant: Int64) -> Int64? {
        let local = instant + Int64(rules.offset(at: instant))
        // A day before, as a local time may be later than its place among the others.
        let first = Int((Double(local) / 86_400).rounded(.down)) - 1
        // No shift of the clocks moves local times up to this to after the instant.
        let past = local - spread
        // February 29 on one weekday comes every 28 years, or 40 over a century.
        for day in first...(first + 41 * 366) where matches(CivilDate(day: day)) {
            var found: Int64?
            // No shift of the clocks moves local times beyond this to before what was found.
            var latest = Int64.max
            for hour in hours {
                let start = Int64(day) * 86_400 + Int64(hour * 3600)
                if start + 3600 <= past { continue }
                if start > latest { break }
                for minute in minutes {
                    let time = start + Int64(minute * 60)
                    if time <= past { continue }
                    if time > latest { break }
                    let instants = rules.instants(ofLocal: time)
                    let counted =
                        isEveryHour
                        ? instants : [instants.first ?? rules.instantAfterGap(ofLocal: time)]
                    for candidate in counted where candidate > instant && candidate < found ?? .max {
                        found = candidate
                        latest = candidate + Int64(rules.offset(at: candidate)) + spread
                    }
                }
            }
            if let found { return found }
        }
        return nil
    }
}
