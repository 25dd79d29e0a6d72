// SPDX-License-Identifier: Apache-2.0

import Instrumentation
import Synchronization

/// The recorded span that something happened in.
struct TraceReference: Hashable, Sendable {
    let trace: (high: UInt64, low: UInt64)
    let span: UInt64

    init(trace: (high: UInt64, low: UInt64), span: UInt64) {
        self.trace = trace
        self.span = span
    }

    /// The span of a context, which an instrument tells only in what it sends to other services.
    ///
    /// - Returns: `nil` where there is none, where it is not recorded, and where the instrument does not send W3C's header
    ///   `traceparent`.
    init?(_ context: ServiceContext, of instrument: any Instrument) {
        var header: String?
        instrument.inject(context, into: &header, using: Injector())
        guard let header, let reference = TraceReference(traceparent: header) else { return nil }
        self = reference
    }

    private struct Injector: Instrumentation.Injector {
        func inject(_ value: String, forKey key: String, into carrier: inout String?) {
            if key.utf8.count == 11, key.lowercased() == "traceparent" { carrier = value }
        }
    }

    /// Reads a header: `00-<32 digits>-<16 digits>-<flags>`.
    init?(traceparent text: String) {
        let bytes = Array(text.utf8)
        let dash = UInt8(ascii: "-")
        guard bytes.count >= 55, bytes[2] == dash, bytes[35] == dash, bytes[52] == dash,
            let version = Self.number(bytes[0..<2]), version != 0xFF, version > 0 || bytes.count == 55,
            let high = Self.number(bytes[3..<19]), let low = Self.number(bytes[19..<35]), high | low != 0,
            let span = Self.number(bytes[36..<52]), span != 0, let flags = Self.number(bytes[53..<55]), flags & 1 == 1
        else { return nil }
        self.init(trace: (high, low), span: span)
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> UInt64? {
        var number: UInt64 = 0
        for digit in digits {
            switch digit {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): number = number << 4 | UInt64(digit - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): number = number << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
            default: return nil
            }
        }
        return number
    }

    static func == (first: TraceReference, second: TraceReference) -> Bool {
        first.trace == second.trace && first.span == second.span
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(trace.low)
        hasher.combine(span)
    }
}

/// One observation of a bucket, and the span that it was made in.
struct Exemplar: Hashable, Sendable {
    var reference: TraceReference
    var value: Double
    /// Milliseconds since 1970.
    var time: UInt64

    /// The longest text: the labels, the value and the instant.
    static let maximumLength = 4 + 10 + 32 + 10 + 16 + 4 + NumberFormat.maximumLength + 24

    /// Writes what stands behind a bucket's count in OpenMetrics.
    ///
    /// - Returns: How many bytes were written.
    func write(to target: UnsafeMutablePointer<UInt8>) -> Int {
        var end = target
        Self.write(" # {trace_id=\"", to: &end)
        Self.write(reference.trace.high, to: &end)
        Self.write(reference.trace.low, to: &end)
        Self.write("\",span_id=\"", to: &end)
        Self.write(reference.span, to: &end)
        Self.write("\"} ", to: &end)
        end += NumberFormat.write(value, to: end)
        Self.write(" ", to: &end)
        end += NumberFormat.write(Double(time) / 1000, to: end)
        return end - target
    }

    private static func write(_ text: StaticString, to end: inout UnsafeMutablePointer<UInt8>) {
        end.update(from: text.utf8Start, count: text.utf8CodeUnitCount)
        end += text.utf8CodeUnitCount
    }

    private static func write(_ number: UInt64, to end: inout UnsafeMutablePointer<UInt8>) {
        for place in 0..<16 {
            let digit = UInt8(truncatingIfNeeded: number >> UInt64(60 - 4 * place)) & 0xF
            end[place] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
        }
        end += 16
    }
}

/// The exemplars of an arena: slots, each for the buckets that come to it, of which the latest one has it.
///
/// Writers neither lock nor wait. A slot that two have written at once, or that was written while it was read, is told by
/// its checksum, and shows nothing. Until something is traced no page of it is touched.
struct ExemplarTable {
    static let slotSize = 64
    /// For an arena of the usual size; small ones have none.
    static let slots = 1024
    static let smallestArena = 1 << 20
    /// A bucket's exemplar stays for so long, in milliseconds: to find one is the costly part of a traced observation.
    private static let lifetime: UInt64 = 1000
    /// Behind the exemplar and its checksum.
    private static let missWord = 7

    // The memory behind the pointers lives as long as the arena's mapping, which whoever uses the table holds, and is
    // touched by atomics only.
    private let first: UnsafeMutablePointer<Atomic<UInt64>>
    private let mark: UnsafeMutablePointer<Atomic<UInt64>>
    private let count: Int

    init?(_ mapping: ArenaMapping, _ header: ArenaHeader) {
        guard header.exemplarSlots > 0 else { return nil }
        first = mapping.cell(at: header.exemplarOffset)
        mark = mapping.cell(at: ArenaLayout.Offset.hasExemplars)
        count = header.exemplarSlots
    }

    /// Whether an exemplar was ever written.
    var isUsed: Bool { mark.pointee.load(ordering: .relaxed) != 0 }

    private func slot(of key: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        let hash = UInt64(key >> 3) &* 0x9E37_79B9_7F4A_7C15
        return first + (Int(truncatingIfNeeded: hash >> 32) & (count - 1)) * (Self.slotSize / 8)
    }

    /// Whether a bucket's slot is to be written again: not if it was in this second, nor if an observation of this millisecond
    /// was in no recorded span, as most are where few are sampled.
    ///
    /// - Parameters:
    ///   - key: The offset of the bucket's cell in the arena.
    ///   - time: The present time.
    func isDue(_ key: Int, at time: UInt64) -> Bool {
        let slot = slot(of: key)
        return time &- (slot + 2).pointee.load(ordering: .relaxed) >= Self.lifetime
            && (slot + Self.missWord).pointee.load(ordering: .relaxed) != time
    }

    /// An observation of the bucket was in no recorded span.
    func recordMiss(of key: Int, at time: UInt64) {
        (slot(of: key) + Self.missWord).pointee.store(time, ordering: .relaxed)
    }

    func write(_ exemplar: Exemplar, for key: Int) {
        let slot = slot(of: key)
        let reference = exemplar.reference
        let words = [
            UInt64(key), exemplar.value.bitPattern, exemplar.time, reference.trace.high, reference.trace.low,
            reference.span,
        ]
        for (place, word) in words.enumerated() { (slot + place).pointee.store(word, ordering: .relaxed) }
        (slot + words.count).pointee.store(Self.checksum(words), ordering: .relaxed)
        if !isUsed { mark.pointee.store(1, ordering: .relaxed) }
    }

    /// The exemplar of a bucket, if it has one that is in order.
    ///
    /// - Parameter bounds: Between what the observation has to be: above the first, and at most the second.
    func exemplar(of key: Int, within bounds: (low: Double, high: Double)) -> Exemplar? {
        let slot = slot(of: key)
        guard slot.pointee.load(ordering: .relaxed) == UInt64(key) else { return nil }
        let words = (0..<6).map { (slot + $0).pointee.load(ordering: .relaxed) }
        let value = Double(bitPattern: words[1])
        guard (slot + 6).pointee.load(ordering: .relaxed) == Self.checksum(words), words[0] == UInt64(key),
            value.isFinite, value > bounds.low, value <= bounds.high, words[3] | words[4] != 0, words[5] != 0,
            words[2] < 1 << 53
        else { return nil }
        return Exemplar(
            reference: TraceReference(trace: (words[3], words[4]), span: words[5]), value: value, time: words[2])
    }

    static func checksum(_ words: [UInt64]) -> UInt64 {
        var sum: UInt64 = 0
        for word in words {
            sum = (sum ^ word) &* 0x9FB2_1C65_1E98_DF25
            sum ^= sum >> 32
        }
        return sum
    }
}
