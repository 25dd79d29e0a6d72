// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite("Backtraces")
struct BacktraceTests {
    /// A library with thousands of functions.
    private func library() throws -> [UInt8] {
        let maps = try #require(SmallFile.beginning(of: "/proc/self/maps", limit: 16 << 20))
        let line = try #require(maps.split(separator: "\n").first { $0.contains("/libc.so") || $0.contains("/libc-") })
        return try #require(try? Array(rawFile(String(line.split(separator: " ").last ?? ""))))
    }

    private func rawFile(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw SystemError("fstat") }
        return [UInt8](unsafeUninitializedCapacity: Int(status.st_size)) { buffer, count in
            count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
        }
    }

    @Test("Whatever is in an image, and in a sample, a backtrace ends without a trap")
    func damaged() throws {
        var bytes = try library()
        var random = SplitMix64(seed: 1)
        func step(_ bytes: UnsafeRawBufferPointer, _ count: Int, _ random: inout SplitMix64) -> Int {
            guard let image = ElfImage(bytes) else { return 0 }
            var done = 0
            for _ in 0..<count {
                var registers = (0..<33).map { _ in random.next() }
                registers[Register.programCounter] = random.next() % UInt64(bytes.count)
                let stack = (0..<512).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                var state = FrameState(ThreadSample(thread: 1, registers: registers, stack: stack))
                if case .done = CallFrames(image: image).step(&state, bias: 0) { done += 1 }
                _ = state.followFramePointer()
            }
            _ = image.symbols(at: [random.next() % UInt64(bytes.count), random.next()])
            return done
        }
        #expect(bytes.withUnsafeBytes { step($0, 500, &random) } > 100)
        let index = try #require(bytes.withUnsafeBytes { ElfImage($0)?.frameIndex?.position })
        for round in 0..<Scale.of(60) {
            // Its headers, what the index of frames and the frames say, or the rest.
            let range = [0..<512, index..<min(bytes.count, index + 200_000), 0..<bytes.count][round % 3]
            let places = (0..<(round % 3 == 0 ? 3 : 500)).map { _ in
                range.lowerBound + Int(random.next() % UInt64(range.count))
            }
            let before = places.map { bytes[$0] }
            for place in places { bytes[place] = UInt8(truncatingIfNeeded: random.next()) }
            _ = bytes.withUnsafeBytes { step($0, 100, &random) }
            for (place, byte) in zip(places, before).reversed() { bytes[place] = byte }
        }
        #expect(bytes[..<1000].withUnsafeBytes { ElfImage(UnsafeRawBufferPointer(rebasing: $0[..<3])) } == nil)
    }

    /// An image with one function, whose description has an augmentation of some length.
    private func image(augmentation length: [UInt8]) -> [UInt8] {
        func bytes(_ numbers: any FixedWidthInteger...) -> [UInt8] {
            func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
                withUnsafeBytes(of: number.littleEndian, Array.init)
            }
            return numbers.flatMap { bytes($0) }
        }
        func record(_ content: [UInt8]) -> [UInt8] { bytes(UInt32(content.count)) + content }
        let common = record(
            bytes(UInt32(0)) + [1, 0x7A, 0x52, 0, 1, 0x78, UInt8(Register.programCounter), 1, 0]
                + [0x0C, UInt8(Register.stackPointer), 8, 0x80 | UInt8(Register.programCounter), 1, 0, 0])
        let index = 64 + 2 * 56
        let (first, second) = (index + 20, index + 20 + common.count)
        var image: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1] + Array(repeating: 0, count: 58)
        image.replaceSubrange(32..<40, with: bytes(UInt64(64)))
        image.replaceSubrange(54..<58, with: bytes(UInt16(56), UInt16(2)))
        image += bytes(UInt32(1), UInt32(5), UInt64(0), UInt64(0), UInt64(0), UInt64(4096), UInt64(4096), UInt64(0))
        let place = UInt64(index)
        image += bytes(UInt32(0x6474_E550), UInt32(4), place, place, place, UInt64(20), UInt64(20), UInt64(0))
        image += bytes(UInt32(0x3B03_1B01), UInt32(0), UInt32(1), Int32(0x10 - index), Int32(second - index))
        image += common
        image += record(bytes(UInt32(second + 4 - first), UInt64(0x10), UInt64(0x10)) + length + [0, 0, 0])
        return image
    }

    @Test("A description that goes on before its beginning is none", .timeLimit(.minutes(1)))
    func wrapped() {
        func step(_ augmentation: [UInt8]) -> CallFrames.Step? {
            image(augmentation: augmentation).withUnsafeBytes { bytes in
                var registers = [UInt64](repeating: 0x1000, count: Register.count)
                registers[Register.programCounter] = 0x18
                let stack = [UInt8](repeating: 7, count: 64)
                var state = FrameState(ThreadSample(thread: 1, registers: registers, stack: stack))
                return ElfImage(bytes).map { CallFrames(image: $0).step(&state, bias: 0) }
            }
        }
        #expect(step([0]) == .done)
        #expect(step(Array(repeating: 0xFF, count: 9) + [1]) == .unknown)
    }

    @Test("A file that becomes shorter while it is read costs nothing, and one is read once")
    func truncated() throws {
        let folder = try TemporaryFolder()
        let path = folder.path("lib.so")
        #expect(FileManager.default.createFile(atPath: path, contents: Data(try library())))
        let image = try #require(ElfImage.ofFile(path))
        #expect(ElfImage.ofFile(path) === image)
        let index = try #require(image.frameIndex)
        #expect(truncate(path, 0) == 0)
        #expect(image.bytes[index.position] == 1)
        #expect(image.bytes.reduce(0) { $0 ^ $1 } == image.bytes.reversed().reduce(0) { $0 ^ $1 })
        #expect(ElfImage.ofFile(path) == nil)
        let own = try #require(ElfImage.ofFile("/proc/self/exe"))
        #expect(own.frameIndex != nil)
    }

    @Test(
        "Names are those of the language, without what only tells one from another of the same name",
        arguments: [
            ("proto.recurse(Swift.Int) async -> ()", "proto.recurse(Int)"),
            ("(1) await resume partial function for proto.recurse(Swift.Int) async -> ()", "proto.recurse(Int)"),
            (
                "MusterPlatform.EventLoop.(park in _BF20D1CAB1BCF9E675B4D5E43F895116)(keepAlive: "
                    + "Swift.Optional<Swift.Duration>) -> MusterPlatform.EventLoop.(After in _BF20D1CAB1BCF9E675B4D5E43F895116)",
                "MusterPlatform.EventLoop.park(keepAlive: Optional<Duration>)"
            ),
            (
                "closure #1 @Sendable () -> () in a.B.(launch in _BF20D1CAB1BCF9E675B4D5E43F895116)(f: (Swift.Int) -> ()) throws -> ()",
                "closure #1 in a.B.launch(f: (Int) -> ())"
            ),
            (
                "function signature specialization <Arg[1] = Owned To Guaranteed> of generic specialization <a.B<Swift.Int>> of "
                    + "closure #2 () -> () in a.c<A where A: a.P>(A) -> ()", "closure #2 in a.c<A where A: a.P>(A)"
            ),
            (
                "protocol witness for Muster.P.wait() -> Muster.S in conformance Muster.W : Muster.P in Muster",
                "Muster.P.wait()"
            ),
            ("static a.MySwift.x.getter : Swift.Int", "static a.MySwift.x.getter"),
            ("a.> infix(a.B, a.B) -> Swift.Bool", "a.> infix(a.B, a.B) -> Bool"), ("", ""), ("(((", "((("),
            (" in _)", " in _)"),
        ])
    func names(demangled: String, shown: String) {
        #expect(SymbolName.simplified(demangled) == shown)
    }

    @Test("Symbols of other languages stay what they are")
    func otherNames() {
        #expect(SymbolName.readable("$s5proto7recurseyySiYaFTY0_") == "proto.recurse(Int)")
        #expect(SymbolName.readable("main") == "main")
        #expect(SymbolName.readable("_ZN5swift3fooEi") == "swift::foo(int)")
    }
}
