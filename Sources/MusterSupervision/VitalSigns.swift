// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
package import MusterHealth
package import MusterPlatform
import Synchronization

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
/// | 192 | *bell*: the lock that the worker's first thread holds |
/// | 256 | health table: 32 entries of 320 bytes |
/// | 12288 | deadline cells |
/// | 65536 | samples of the worker's threads: ``ProcessInspector``, to the end of the file |
///
/// Instants are nanoseconds of `CLOCK_MONOTONIC`, which is the same clock in all processes. What both sides write often
/// lies in cache lines of its own.
///
/// A deadline cell holds the instant after which its owner counts as hung, or, with the opposite sign, when the present
/// turn of a further thread began; 0 while nothing is due and that thread sleeps.
///
/// A health entry is a sequence lock: word 0 is odd while the entry is being written, and has changed when it was
/// written during a copy. Word 1 is when the check reported, 2 since when it has had its status, 3 how long a report
/// counts in nanoseconds (0 for ever), 4 says whether the entry is used, its levels, status and the two texts' lengths,
/// a byte each; 5 to 12 are the name, 13 to 37 the reason.
enum VitalSignsLayout {
    /// What has never been used of it is not in memory.
    static let size = Offset.inspection + MemoryLayout<cmuster_inspection>.stride
    static let magic: UInt64 = 0x6C61_7469_765F_736D
    static let version: UInt64 = 3

    enum Offset {
        static let magic = 0
        static let version = 8
        static let limit = 16
        static let attention = 24
        static let turnStart = 64
        static let lastTurn = 72
        static let turns = 80
        static let deadlineCount = 128
        static let bell = 192
        static let health = 256
        static let deadlines = 12288
        static let inspection = 64 << 10
    }

    static let healthEntries = 32
    static let healthWords = 40
    static let longestName = 63
    static let longestReason = 200
    static let deadlines = (Offset.inspection - Offset.deadlines) / 8

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

/// The mapped memory of a vital-signs file.
///
/// Sound as `@unchecked Sendable`: the pointer never changes, and the memory is reached through atomics only.
final class VitalSignsMapping: @unchecked Sendable {
    let base: UnsafeMutableRawPointer

    init(descriptor: Int32) throws(VitalSignsError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(SystemError("fstat")) }
        guard cmuster_seals_forbid_resizing(cmuster_memory_file_seals(descriptor)) else { throw .notSealed }
        let size = Int(status.st_size)
        guard size == VitalSignsLayout.size else { throw .wrongSize(size) }
        guard let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), address != MAP_FAILED
        else { throw .system(SystemError("mmap")) }
        base = address
    }

    deinit {
        munmap(base, VitalSignsLayout.size)
    }

    @inline(__always)
    func instant(at offset: Int) -> UnsafeMutablePointer<Atomic<Int64>> {
        (base + offset).assumingMemoryBound(to: Atomic<Int64>.self)
    }

    @inline(__always)
    func word(at offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        (base + offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }

    @inline(__always)
    func deadline(_ index: Int) -> UnsafeMutablePointer<Atomic<Int64>> {
        instant(at: VitalSignsLayout.Offset.deadlines + 8 * index)
    }

    var inspection: UnsafeMutablePointer<cmuster_inspection> {
        (base + VitalSignsLayout.Offset.inspection).assumingMemoryBound(to: cmuster_inspection.self)
    }

    /// The words of an entry of the health table.
    func health(_ index: Int, _ word: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        self.word(at: VitalSignsLayout.Offset.health + 8 * (index * VitalSignsLayout.healthWords + word))
    }
}

/// A deadline that a worker publishes to its supervisor; the worker counts as hung when it passes.
///
/// The cell is freed with its last reference.
package final class DeadlineCell: Sendable {
    private let writer: VitalSignsWriter
    let index: Int

    init(_ writer: VitalSignsWriter, index: Int) {
        self.writer = writer
        self.index = index
    }

    deinit {
        writer.free(index)
    }

    /// Counts as hung from an instant on, unless set or cleared again before.
    ///
    /// - Parameter nanoseconds: The instant on the monotonic clock, in nanoseconds.
    package func set(_ nanoseconds: Int64) {
        writer.setDeadline(index, max(1, nanoseconds))
    }

    /// Counts as hung from an instant on, unless set or cleared again before.
    package func set(_ instant: MonotonicInstant) {
        set(instant.nanoseconds)
    }

    /// Nothing is due.
    package func clear() {
        writer.clearDeadline(index)
    }
}

/// The result of a worker's health check, as its supervisor sees it. A check whose levels have different results has
/// several.
package struct HealthSign: Hashable, Sendable {
    /// When a check reported that has not reported yet.
    package static let never = MonotonicInstant(nanoseconds: 0)

    /// The check's name, 63 bytes at most.
    package var name: String
    package var levels: Set<HealthLevel>
    /// The latest result; its reason has 200 bytes at most.
    package var result: HealthResult
    package var reportedAt: MonotonicInstant
    /// Since when the check has passed, warned or failed. Set by the writer.
    package var since: MonotonicInstant
    /// How long a report counts; zero for ever.
    package var maximumAge: Duration

    package init(
        name: String, levels: Set<HealthLevel>, result: HealthResult, reportedAt: MonotonicInstant,
        maximumAge: Duration = .zero
    ) {
        self.name = name
        self.levels = levels
        self.result = result
        self.reportedAt = reportedAt
        since = reportedAt
        self.maximumAge = maximumAge
    }

    /// Since when the check fails, or will fail when there is no further report; `nil` for never.
    package var failsFrom: MonotonicInstant? {
        if !result.isPassing { return since }
        return maximumAge > .zero ? reportedAt.advanced(by: maximumAge) : nil
    }

    /// Whether the latest report is too old to count.
    package func isStale(at now: MonotonicInstant) -> Bool {
        maximumAge > .zero && reportedAt.advanced(by: maximumAge) < now
    }

    /// Whether the check passes at an instant.
    package func isPassing(at now: MonotonicInstant) -> Bool {
        result.isPassing && !isStale(at: now)
    }
}

// How levels and results are stored.
extension HealthSign {
    private static let bits: [(level: HealthLevel, bit: UInt64)] = [(.live, 1), (.ready, 2), (.startup, 4)]

    var levelBits: UInt64 { Self.bits.reduce(0) { levels.contains($1.level) ? $0 | $1.bit : $0 } }

    static func levels(_ stored: UInt64) -> Set<HealthLevel> {
        Set(bits.filter { stored & $0.bit != 0 }.map(\.level))
    }

    var resultCode: UInt64 {
        switch result {
        case .pass: 0
        case .warn: 1
        case .fail: 2
        }
    }

    /// - Returns: `nil` for a code that no result has.
    static func result(_ code: UInt8, reason: String) -> HealthResult? {
        switch code {
        case 0: .pass
        case 1: .warn(reason)
        case 2: .fail(reason)
        default: nil
        }
    }
}

/// Why a file cannot be a worker's vital signs.
package enum VitalSignsError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It could be cut off, which would kill whoever reads behind its end.
    case notSealed
    /// It has another size.
    case wrongSize(Int)
    /// It was not made by this version of Muster.
    case foreign
    /// A system call failed.
    case system(SystemError)

    package var description: String {
        switch self {
        case .notSealed: "vital signs file not sealed against resizing"
        case .wrongSize(let size): "vital signs file has \(size) bytes instead of \(VitalSignsLayout.size)"
        case .foreign: "vital signs file was created by another program or version"
        case .system(let error): "cannot use the vital signs file: \(error)"
        }
    }
}
