// SPDX-License-Identifier: Apache-2.0

import Glibc
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
