// SPDX-License-Identifier: Apache-2.0

import Glibc
import HTTPTypes
import Muster
import SwiftOverlayShims

/// What goes wrong on request, to see what the runtime makes of it. Each is a thread of the group: it may last, and is
/// cancelled when the client leaves.
struct TroubleAPI: Sendable {
    let store: Store
    let threadGroup: ThreadGroup
    let pool: WorkPool

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
          GET    /compute?ms=N            the same in a pool of one to four threads; 16 requests wait
                                          for one, and more are refused
          GET    /leak?mb=N               take N MiB of memory and never give them back
          GET    /exit?code=N             end the process at once with status N, from 0 to 255
          GET    /crash                   read past the end of an array, which ends the process
        """

    /// The routes' handlers by their names.
    var handlers: [(name: String, handler: HTTPRouter.Handler)] {
        // Not the methods themselves: as such a backtrace would not have their names.
        [
            ("block", onThread { try block($0) }), ("hang", onThread { try hang($0) }),
            ("sleep", onThread { try await sleep($0) }), ("work", onThread { try work($0) }),
            ("compute", { [self] in try await compute($0) }), ("leak", onThread { try leak($0) }),
            ("exit", onThread { try exit($0) }),
            ("crash", onThread { crash($0) }),
        ]
    }

    private func onThread(
        _ trouble: @escaping @Sendable (HTTPServer.Request) async throws -> String
    ) -> HTTPRouter.Handler {
        { [threadGroup] request in
            do {
                let thread = try threadGroup.tryAddThread(name: "request") {
                    do {
                        return HTTPServer.Response.text(try await trouble(request) + "\n")
                    } catch let error as BadParameter {
                        return .text("\(error)\n", status: .badRequest)
                    }
                }
                return try await withTaskCancellationHandler {
                    try await thread.result()
                } onCancel: {
                    thread.cancel()
                }
            } catch let error as ThreadGroupError {
                return .text("\(error)\n", status: .serviceUnavailable)
            } catch {
                return .text("ended early: \(error)\n", status: .serviceUnavailable)
            }
        }
    }

    private func block(_ request: HTTPServer.Request) throws -> String {
        let seconds = try request.number("seconds", in: 0...Self.longestSeconds)
        blockThread(seconds: seconds)
        return "blocked for \(seconds) s"
    }

    private func hang(_ request: HTTPServer.Request) throws -> String {
        let seconds = try request.number("seconds", in: 0...Self.longestSeconds)
        store.withShardLocked(0) { blockThread(seconds: seconds) }
        return "held the lock of shard 0 for \(seconds) s"
    }

    private func sleep(_ request: HTTPServer.Request) async throws -> String {
        let milliseconds = try request.integer("ms", in: 0...Self.longestSeconds * 1000)
        try await Backend.current.engine.sleep(for: .milliseconds(milliseconds))
        return "slept for \(milliseconds) ms"
    }

    private func work(_ request: HTTPServer.Request) throws -> String {
        let milliseconds = try request.integer("ms", in: 0...Self.longestSeconds * 1000)
        let end = MonotonicInstant.now.advanced(by: .milliseconds(milliseconds))
        var checksum: UInt64 = 0xcbf2_9ce4_8422_2325
        repeat {
            for number in 0..<10_000 as Range<UInt64> { checksum = (checksum ^ number) &* 0x100_0000_01b3 }
        } while MonotonicInstant.now < end
        return "worked for \(milliseconds) ms, checksum \(checksum)"
    }

    private func compute(_ request: HTTPServer.Request) async throws -> HTTPServer.Response {
        do {
            let task = try pool.trySubmit { HTTPServer.Response.text(try work(request) + "\n") }
            return try await withTaskCancellationHandler {
                try await task.result()
            } onCancel: {
                task.cancel()
            }
        } catch let error as BadParameter {
            return .text("\(error)\n", status: .badRequest)
        } catch let error as WorkPoolError {
            return .text("\(error)\n", status: .serviceUnavailable)
        }
    }

    private func leak(_ request: HTTPServer.Request) throws -> String {
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

    private func exit(_ request: HTTPServer.Request) throws -> String {
        _exit(Int32(try request.integer("code", in: 0...255)))
    }

    private func crash(_ request: HTTPServer.Request) -> String {
        "read \(crashBecauseARequestAskedForIt(Array(request.path.utf8)))"
    }
}

/// A parameter of a request is missing or not what it should be.
private struct BadParameter: Error, CustomStringConvertible {
    let name: String
    let wanted: String

    var description: String { "\(name) must be \(wanted)" }
}

extension HTTPServer.Request {
    /// A whole number of the query.
    fileprivate func integer(_ name: String, in range: ClosedRange<Int>) throws(BadParameter) -> Int {
        guard let value = query(name).flatMap({ Int($0) }), range.contains(value) else {
            throw BadParameter(name: name, wanted: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A number of the query.
    fileprivate func number(_ name: String, in range: ClosedRange<Int>) throws(BadParameter) -> Double {
        guard let value = query(name).flatMap({ Double($0) }),
            (Double(range.lowerBound)...Double(range.upperBound)).contains(value)
        else { throw BadParameter(name: name, wanted: "from \(range.lowerBound) to \(range.upperBound)") }
        return value
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
