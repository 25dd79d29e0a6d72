// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

/// Compares the floors, the public interface and the page of the architecture with the sources and the built modules.
@Suite("The shape of the sources", .timeLimit(.minutes(5)))
struct ShapeTests {
    /// Where the tests' own products are.
    private static let products = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()

    private static func has(_ module: String, in products: URL) -> Bool {
        FileManager.default.fileExists(atPath: products.appendingPathComponent("Modules/\(module).swiftmodule").path)
    }

    private static var canCompile: Bool { find("swiftc") != nil && has("Muster", in: products) }

    private static let canReadInterface = canCompile && find("python3") != nil

    /// The public types of NIOCore, NIOPosix and NIOHTTP1 (2.80), which is not built for these tests, but for those whose
    /// names begin with NIO.
    private static let namesOfNIO = Set(
        """
        AcceptBackoffHandler AdaptiveRecvByteBufferAllocator AddressedEnvelope AllocatorOption
        AllowRemoteHalfClosureOption AutoReadOption BackPressureHandler BacklogOption ByteBuffer ByteBufferAllocator
        ByteBufferView ByteToMessageDecoder ByteToMessageDecoderError ByteToMessageHandler Channel ChannelCore
        ChannelDuplexHandler ChannelError ChannelEvent ChannelHandler ChannelHandlerContext ChannelInboundHandler
        ChannelInboundInvoker ChannelInvoker ChannelOption ChannelOptions ChannelOutboundHandler ChannelOutboundInvoker
        ChannelPipeline ChannelPipelineError ChannelShouldQuiesceEvent CircularBuffer ClientBootstrap CloseMode
        ConnectTimeoutOption DatagramBootstrap DatagramChannelError DatagramVectorReadMessageCountOption DecodingState
        Endianness EventLoop EventLoopError EventLoopFuture EventLoopGroup EventLoopIterator EventLoopPromise
        FileDescriptor FileRegion FixedSizeRecvByteBufferAllocator HTTPClientRequestPart HTTPClientResponsePart
        HTTPDecoder HTTPDecoderKind HTTPHeaders HTTPMethod HTTPParserError HTTPPart HTTPRequestDecoder
        HTTPRequestEncoder HTTPRequestHead HTTPResponseDecoder HTTPResponseEncoder HTTPResponseHead HTTPResponseStatus
        HTTPServerPipelineHandler HTTPServerProtocolErrorHandler HTTPServerProtocolUpgrader HTTPServerRequestPart
        HTTPServerResponsePart HTTPServerUpgradeErrors HTTPServerUpgradeEvents HTTPServerUpgradeHandler
        HTTPUpgradeConfiguration HTTPVersion IOData IOError IdleStateHandler MarkedCircularBuffer
        MaxMessagesPerReadOption MessageToByteEncoder MessageToByteHandler MultiThreadedEventLoopGroup MulticastChannel
        NonBlockingFileIO RecvAllocatorOption RecvByteBufferAllocator RemovableChannelHandler RemoveAfterUpgradeStrategy
        RepeatedTask Resolver Scheduled ServerBootstrap SingleConnectionFailure SocketAddress SocketAddressError
        SocketOption SocketOptionLevel SocketOptionName SocketOptionProvider SocketOptionValue System
        ThreadSpecificVariable TimeAmount UnixDomainSocketPathWrongType VsockAddress VsockChannelEvents
        WriteBufferWaterMark WriteBufferWaterMarkOption WriteObservingByteToMessageDecoder WriteSpinOption
        """.split { $0 == " " || $0 == "\n" })

    /// Runs the script that prints the shape.
    private func shape(_ arguments: [String]) async throws -> (status: Int32, output: String) {
        let script = Repository.root.appendingPathComponent("scripts/shape").path
        let program = try Program(
            "/usr/bin/env", ["python3", script] + arguments, environment: ["MUSTER_PRODUCTS": Self.products.path])
        let status = try await program.status(within: 120)
        return (status, "\(program.output)\(program.errors)")
    }

    /// Type-checks one file against built modules, with the module maps whose paths match a pattern of grep's, each of
    /// them once.
    private func typecheck(_ source: String, maps pattern: String) async throws -> (status: Int32, errors: String) {
        let folder = try TemporaryFolder()
        defer { withExtendedLifetime(folder) {} }
        let file = try folder.write(source, to: "main.swift")
        let compiler = try Program(
            "/usr/bin/env",
            [
                "bash", "-c",
                """
                maps=$(find -H "$0" "$1/Sources" "$1"/.build/checkouts/*/Sources -name module.modulemap | \
                    grep -E -- "$2" | grep -v -e '-tool.build' | \
                    awk -F/ '{ key = $(NF-1) == "include" ? $(NF-2) : $(NF-1) } !seen[key]++' | \
                    sed 's/^/-Xcc -fmodule-map-file=/')
                exec swiftc -typecheck -suppress-warnings -swift-version 6 -I "$0/Modules" $maps "$3"
                """, Self.products.path, Repository.root.path, pattern, file,
            ])
        return (try await compiler.status(within: 240), compiler.errors)
    }

    @Test("has no import against the floors of the manifest", .enabled(if: find("python3") != nil))
    func floors() async throws {
        let result = try await shape(["--no-interface", "--floors"])
        #expect(result.status == 0, "\(result.output)")
    }

    @Test("has the public interface that docs/api/Muster.txt shows", .enabled(if: canReadInterface))
    func interface() async throws {
        let result = try await shape(["--compare"])
        #expect(result.status == 0, "\(result.output)")
    }

    @Test(
        "has no public type whose name is taken by SwiftNIO, Foundation or the packages of the Swift server community",
        .enabled(if: canCompile))
    func names() async throws {
        let interface = try Repository.text("docs/api/Muster.txt")
        let declaration = /(?:@[A-Za-z]+ )*(?:final )?(class|struct|enum|protocol|actor) ([A-Za-z]+)[^\/]*/
        var source = """
            import CoreMetrics
            import Foundation
            import HTTPTypes
            import Logging
            import Metrics
            import Muster
            import ServiceLifecycle


            """
        var count = 0
        for line in interface.split(separator: "\n") {
            guard let match = line.wholeMatch(of: declaration) else { continue }
            count += 1
            #expect(!Self.namesOfNIO.contains(match.2) && !match.2.hasPrefix("NIO"), "\(match.2)")
            source += "typealias Name\(count) = \(match.1 == "protocol" ? "any " : "")\(match.2)\n"
        }
        #expect(count > 20)
        // As a program writes them.
        source += """
            struct Mailer: ServiceBase {
                let threadGroup = ThreadGroup(name: "mailer")
                func start() async throws {}
            }
            func program(backend: Backend, job: Job, loop: FixedIntervalLoopingCall, health: HealthRegistry) {}
            func launchers(one: ServiceLauncher, several: ProcessLauncher) {}
            """
        let result = try await typecheck(source, maps: ".")
        #expect(result.status == 0, "\(result.errors)")
    }

    @Test("lets a program that imports MusterMetrics do without the endpoint's C libraries", .enabled(if: canCompile))
    func metricsAlone() async throws {
        let source = """
            import MusterMetrics

            let jobs = try MetricRegistry.shared.counter("mailer_jobs_total", help: "Mails accepted.")
            jobs.increment()
            """
        // No module map of another C library is named, so that their headers cannot be read.
        let result = try await typecheck(source, maps: "/CMuster(.build)?/")
        #expect(result.status == 0, "\(result.errors)")
    }

    @Test("is shown by the page of the architecture, whose files exist")
    func files() throws {
        let sources = Repository.files(in: ["Sources"], endingIn: [".swift", ".c", ".h"])
        let names = try Repository.text("docs/architecture.md").matches(of: /`([A-Za-z\/+-]+\.(?:swift|c|h))`/)
        #expect(names.count > 10)
        for name in names where name.1 != "Package.swift" {
            #expect(sources.contains { "/\($0)".hasSuffix("/\(name.1)") }, "\(name.1)")
        }
    }
}
