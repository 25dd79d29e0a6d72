// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// The rules of a time zone, from the system's zone database: offsets from UTC at instants, and the instants of local times.
///
/// FoundationEssentials knows fixed offsets only, and glibc has one zone for a whole process.
struct ZoneRules: Sendable {
    /// When offsets change, and the offsets from then on; seconds.
    private var changes: [(at: Int64, offset: Int)] = []
    /// The offset before the first change.
    private var first = 0
    /// What holds after the last change.
    private var rule: PosixRule?

    static let utc = ZoneRules()

    private init() {}

    /// Loads a zone by its name, such as `Europe/Berlin`.
    init(named name: String) throws(ScheduleError) {
        if name == "UTC" { return }
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        let isName = parts.allSatisfy { part in
            part.first?.isLetter == true
                && part.utf8.allSatisfy { byte in
                    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
                        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "+-_".utf8.contains(byte)
                }
        }
        guard isName else { throw .zone(name, "no name of the zone database; an example is Europe/Berlin") }
        let folder = getenv("TZDIR").map { String(cString: $0) } ?? "/usr/share/zoneinfo"
        let bytes: [UInt8]
        do throws(SmallFile.Failure) {
            bytes = try SmallFile.read("\(folder)/\(name)", mustBeRegular: true)
        } catch {
            throw .zone(
                name, "\(folder)/\(name): \(error.reason); install the package tzdata, or copy the zone into the image")
        }
        guard let rules = ZoneRules(file: bytes) else { throw .zone(name, "\(folder)/\(name) is no zone file") }
        self = rules
    }

    /// Reads a file in the format of RFC 9636, of version 2 or later.
    init?(file bytes: [UInt8]) {
        guard let version1 = Block(bytes[...], wordSize: 4), version1.version >= UInt8(ascii: "2"),
            let block = Block(bytes.dropFirst(version1.size), wordSize: 8)
        else { return nil }
        let data = bytes.dropFirst(version1.size).dropFirst(Block.headerSize)
        func number(_ offset: Int, _ size: Int) -> Int64 {
            var number: UInt64 = 0
            for byte in data.dropFirst(offset).prefix(size) { number = number << 8 | UInt64(byte) }
            return size == 8 ? Int64(bitPattern: number) : Int64(Int32(truncatingIfNeeded: number))
        }
        let indices = block.times * 8
        let types = indices + block.times
        let offsets = (0..<block.types).map { Int(number(types + 6 * $0, 4)) }
        guard let first = offsets.first, offsets.allSatisfy({ abs($0) < 26 * 3600 }) else { return nil }
        self.first = first
        for place in 0..<block.times {
            let type = Int(data.dropFirst(indices + place).first ?? 0)
            let at = number(8 * place, 8)
            guard offsets.indices.contains(type), at > changes.last?.at ?? .min else { return nil }
            changes.append((at, offsets[type]))
        }
        let footer = bytes.dropFirst(version1.size + block.size)
        guard footer.first == UInt8(ascii: "\n"), footer.last == UInt8(ascii: "\n"), footer.count >= 2 else {
            return nil
        }
        let text = String(decoding: footer.dropFirst().dropLast(), as: UTF8.self)
        guard !text.isEmpty else { return }
        guard let rule = PosixRule(text) else { return nil }
        self.rule = rule
    }

    private struct Block {
        static let headerSize = 44
        let version: UInt8
        let times: Int
        let types: Int
        let size: Int

        init?(_ bytes: ArraySlice<UInt8>, wordSize: Int) {
            guard bytes.count >= Self.headerSize, bytes.starts(with: "TZif".utf8) else { return nil }
            let start = bytes.startIndex
            version = bytes[start + 4]
            let counts = (0..<6).map { place in
                bytes[(start + 20 + 4 * place)..<(start + 24 + 4 * place)].reduce(0) { $0 << 8 | Int($1) }
            }
            (times, types) = (counts[3], counts[4])
            let parts = [
                times * (wordSize + 1), types * 6, counts[5], counts[2] * (wordSize + 4), counts[1], counts[0],
            ]
            size = parts.reduce(Self.headerSize, +)
            guard size <= bytes.count else { return nil }
        }
    }

    /// The offset from UTC, in seconds east of it.
    func offset(at instant: Int64) -> Int {
        if let last = changes.last, instant >= last.at, rule == nil { return last.offset }
        guard let last = changes.last, instant < last.at else {
            return rule?.offset(at: instant) ?? first
        }
        var (low, high) = (0, changes.count)
        while low < high {
            let middle = (low + high) / 2
            if changes[middle].at <= instant { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? first : changes[low - 1].offset
    }

    /// By how much the offsets since 1970 differ at most.
    var spread: Int64 {
        var offsets = [offset(at: 0)] + (rule?.offsets ?? [])
        offsets += changes.lazy.filter { $0.at >= 0 }.map(\.offset)
        return Int64((offsets.max() ?? 0) - (offsets.min() ?? 0))
    }

    /// When clocks show a local time, given in seconds as if it were UTC: once, twice when they are set back over it, and
    /// never when they are set forward over it.
    func instants(ofLocal local: Int64) -> [Int64] {
        let day: Int64 = 86_400
        let offsets = Set([offset(at: local - day), offset(at: local), offset(at: local + day)])
        return offsets.map { local - Int64($0) }.filter { $0 + Int64(offset(at: $0)) == local }.sorted()
    }

    /// The instant of a local time that clocks leave out: as much later as they are set forward.
    func instantAfterGap(ofLocal local: Int64) -> Int64 { local - Int64(offset(at: local - 86_400)) }
}

/// What a zone's file says of the time after its last change: `CET-1CEST,M3.5.0,M10.5.0/3`.
private struct PosixRule {
    private let standard: Int
    /// Summer time: its offset, and when it begins and ends.
    private var summer: (offset: Int, start: Change, end: Change)?

    var offsets: [Int] { [standard] + (summer.map { [$0.offset] } ?? []) }

    private enum Day {
        /// The weekday's occurrence in a month, the fifth one being the last.
        case weekday(month: Int, week: Int, weekday: Int)
        /// 1 to 365, without February 29.
        case julian(Int)
        /// 0 to 365.
        case ordinal(Int)
    }

    private struct Change {
        var day: Day
        var time: Int
    }

    init?(_ text: String) {
        var rest = text.utf8[...]
        guard Self.name(&rest), let west = Self.time(&rest) else { return nil }
        standard = -west
        guard !rest.isEmpty else { return }
        guard Self.name(&rest) else { return nil }
        var offset = standard + 3600
        if rest.first != UInt8(ascii: ",") {
            guard let west = Self.time(&rest) else { return nil }
            offset = -west
        }
        guard let start = Self.change(&rest), let end = Self.change(&rest), rest.isEmpty else { return nil }
        summer = (offset, start, end)
    }

    private static func name(_ rest: inout Substring.UTF8View) -> Bool {
        if rest.first == UInt8(ascii: "<") {
            guard let end = rest.firstIndex(of: UInt8(ascii: ">")) else { return false }
            rest = rest[rest.index(after: end)...]
            return true
        }
        let name = rest.prefix { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) }
        rest = rest.dropFirst(name.count)
        return name.count >= 3
    }

    private static func number(_ rest: inout Substring.UTF8View) -> Int? {
        let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        rest = rest.dropFirst(digits.count)
        return digits.count <= 4 ? Int(String(decoding: digits, as: UTF8.self)) : nil
    }

    /// `[+-]h[:m[:s]]`, in seconds.
    private static func time(_ rest: inout Substring.UTF8View) -> Int? {
        let sign = rest.first
        if sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") { rest = rest.dropFirst() }
        var seconds = 0
        for unit in [3600, 60, 1] {
            if unit < 3600 {
                guard rest.first == UInt8(ascii: ":") else { break }
                rest = rest.dropFirst()
            }
            guard let number = number(&rest), number <= 167 else { return nil }
            seconds += number * unit
        }
        return sign == UInt8(ascii: "-") ? -seconds : seconds
    }

    private static func change(_ rest: inout Substring.UTF8View) -> Change? {
        guard rest.popFirst() == UInt8(ascii: ",") else { return nil }
        let day: Day
        switch rest.first {
        case UInt8(ascii: "M"):
            rest = rest.dropFirst()
            var numbers: [Int] = []
            for place in 0..<3 {
                if place > 0, rest.popFirst() != UInt8(ascii: ".") { return nil }
                guard let number = number(&rest) else { return nil }
                numbers.append(number)
            }
            guard (1...12).contains(numbers[0]), (1...5).contains(numbers[1]), (0...6).contains(numbers[2]) else {
                return nil
            }
            day = .weekday(month: numbers[0], week: numbers[1], weekday: numbers[2])
        case UInt8(ascii: "J"):
            rest = rest.dropFirst()
            guard let number = number(&rest), (1...365).contains(number) else { return nil }
            day = .julian(number)
        default:
            guard let number = number(&rest), number <= 365 else { return nil }
            day = .ordinal(number)
        }
        guard rest.first == UInt8(ascii: "/") else { return Change(day: day, time: 7200) }
        rest = rest.dropFirst()
        return time(&rest).map { Change(day: day, time: $0) }
    }

    func offset(at instant: Int64) -> Int {
        guard let summer else { return standard }
        let year = CivilDate(day: Self.day(instant + Int64(standard))).year
        let start = Self.instant(summer.start, year) - Int64(standard)
        let end = Self.instant(summer.end, year) - Int64(summer.offset)
        let isSummer = start < end ? (start..<end).contains(instant) : !(end..<start).contains(instant)
        return isSummer ? summer.offset : standard
    }

    private static func day(_ local: Int64) -> Int { Int((Double(local) / 86_400).rounded(.down)) }

    /// In local time, of whichever offset.
    private static func instant(_ change: Change, _ year: Int) -> Int64 {
        let newYear = CivilDate(year: year, month: 1, day: 1).dayNumber
        let day: Int
        switch change.day {
        case .julian(let number):
            day = newYear + number - 1 + (CivilDate.isLeap(year) && number >= 60 ? 1 : 0)
        case .ordinal(let number): day = newYear + number
        case .weekday(let month, let week, let weekday):
            let first = CivilDate(year: year, month: month, day: 1)
            let offset = (weekday - first.weekday + 7) % 7
            var date = 1 + offset + 7 * (week - 1)
            while date > CivilDate.days(in: month, of: year) { date -= 7 }
            day = CivilDate(year: year, month: month, day: date).dayNumber
        }
        return Int64(day) * 86_400 + Int64(change.time)
    }
}

/// A day of the Gregorian calendar.
struct CivilDate: Hashable, Sendable {
    var year: Int
    var month: Int
    var day: Int

    init(year: Int, month: Int, day: Int) {
        self.year = year
        self.month = month
        self.day = day
    }

    /// - Parameter number: Days since 1970-01-01.
    init(day number: Int) {
        // Years from March on, so that the leap day is a year's last one; eras of 400 years.
        let shifted = number + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// Days since 1970-01-01.
    var dayNumber: Int {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// 0 for Sunday.
    var weekday: Int { ((dayNumber + 4) % 7 + 7) % 7 }

    static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}
