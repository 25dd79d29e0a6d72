// SPDX-License-Identifier: Apache-2.0

/// How a vital-signs file is laid out, in bytes. All numbers are 8 bytes in the machine's order, at offsets divisible
/// by 8; both processes are the same executable, so the version only guards against a foreign file.
///
/// | offset | what |
/// |---|---|
/// | 0 | magic number |
/// | 8 | version |
/// | 16 | *limit*: how long a turn may take, in nanoseconds; written by the supervisor |
/// | 24 | *attention*: the instant of the supervisor's next look, 0 when the worker need not wake it |
/// | 64 | *turnStart*: when the main loop's present turn began, 0 while it sleeps |
/// | 72 | *lastTurn*: when its latest turn began |
/// | 80 | *turns*: how many it has made |
/// | 128 | *deadlineCount*: how many deadline cells have ever been used |
/// | 256 | health table: 32 entries of 320 bytes |
/// | 12288 | deadline cells: to the end of the file |
///
/// Instants are nanoseconds of `CLOCK_MONOTONIC`, which is the same clock in all processes. What both sides write often
/// lies in cache lines of its own.
///
/// A deadline cell holds the instant after which whoever owns it counts as hung, and 0 while nothing is due.
///
/// A health entry is a sequence lock: word 0 is odd while the entry is being written, and has changed when it was
/// written during a copy. Word 1 is when the check reported, 2 since when it has had its status, 3 how long a report
/// counts in nanoseconds (0 for ever), 4 says whether the entry is used, its levels, status and the two texts' lengths,
/// a byte each; 5 to 12 are the name, 13 to 37 the reason.
enum VitalSignsLayout {
    static let size = 64 << 10
    static let magic: UInt64 = 0x6C61_7469_765F_736D
    static let version: UInt64 = 1

    enum Offset {
        static let magic = 0
        static let version = 8
        static let limit = 16
        static let attention = 24
        static let turnStart = 64
        static let lastTurn = 72
        static let turns = 80
        static let deadlineCount = 128
        static let health = 256
        static let deadlines = 12288
    }

    static let healthEntries = 32
    static let healthWords = 40
    static let nameWords = 8
    static let reasonWords = 25
    static let longestName = 63
    static let longestReason = 200
    static let deadlines = (size - Offset.deadlines) / 8

    enum HealthWord {
        static let sequence = 0
        static let reportedAt = 1
        static let since = 2
        static let maximumAge = 3
        static let flags = 4
        static let name = 5
        static let reason = 13
        /// How many words are copied.
        static let count = 38
    }
}
