// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform

/// The numbers of `/proc/PID/stat` that are of use here, read without allocating.
struct StatFields {
    /// Fields by their number in proc(5).
    enum Field: Int {
        case userTicks = 14
        case systemTicks = 15
        case threads = 20
        case startTicks = 22
        case virtualBytes = 23
        case residentPages = 24
    }

    private static let first = Field.userTicks.rawValue
    private static let last = Field.residentPages.rawValue

    /// The fields from ``Field/userTicks`` to ``Field/residentPages``.
    private var values = InlineArray<11, Double>(repeating: .nan)

    /// Reads the file from its beginning.
    ///
    /// - Parameter file: The open file; `nil` is returned when it cannot be read, as when the process is gone.
    init?(_ file: OwnedDescriptor) {
        let isRead = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2048) { buffer in
            let count = pread(file.rawValue, buffer.baseAddress, buffer.count, 0)
            guard count > 0 else { return false }
            return parse(UnsafeBufferPointer(rebasing: buffer[..<count]))
        }
        if !isRead { return nil }
    }

    subscript(_ field: Field) -> Double? {
        let value = values[field.rawValue - Self.first]
        return value.isNaN ? nil : value
    }

    func cpuSeconds(ticksPerSecond: Double) -> Double? {
        guard ticksPerSecond > 0, let user = self[.userTicks], let system = self[.systemTicks] else { return nil }
        return (user + system) / ticksPerSecond
    }

    private mutating func parse(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        // The second field is the program's name in parentheses and may contain anything.
        guard var index = text.lastIndex(of: UInt8(ascii: ")")) else { return false }
        var number = 2
        while number < Self.last {
            while index < text.count, text[index] != UInt8(ascii: " ") { index += 1 }
            index += 1
            number += 1
            guard index < text.count else { return false }
            guard number >= Self.first else { continue }
            var value = 0.0
            var end = index
            while end < text.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[end]) {
                value = value * 10 + Double(text[end] - UInt8(ascii: "0"))
                end += 1
            }
            if end > index { values[number - Self.first] = value }
        }
        return true
    }
}
