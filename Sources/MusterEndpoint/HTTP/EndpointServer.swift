// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
import Logging
import MusterPlatform
import Synchronization

/// One run of the endpoint: the HTTP daemon, driven by an event loop of its own.
///
/// Sound as `@unchecked Sendable`: after `start` everything is touched on the loop's thread only.
final class EndpointServer: @unchecked Sendable {
    /// What the library keeps for a request between two calls; a pointer to a ``Suspension`` otherwise.
    enum Mark {
        static var seen: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }
        static var scrape: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 2) }

        static func isPlain(_ pointer: UnsafeMutableRawPointer?) -> Bool {
            pointer == nil || pointer == seen || pointer == scrape
        }
    }

    static let loopName = "muster-http"

    let loop: EventLoop
    let configuration: EndpointConfiguration
    let health: HealthRegistry
    let status: StatusResponses
    let metrics: EndpointMetrics?
    let socket: ListeningSocket

    /// The one without TLS and the one with it, each made when the first connection needs it.
    var daemons: [HTTPDaemon] = []
    /// `nil` while no more connections are accepted.
    var listening: EventLoop.Watch?
    var isShortOfDescriptors = false
    var timer: (action: EventLoop.ScheduledAction, deadline: Int64)?
    var isStopping = false
    var isRunning = false

    let silent = ConnectionList()
    let answering = ConnectionList()
    var connectionCount = 0
    var scrapesUnderWay = 0
    var suspended: [ObjectIdentifier: Suspension] = [:]

    var fixed: [OpaquePointer] = []
    var acceptedMetrics = HeaderMemo<MetricsNegotiation>()
    var acceptedHealth = HeaderMemo<HealthNegotiation>()
    var acceptedCodings = HeaderMemo<Bool>()
    var acceptedPages = HeaderMemo<StatusFormat>()
    let scrapes: ScrapeResponses

    /// Who is let in; `nil` for everybody.
    var access: AccessControl?
    let logger: Logger
    private let secure = Atomic<Bool>(false)

    /// When the present pass began, in monotonic nanoseconds.
    var passStart: Int64 = 0

    init(
        configuration: EndpointConfiguration, socket: ListeningSocket, renderer: any MetricsRenderer,
        health: HealthRegistry, status: StatusBoard, metrics: EndpointMetrics?, webConfig: WebConfigSource?,
        logger: Logger
    ) throws(EndpointError) {
        self.configuration = configuration
        self.socket = socket
        self.health = health
        self.status = StatusResponses(status)
        self.metrics = metrics
        self.logger = logger
        do {
            loop = try EventLoop(name: Self.loopName, parking: .descriptors)
        } catch {
            throw .noResources(error)
        }
        scrapes = ScrapeResponses(
            renderer: renderer, metrics: metrics, compressionLevel: configuration.compressionLevel)
        guard let webConfig else { return }
        let desk = LoginDesk(loop: loop, check: configuration.passwordCheck) { [weak self] in self?.resume($0) }
        access = AccessControl(
            source: webConfig, desk: desk, opensProbes: configuration.opensProbes, logger: logger, metrics: metrics)
    }

    /// Whether new connections are encrypted. May be asked on any thread.
    var isSecure: Bool { secure.load(ordering: .relaxed) }

    // MARK: Starting and stopping

    /// Starts to listen, on a thread of its own.
    ///
    /// - Parameter whenDone: Called on that thread when it ends.
    func start(whenDone: @escaping @Sendable () -> Void) throws(EndpointError) {
        if let problem = cmicrohttpd_load() {
            tearDown()
            throw .noLibrary(reason: String(cString: problem))
        }
        guard makeFixedResponses() else {
            tearDown()
            throw .noResources(SystemError("MHD_create_response_from_buffer", code: ENOMEM))
        }
        do {
            try openDaemon()
            listening = try loop.watch(socket.descriptor, for: .readable) { [self] _ in acceptConnections() }
            try loop.attachThread(name: Self.loopName, whenDone: whenDone)
        } catch let error as EventLoopError {
            tearDown()
            guard case .cannotWatch(_, let cause) = error else { throw .noResources(SystemError("epoll", code: EBUSY)) }
            throw .noResources(cause)
        } catch let error as SystemError {
            tearDown()
            throw .noResources(error)
        } catch {
            tearDown()
            throw .noResources(SystemError("pthread_create", code: EAGAIN))
        }
    }

    /// Makes the daemon that new connections need, unless it is there.
    ///
    /// - Returns: The daemon.
    @discardableResult
    func openDaemon() throws -> HTTPDaemon {
        let material = access?.material
        secure.store(material != nil, ordering: .relaxed)
        if let daemon = daemons.first(where: { $0.isSecure == (material != nil) }) { return daemon }
        let daemon = try HTTPDaemon(
            configuration, material?.settings, context: Unmanaged.passUnretained(self).toOpaque())
        daemon.watch = try loop.watch(daemon.descriptor, for: .readable) { [self] _ in runPass() }
        daemons.append(daemon)
        return daemon
    }

    /// Ends everything, and the loop's thread with it. To be called on the loop's thread.
    func stop() {
        guard !isStopping else { return }
        isStopping = true
        for request in suspended.values {
            request.cancel()
            MHD_resume_connection(request.connection)
        }
        suspended = [:]
        // Hands the refusals to the clients that have been waiting.
        for daemon in daemons { MHD_run(daemon.pointer) }
        tearDown()
        loop.stop()
    }

    private func tearDown() {
        if let timer { loop.cancel(timer.action) }
        timer = nil
        for daemon in daemons {
            if let watch = daemon.watch { loop.unwatch(watch) }
            daemon.watch = nil
        }
        pauseAccepting()
        socket.unlinkFile()
        socket.closeDescriptor()
        for daemon in daemons { daemon.stop() }
        daemons = []
        scrapes.tearDown()
        status.forget()
        dropFixedResponses()
    }

    // MARK: The loop

    func runPass() {
        guard !isRunning, !isStopping else { return }
        isRunning = true
        defer { isRunning = false }
        var isUnfinished = true
        for _ in 0..<4 where isUnfinished {
            passStart = MonotonicInstant.now.nanoseconds
            isUnfinished = false
            for daemon in daemons { MHD_run(daemon.pointer) }
            scrapes.endPass()
            for daemon in daemons where daemon.isUnfinished { isUnfinished = true }
        }
        if isUnfinished { loop.submit { [self] in runPass() } }
        resumeAccepting()
        expire()
    }
}
