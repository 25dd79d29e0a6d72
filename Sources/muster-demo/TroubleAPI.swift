// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster
import SwiftOverlayShims

/// What goes wrong on request, to see what the runtime makes of it.
struct TroubleAPI: Sendable {
    let store: Store
    let engine: any ExecutionEngine

    private static let longestSeconds = 3600
    private static let pageSize = 4096

    static let help = """
        Trouble on request:
          GET    /block?seconds=S         block the thread of this request's job for S seconds: on the
                                          cooperative backend that is the hub, and /livez notices
          GET    /hang?seconds=S          the same with the lock of shard 0 held: on the threading backend
                                          the shard's looping call stands still, and /livez notices
          GET    /sleep?ms=N              answer after N ms, without blocking anything
          GET    /work?ms=N               keep a processor busy for N ms
          GET    /leak?mb=N               take N MiB of memory and never give them back
          GET    /exit?code=N             end the process at once with status N, from 0 to 255
          GET    /crash                   read past the end of an array, which ends the process
        """

    /// Makes trouble.
    ///
    /// - Returns: The answer, if it comes to that; `nil` when there is no such trouble.
    func respond(to name: String, _ request: HTTPRequest) async -> HTTPReply? {
        let route = "/\(name)"
        do {
            let text: String
            switch name {
            case "block": text = try block(request)
            case "hang": text = try hang(request)
            case "sleep": text = try await sleep(request)
            case "work": text = try work(request)
            case "leak": text = try leak(request)
            case "exit": try exit(request)
            case "crash": text = "read \(crashBecauseARequestAskedForIt(request.body))"
            default: return nil
            }
            return HTTPReply(route: route, text: text + "\n")
        } catch let error as BadParameter {
            return HTTPReply(route: route, status: 400, text: "\(error)\n")
        } catch {
            return HTTPReply(route: route, status: 503, text: "ended early: \(error)\n")
        }
    }

    private func block(_ request: HTTPRequest) throws -> String {
        let seconds = try request.number("seconds", in: 0...Self.longestSeconds)
        blockThread(seconds: seconds)
        return "blocked for \(seconds) s"
    }

    private func hang(_ request: HTTPRequest) throws -> String {
        let seconds = try request.number("seconds", in: 0...Self.longestSeconds)
        store.withShardLocked(0) { blockThread(seconds: seconds) }
        return "held the lock of shard 0 for \(seconds) s"
    }

    private func sleep(_ request: HTTPRequest) async throws -> String {
        let milliseconds = try request.integer("ms", in: 0...Self.longestSeconds * 1000)
        try await engine.sleep(for: .milliseconds(milliseconds))
        return "slept for \(milliseconds) ms"
    }

    private func work(_ request: HTTPRequest) throws -> String {
        let milliseconds = try request.integer("ms", in: 0...Self.longestSeconds * 1000)
        let end = MonotonicInstant.now.advanced(by: .milliseconds(milliseconds))
        var checksum: UInt64 = 0xcbf2_9ce4_8422_2325
        repeat {
            for number in 0..<10_000 as Range<UInt64> { checksum = (checksum ^ number) &* 0x100_0000_01b3 }
        } while MonotonicInstant.now < end
        return "worked for \(milliseconds) ms, checksum \(checksum)"
    }

    private func leak(_ request: HTTPRequest) throws -> String {
        let mebibytes = try request.integer("mb", in: 1...65536)
        let count = mebibytes << 20
        let pages = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let pages, pages != MAP_FAILED else { throw SystemError("map \(mebibytes) MiB") }
        // The system gives a page when it is written to.
        for offset in stride(from: 0, to: count, by: Self.pageSize) {
            pages.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
        }
        return "took \(mebibytes) MiB for ever"
    }

    private func exit(_ request: HTTPRequest) throws -> Never {
        _exit(Int32(try request.integer("code", in: 0...255)))
    }
}

/// Blocks the thread, as a call into a library that knows nothing of Swift's concurrency would. Not inlined: a
/// backtrace leaves the caller of the C library out, and so shows the caller of this.
@inline(never)
private func blockThread(seconds: Double) {
    var left = timespec(tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
    var rest = timespec()
    while nanosleep(&left, &rest) != 0, errno == EINTR { left = rest }
}

/// Crashes. A function of its own, so that a backtrace shows its name.
@inline(never)
private func crashBecauseARequestAskedForIt(_ bytes: [UInt8]) -> UInt8 {
    bytes[bytes.count]
}
