// SPDX-License-Identifier: Apache-2.0

/// What the pages' examples use and do not show.
enum ExamplePrelude {
    /// At the top of each example's file.
    static let imports = """
        import Foundation
        import Glibc
        import Logging
        import Metrics
        import Muster
        import MusterServiceLifecycle
        import ServiceLifecycle
        import Synchronization
        """

    /// In a file of its own: a program's own types and functions.
    static let declarations = """
        struct Mailer: ServiceBase {
            let threadGroup = ThreadGroup(name: "mailer")
            func start() async throws {}
        }
        struct Web: ServiceBase {
            let socket: ListeningSocket
            let threadGroup = ThreadGroup(name: "web")
            func start() async throws {}
        }
        struct Conductor: ServiceBase {
            let threadGroup = ThreadGroup(name: "conductor")
            func start() async throws {}
        }
        struct API: ServiceBase, ServiceLifecycle.Service {
            var socket: ListeningSocket?
            let threadGroup = ThreadGroup(name: "api")
            func start() async throws {}
            func run() async throws {}
        }
        struct Database: ServiceLifecycle.Service {
            func run() async throws {}
            func ping() async throws {}
        }
        struct Lease: Sendable {
            func acquire() async throws {}
            func renewOrExit() async throws {}
        }
        final class GlobalPoolEngine: ExecutionEngine {
            let name: String
            let clock: any RuntimeClock
            let ledger: JobLedger
            init(_ context: BackendContext) throws {
                (name, clock) = (context.type.rawValue, context.clock)
                ledger = try JobLedger(backend: name, metrics: context.metrics)
            }
            func placeJob(named name: String) -> EngineExecutor { EngineExecutor(executor: globalConcurrentExecutor) }
            func runBlocking<Result: Sendable>(
                _ work: @escaping @Sendable () throws -> Result
            ) async throws -> Result { try work() }
            var nativeThreads: Int { 0 }
            var stalledTime: Duration { .zero }
            func releaseThreads() {}
        }
        let image = "image"
        func scale(_ image: String) throws -> Int { 0 }
        func removeOldThumbnails() throws {}
        struct Queue: Sendable { func hasMore() async throws -> Bool { true } }
        struct Connection: Sendable { func ask() async throws -> String { "" } }
        struct ConnectionError: Error {}
        struct Choice: Sendable { func usesThreads() throws -> Bool { true } }
        func deliver() async throws {}
        func deliverPendingMail() async throws {}
        func clean() async throws {}
        func sendReport() async throws {}
        func notifyOperators(_ text: String) async {}
        func flushIndex() async throws {}
        func indexEverything() async throws {}
        func poll() async throws {}
        func sync() async throws -> Bool { true }
        func importEverything() async throws {}
        func countEverything() async throws -> Int { 0 }
        func pingServer() async throws {}
        func dumpState() async {}
        func fetchWithABlockingLibrary(_ url: String) throws -> String { url }
        let url = ""
        let queue = Queue()
        let connection = Connection()
        let settings = Choice()
        let depth = Atomic<Int>(0)
        let database = Database()
        let api = API()
        let logger = Logger(label: "example")
        let threadGroup = ThreadGroup(name: "example")
        let group = threadGroup
        """
}
