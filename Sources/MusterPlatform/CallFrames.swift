// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A thread's registers, and the upper end of its stack, at one moment.
package struct ThreadSample: Sendable {
    package var thread: Int32
    /// In DWARF's order.
    package var registers: [UInt64]
    /// From the stack pointer on.
    package var stack: [UInt8]

    package init(thread: Int32, registers: [UInt64], stack: [UInt8]) {
        self.thread = thread
        self.registers = registers
        self.stack = stack
    }
}

/// The numbers of DWARF for the registers of this machine's kind of processor.
enum Register {
    #if arch(arm64)
    static let framePointer = 29
    static let stackPointer = 31
    static let programCounter = 32
    /// What of a return address is the address: the rest may be its signature.
    static let addresses: UInt64 = 0x0000_FFFF_FFFF_FFFF
    #else
    static let framePointer = 6
    static let stackPointer = 7
    static let programCounter = 16
    static let addresses = UInt64.max
    #endif
    static let count = programCounter + 1
}

/// The state of a thread in one of its functions, from which that of the caller is found.
struct FrameState {
    /// `nil` for those that are not known.
    var registers: [UInt64?]
    /// Whether a signal has interrupted the function; otherwise it has called one.
    var isInterrupted = true
    private let stackStart: UInt64
    private let stack: [UInt8]

    init(_ sample: ThreadSample) {
        registers = sample.registers.prefix(Register.count).map { $0 }
        registers += repeatElement(nil, count: Register.count - registers.count)
        stack = sample.stack
        stackStart = registers[Register.stackPointer] ?? 0
    }

    var programCounter: UInt64 { registers[Register.programCounter] ?? 0 }

    /// An address in the instruction that runs or calls: the one after a call may belong to another function.
    var instruction: UInt64 { isInterrupted ? programCounter : programCounter &- 1 }

    /// A word of the stack; `nil` for what was not copied.
    func word(at address: UInt64) -> UInt64? {
        guard address >= stackStart, let position = Int(exactly: address - stackStart), position <= stack.count - 8
        else { return nil }
        return stack.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: position, as: UInt64.self) }
    }

    /// Goes to the caller of a function that a signal has interrupted where it makes or takes down its frame.
    ///
    /// - Parameters:
    ///   - code: The interrupted instruction and what follows, and the byte before it.
    ///   - isDescribed: Whether the image describes the function. What it says is right at the beginning, but need not be at
    ///     the end, where nothing is thrown.
    /// - Returns: Whether it was such a place.
    mutating func leaveUnfinishedFrame(_ code: ArraySlice<UInt8>, after before: UInt8, isDescribed: Bool) -> Bool {
        #if arch(x86_64)
        guard isInterrupted, let sp = registers[Register.stackPointer] else { return false }
        let (push, pop, ret): (UInt8, UInt8, UInt8) = (0x55, 0x5D, 0xC3)
        let isBare = code.first == ret || (!isDescribed && code.first == push)
        // `pop %rbp; ret`, and `mov %rsp,%rbp` after `push %rbp`.
        let isPushed =
            code.starts(with: [pop, ret]) || (!isDescribed && before == push && code.starts(with: [0x48, 0x89, 0xE5]))
        guard isBare || isPushed, let pc = word(at: isBare ? sp : sp &+ 8), pc != 0 else { return false }
        if isPushed { registers[Register.framePointer] = word(at: sp) }
        registers[Register.stackPointer] = sp &+ (isBare ? 8 : 16)
        registers[Register.programCounter] = pc
        isInterrupted = false
        return true
        #else
        return false
        #endif
    }

    /// Goes to the caller by the chain of frame pointers, where nothing else is known.
    ///
    /// - Returns: `false` at the chain's end.
    mutating func followFramePointer() -> Bool {
        guard let frame = registers[Register.framePointer], let sp = registers[Register.stackPointer], frame >= sp,
            let next = word(at: frame), let pc = word(at: frame &+ 8), pc != 0
        else { return false }
        registers[Register.framePointer] = next
        registers[Register.stackPointer] = frame &+ 16
        registers[Register.programCounter] = pc & Register.addresses
        isInterrupted = false
        return true
    }
}

/// What an image says about how its functions save registers: the call frame information of DWARF in `.eh_frame`.
struct CallFrames {
    private enum Rule {
        case sameValue
        case undefined
        case offset(Int64)
        case valueOffset(Int64)
        case register(Int)
        case expression(Range<Int>)
        case valueExpression(Range<Int>)
    }

    private enum Base {
        case register(Int, Int64)
        case expression(Range<Int>)
    }

    private struct Row {
        var base = Base.register(Register.stackPointer, 0)
        var rules = [Rule](repeating: .sameValue, count: Register.count)
    }

    private struct Common {
        var codeAlignment: UInt64 = 1
        var dataAlignment: Int64 = 1
        var returnColumn = Register.programCounter
        var pointerEncoding: UInt8 = 0
        var isSignalFrame = false
        var hasAugmentation = false
        var instructions = 0..<0
    }

    let image: ElfImage

    /// A description that is longer is not one: the longest of real ones has some thousand bytes.
    private static let longestRecord: UInt32 = 1 << 16

    /// What became of a step to the caller.
    enum Step {
        case done
        /// It is the thread's first function.
        case end
        /// The image does not say.
        case unknown
    }

    /// Whether there is something about the function at an address.
    func describes(_ pc: UInt64) -> Bool { description(for: pc).map { row(at: $0, for: pc) != nil } ?? false }

    /// Goes to the caller.
    ///
    /// - Parameter bias: How far the image was moved to its place in memory.
    func step(_ state: inout FrameState, bias: UInt64) -> Step {
        let pc = state.instruction &- bias
        guard let position = description(for: pc), let (row, common) = row(at: position, for: pc) else {
            return .unknown
        }
        let base: UInt64?
        switch row.base {
        case .register(let number, let offset):
            base = register(number, of: state).map { $0 &+ UInt64(bitPattern: offset) }
        case .expression(let range): base = evaluate(range, state, pushing: nil)
        }
        guard let base else { return .unknown }
        var registers = state.registers
        registers[Register.stackPointer] = base
        var isFirst = false
        for (number, rule) in row.rules.enumerated() {
            switch rule {
            case .sameValue: break
            case .undefined:
                registers[number] = nil
                if number == common.returnColumn { isFirst = true }
            case .offset(let offset): registers[number] = state.word(at: base &+ UInt64(bitPattern: offset))
            case .valueOffset(let offset): registers[number] = base &+ UInt64(bitPattern: offset)
            case .register(let other): registers[number] = register(other, of: state)
            case .expression(let range):
                registers[number] = evaluate(range, state, pushing: base).flatMap { state.word(at: $0) }
            case .valueExpression(let range): registers[number] = evaluate(range, state, pushing: base)
            }
        }
        if isFirst { return .end }
        guard common.returnColumn < Register.count,
            let pc = registers[common.returnColumn].map({ $0 & Register.addresses }), pc != 0
        else { return .end }
        let sp = state.registers[Register.stackPointer] ?? 0
        guard base > sp || (base == sp && pc != state.programCounter) else { return .end }
        registers[Register.programCounter] = pc
        state.registers = registers
        state.isInterrupted = common.isSignalFrame
        return .done
    }

    private func register(_ number: Int, of state: FrameState) -> UInt64? {
        number < Register.count ? state.registers[number] : nil
    }

    /// Where the description of the function at an address is, by the image's sorted index.
    private func description(for pc: UInt64) -> Int? {
        guard let index = image.frameIndex else { return nil }
        var cursor = ByteCursor(image.bytes, at: index.position)
        // The only encodings in use: the frames' address and the number of entries with 4 bytes, the entries relative.
        guard cursor.next(UInt32.self) == 0x3B03_1B01 else { return nil }
        cursor.skip(4)
        let count = Int(cursor.next(UInt32.self))
        let table = cursor.position
        guard count > 0, table <= image.bytes.count, count <= (image.bytes.count - table) / 8 else { return nil }
        func entry(_ number: Int, _ part: Int) -> UInt64 {
            let value = image.bytes.loadUnaligned(fromByteOffset: table + 8 * number + part, as: Int32.self)
            return index.address &+ UInt64(bitPattern: Int64(value))
        }
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if entry(middle, 0) <= pc { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : image.position(ofAddress: entry(low - 1, 4))
    }

    private func row(at position: Int, for pc: UInt64) -> (Row, Common)? {
        var cursor = ByteCursor(image.bytes, at: position)
        let length = cursor.next(UInt32.self)
        let start = cursor.position
        guard length >= 8, length <= Self.longestRecord, Int(length) <= image.bytes.count - start else { return nil }
        let end = start + Int(length)
        cursor.end(at: end)
        let common = common(at: start - Int(cursor.next(UInt32.self)))
        guard let common, let first = pointer(common.pointerEncoding, &cursor) else { return nil }
        guard let size = pointer(common.pointerEncoding & 0x0F, &cursor), pc >= first, pc - first < size else {
            return nil
        }
        if common.hasAugmentation { cursor.skip(cursor.unsignedLEB()) }
        var row = Row()
        var beginning = Row()
        let isRead =
            run(common.instructions, common, &row, beginning: beginning, from: first, to: UInt64.max)
            && {
                beginning = row
                return (start...end).contains(cursor.position)
                    && run(cursor.position..<end, common, &row, beginning: beginning, from: first, to: pc)
            }()
        return isRead ? (row, common) : nil
    }

    private func common(at position: Int) -> Common? {
        var cursor = ByteCursor(image.bytes, at: position)
        let length = cursor.next(UInt32.self)
        let start = cursor.position
        guard position >= 0, length >= 8, length <= Self.longestRecord, start <= image.bytes.count,
            Int(length) <= image.bytes.count - start, cursor.next(UInt32.self) == 0
        else { return nil }
        let end = start + Int(length)
        cursor.end(at: end)
        var common = Common()
        cursor.skip(1)
        let augmentation = cursor.text()
        common.codeAlignment = cursor.unsignedLEB()
        common.dataAlignment = cursor.signedLEB()
        common.returnColumn = Int(clamping: cursor.unsignedLEB())
        common.hasAugmentation = augmentation.first == UInt8(ascii: "z")
        guard common.hasAugmentation || augmentation.isEmpty else { return nil }
        if common.hasAugmentation {
            let length = cursor.unsignedLEB()
            let rest = cursor.position.addingReportingOverflow(Int(clamping: length)).partialValue
            for letter in augmentation.dropFirst() {
                switch letter {
                case UInt8(ascii: "R"): common.pointerEncoding = cursor.next()
                case UInt8(ascii: "L"): cursor.skip(1)
                case UInt8(ascii: "P"): _ = pointer(cursor.next(UInt8.self), &cursor)
                case UInt8(ascii: "S"): common.isSignalFrame = true
                // "B": return addresses are signed on 64-bit ARM.
                default: break
                }
            }
            cursor.position = rest
        }
        guard (start...end).contains(cursor.position) else { return nil }
        common.instructions = cursor.position..<end
        return common
    }

    /// A pointer as an encoding of DWARF has it.
    private func pointer(_ encoding: UInt8, _ cursor: inout ByteCursor) -> UInt64? {
        let place = cursor.position
        let value: UInt64
        switch encoding & 0x0F {
        case 0x00, 0x04, 0x0C: value = cursor.next()
        case 0x01: value = cursor.unsignedLEB()
        case 0x02: value = UInt64(cursor.next(UInt16.self))
        case 0x03: value = UInt64(cursor.next(UInt32.self))
        case 0x09: value = UInt64(bitPattern: cursor.signedLEB())
        case 0x0A: value = UInt64(bitPattern: Int64(cursor.next(Int16.self)))
        case 0x0B: value = UInt64(bitPattern: Int64(cursor.next(Int32.self)))
        default: return nil
        }
        switch encoding & 0x70 {
        case 0x00: return value
        // Relative to the place itself.
        case 0x10: return image.address(ofOffset: UInt64(place)).map { $0 &+ value }
        default: return nil
        }
    }

    /// Runs instructions that change the row, up to that of an address.
    private func run(
        _ range: Range<Int>, _ common: Common, _ row: inout Row, beginning: Row, from first: UInt64, to pc: UInt64
    ) -> Bool {
        var cursor = ByteCursor(image.bytes, at: range.lowerBound)
        cursor.end(at: range.upperBound)
        var place = first
        var saved: [Row] = []
        func set(_ number: UInt64, _ rule: Rule) {
            guard let index = Int(exactly: number), index < Register.count else { return }
            row.rules[index] = rule
        }
        func original(_ number: UInt64) -> Rule {
            Int(exactly: number).flatMap { $0 < Register.count ? beginning.rules[$0] : nil } ?? .sameValue
        }
        func scaled(_ number: UInt64) -> Int64 { Int64(truncatingIfNeeded: number) &* common.dataAlignment }
        func block() -> Range<Int> {
            let length = Int(clamping: cursor.unsignedLEB())
            let start = min(cursor.position, range.upperBound)
            let end = length > range.upperBound - start ? range.upperBound : start + length
            cursor.position = end
            return start..<end
        }
        while cursor.position < range.upperBound {
            let instruction = cursor.next(UInt8.self)
            let low = UInt64(instruction & 0x3F)
            var advance: UInt64 = 0
            switch instruction {
            case 0x40...0x7F: advance = low
            case 0x80...0xBF: set(low, .offset(scaled(cursor.unsignedLEB())))
            case 0xC0...0xFF: set(low, original(low))
            case 0x00: break
            case 0x01:
                guard let target = pointer(common.pointerEncoding, &cursor) else { return false }
                if target > pc { return true }
                place = target
            case 0x02: advance = UInt64(cursor.next(UInt8.self))
            case 0x03: advance = UInt64(cursor.next(UInt16.self))
            case 0x04: advance = UInt64(cursor.next(UInt32.self))
            case 0x05: set(cursor.unsignedLEB(), .offset(scaled(cursor.unsignedLEB())))
            case 0x06:
                let number = cursor.unsignedLEB()
                set(number, original(number))
            case 0x07: set(cursor.unsignedLEB(), .undefined)
            case 0x08: set(cursor.unsignedLEB(), .sameValue)
            case 0x09: set(cursor.unsignedLEB(), .register(Int(clamping: cursor.unsignedLEB())))
            case 0x0A: if saved.count < 16 { saved.append(row) }
            case 0x0B: if let previous = saved.popLast() { row = previous }
            case 0x0C:
                row.base = .register(
                    Int(clamping: cursor.unsignedLEB()), Int64(truncatingIfNeeded: cursor.unsignedLEB()))
            case 0x0D:
                let number = Int(clamping: cursor.unsignedLEB())
                if case .register(_, let offset) = row.base { row.base = .register(number, offset) }
            case 0x0E:
                let offset = Int64(truncatingIfNeeded: cursor.unsignedLEB())
                if case .register(let number, _) = row.base { row.base = .register(number, offset) }
            case 0x0F: row.base = .expression(block())
            case 0x10: set(cursor.unsignedLEB(), .expression(block()))
            case 0x11: set(cursor.unsignedLEB(), .offset(cursor.signedLEB() &* common.dataAlignment))
            case 0x12:
                row.base = .register(Int(clamping: cursor.unsignedLEB()), cursor.signedLEB() &* common.dataAlignment)
            case 0x13:
                let offset = cursor.signedLEB() &* common.dataAlignment
                if case .register(let number, _) = row.base { row.base = .register(number, offset) }
            case 0x14: set(cursor.unsignedLEB(), .valueOffset(scaled(cursor.unsignedLEB())))
            case 0x15: set(cursor.unsignedLEB(), .valueOffset(cursor.signedLEB() &* common.dataAlignment))
            case 0x16: set(cursor.unsignedLEB(), .valueExpression(block()))
            case 0x2D: break
            case 0x2E: _ = cursor.unsignedLEB()
            default: return false
            }
            guard advance > 0 else { continue }
            let (delta, overflow) = advance.multipliedReportingOverflow(by: common.codeAlignment)
            guard !overflow, pc >= place, pc - place >= delta else { return true }
            place += delta
        }
        return true
    }

    /// Evaluates an expression, as those of signal handlers' frames and of the tables of other libraries' functions are.
    private func evaluate(_ range: Range<Int>, _ state: FrameState, pushing first: UInt64?) -> UInt64? {
        var cursor = ByteCursor(image.bytes, at: range.lowerBound)
        cursor.end(at: range.upperBound)
        var stack = first.map { [$0] } ?? []
        while cursor.position < range.upperBound, stack.count < 32 {
            let operation = cursor.next(UInt8.self)
            switch operation {
            case 0x08: stack.append(UInt64(cursor.next(UInt8.self)))
            case 0x09: stack.append(UInt64(bitPattern: Int64(cursor.next(Int8.self))))
            case 0x0A: stack.append(UInt64(cursor.next(UInt16.self)))
            case 0x10: stack.append(cursor.unsignedLEB())
            case 0x11: stack.append(UInt64(bitPattern: cursor.signedLEB()))
            case 0x30...0x4F: stack.append(UInt64(operation - 0x30))
            case 0x70...0x8F:
                guard let value = register(Int(operation - 0x70), of: state) else { return nil }
                stack.append(value &+ UInt64(bitPattern: cursor.signedLEB()))
            case 0x06:
                guard let value = stack.popLast().flatMap({ state.word(at: $0) }) else { return nil }
                stack.append(value)
            case 0x23:
                guard let value = stack.popLast() else { return nil }
                stack.append(value &+ cursor.unsignedLEB())
            case 0x1A, 0x1C, 0x22, 0x24, 0x2A:
                guard let right = stack.popLast(), let left = stack.popLast() else { return nil }
                switch operation {
                case 0x1A: stack.append(left & right)
                case 0x1C: stack.append(left &- right)
                case 0x22: stack.append(left &+ right)
                case 0x24: stack.append(right < 64 ? left << right : 0)
                default: stack.append(Int64(bitPattern: left) >= Int64(bitPattern: right) ? 1 : 0)
                }
            default: return nil
            }
        }
        return stack.last
    }
}
