// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
import Logging
import MusterPlatform

/// One run of the endpoint: the HTTP daemon, driven by an event loop of its own.
///
/// Sound as `@unchecked Sendable`: after `start` everything is touched on the loop's thread only.
final class EndpointServer: @unchecked Sendable {
    /// What the library keeps for a request between two calls; a pointer to a ``SuspendedRequest`` otherwise.
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
    let metrics: EndpointMetrics?
    let socket: ListeningSocket

    var daemon: OpaquePointer?
    var watch: EventLoop.Watch?
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
    var suspended: [ObjectIdentifier: SuspendedRequest] = [:]

    var fixed: [OpaquePointer] = []
    var acceptedMetrics = HeaderMemo<MetricsNegotiation>()
    var acceptedHealth = HeaderMemo<HealthNegotiation>()
    var acceptedCodings = HeaderMemo<Bool>()
    let scrapes: ScrapeResponses

    /// When the present pass began, in monotonic nanoseconds.
    var passStart: Int64 = 0

    init(
        configuration: EndpointConfiguration, socket: ListeningSocket, renderer: any MetricsRenderer,
        health: HealthRegistry, metrics: EndpointMetrics?
    ) throws(EndpointError) {
        self.configuration = configuration
        self.socket = socket
        self.health = health
        self.metrics = metrics
        do {
            loop = try EventLoop(name: Self.loopName, parking: .descriptors)
        } catch {
            throw .noResources(error)
        }
        scrapes = ScrapeResponses(
            renderer: renderer, metrics: metrics, compressionLevel: configuration.compressionLevel)
    }

    // MARK: Starting and stopping

    /// Starts to listen, on a thread of its own.
    ///
    /// - Parameter whenDone: Called on that thread when it ends.
    func start(whenDone: @escaping @Sendable () -> Void) throws(EndpointError) {
        if let problem = cmicrohttpd_load() {
            tearDown()
            throw .noLibrary(reason: String(cString: problem))
        }
        for response in FixedResponse.allCases {
            guard let made = make(response) else {
                tearDown()
                throw .noResources(SystemError("MHD_create_response_from_buffer", code: ENOMEM))
            }
            fixed.append(made)
        }
        daemon = cmicrohttpd_start(
            UInt32(configuration.connectionLimit), UInt32(configuration.perAddressConnectionLimit),
            configuration.requestSizeLimit, endpointHandleRequest, endpointCompletedRequest, endpointChangedConnection,
            Unmanaged.passUnretained(self).toOpaque())
        guard let daemon else {
            let error = SystemError("MHD_start_daemon")
            tearDown()
            throw .noResources(error)
        }
        do {
            watch = try loop.watch(cmicrohttpd_epoll_descriptor(daemon), for: .readable) { [self] _ in runPass() }
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

    /// Ends everything, and the loop's thread with it. To be called on the loop's thread.
    func stop() {
        guard !isStopping else { return }
        isStopping = true
        for request in suspended.values {
            request.evaluation?.cancel()
            MHD_resume_connection(request.connection)
        }
        suspended = [:]
        // Hands the refusals to the clients that have been waiting.
        if let daemon { MHD_run(daemon) }
        tearDown()
        loop.stop()
    }

    private func tearDown() {
        if let timer { loop.cancel(timer.action) }
        timer = nil
        if let watch { loop.unwatch(watch) }
        watch = nil
        pauseAccepting()
        socket.unlinkFile()
        socket.closeDescriptor()
        if let daemon { MHD_stop_daemon(daemon) }
        daemon = nil
        scrapes.tearDown()
        for response in fixed { MHD_destroy_response(response) }
        fixed = []
    }

    // MARK: The loop

    func runPass() {
        guard !isRunning, !isStopping, let daemon else { return }
        isRunning = true
        defer { isRunning = false }
        var isUnfinished = true
        for _ in 0..<4 where isUnfinished {
            passStart = MonotonicInstant.now.nanoseconds
            MHD_run(daemon)
            scrapes.endPass()
            var timeout: UInt64 = 0
            isUnfinished = MHD_get_timeout(daemon, &timeout) == .YES && timeout == 0
        }
        if isUnfinished { loop.submit { [self] in runPass() } }
        resumeAccepting()
        expire()
    }
}
