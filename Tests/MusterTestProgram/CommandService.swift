// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import Muster
import MusterLock
import Synchronization

/// Does what it is told, one command a connection.
final class CommandService: ServiceBase {
    let name: String
    let threadGroup: ThreadGroup

    private let socket: ListeningSocket
    private let options: ProgramOptions
    private let lock = BlockingLock()
    private let reporter = HealthReporter()
    private let checks = Locked<HealthRegistry?>(nil)
    private let resets = Atomic<Int>(0)
    private static let logger = Logger(label: "app")

    init(name: String, socket: ListeningSocket, options: ProgramOptions) {
        self.name = name
        self.socket = socket
        self.options = options
        threadGroup = ThreadGroup(name: name, capacity: 64)
    }

    func register(checks: HealthRegistry) {
        self.checks.withLock { $0 = checks }
        if options.hasCheck { register("\(name)-check") }
        if options.hasLiveCheck { register("\(name)-live", .live, maximumAge: .milliseconds(500)) }
        if options.hasRunningChecks {
            try? checks.register(.probe("probe", .ready) { .pass })
            try? checks.register(.asynchronous("job", .ready, maximumAge: .milliseconds(200)) {})
        }
        if options.expectsPlugins { try? checks.expect("plugins", at: .ready) }
    }

    private func register(_ check: String, _ level: HealthLevel = .ready, maximumAge: Duration = .seconds(3600)) {
        do {
            try checks.withLock { $0 }?.register(.reported(check, level, maximumAge: maximumAge, by: reporter))
        } catch {
            say("check refused: \(error)")
        }
    }

    private var who: String {
        "\(Worker.current?.description ?? "\(name)/-") \(getpid())"
    }

    // MARK: Life

    func start() async throws {
        say("starting \(who)")
        try await beginAsAsked()
        let counter = try MetricRegistry.shared.counter("test_commands_total", help: "Commands taken.")
        let gauge = try MetricRegistry.shared.gauge("test_generation", help: "A gauge of this process.")
        gauge.set(1)
        reporter.report(.pass)
        if options.hasLoop {
            try threadGroup.addTimer(name: "loop", interval: .milliseconds(10)) { [lock] in
                // On the threading backend a deadlock is seen by this loop only.
                lock.lock()
                lock.unlock()
            }
        }
        if let work = try options.work(on: Backend.current.type) {
            try threadGroup.addTimer(name: "work", interval: .milliseconds(50)) {
                let end = MonotonicInstant.now.advanced(by: work)
                // A timer is late by what differs between machines; the rest is spent to the microsecond.
                try await Backend.current.engine.sleep(for: work - .milliseconds(3))
                while MonotonicInstant.now < end {}
            }
        }
        if let timer = options.timer { try addTimer(timer) }
        try addPeriodicTasks()
        try await threadGroup.addThread(name: "accept") { [self] in try await acceptConnections(counter) }
        if options.hasLongJob {
            try await threadGroup.addThread(name: "long") { [who] in
                defer { say("cleaned \(who)") }
                try await withTaskCancellationHandler {
                    try await Backend.current.engine.sleep(for: .seconds(3600))
                } onCancel: {
                    say("cancelled \(who)")
                }
            }
        }
        say("started \(who) \(Backend.selection?.type.rawValue ?? "-")")
    }

    /// Adds a timer whose runs last longer than the limits of the tests, or that ends.
    private func addTimer(_ behaviour: String) throws {
        let engine = try Backend.current.engine
        let limit: Duration? = behaviour == "stall" ? .seconds(1) : nil
        try threadGroup.addDynamicTimer(name: "timer", stallLimit: limit) { [self] in
            say("run \(who)")
            switch behaviour {
            case "sleep": try await engine.sleep(for: .seconds(3))
            case "retry":
                let attempts = Atomic<Int>(0)
                try await RetryDecorator(delayIncrement: .milliseconds(1500), isRetryable: { _ in true }) {
                    if attempts.wrappingAdd(1, ordering: .relaxed).newValue < 3 { throw CommandError("told to fail") }
                }
            case "block-on-purpose": try await engine.runBlocking { _ = sleep(3) }
            case "block": blockOnPurpose()
            case "fail": throw CommandError("told to fail")
            case "stall": try await engine.sleep(for: .seconds(3600))
            default: return .seconds(3600)
            }
            say("ran \(who)")
            return .milliseconds(10)
        }
    }

    private func beginAsAsked() async throws {
        if let slot = options.startSlot, Worker.current?.slot != slot { return }
        var behaviour = options.start(of: name)
        var trigger = ""
        if let at = behaviour.firstIndex(of: "@") {
            trigger = String(behaviour[behaviour.index(after: at)...])
            guard access(trigger, F_OK) == 0 else { return }
            behaviour = String(behaviour[..<at])
        }
        switch behaviour {
        case "": break
        case "fail": throw CommandError("told to fail")
        case "hang": try await Backend.current.engine.sleep(for: .seconds(3600))
        case "block": blockOnPurpose()
        case "open": waitForWriter(of: trigger)
        case "trap": trapOnPurpose()
        default:
            if behaviour.hasPrefix("exit:"), let code = Int32(behaviour.dropFirst(5)) { exit(code) }
        }
    }

    func stop(graceful: Bool, until deadline: MonotonicInstant?) async throws {
        let left = deadline.map { MonotonicInstant.now.duration(to: $0) / .milliseconds(1) }
        say("stopping \(who) \(left.map { "\(Int($0))" } ?? "-")")
        if options.stop(of: name) == "hang" { try await Backend.current.engine.sleep(for: .seconds(3600)) }
        if options.stop(of: name) == "forget" { return }
        try await threadGroup.stop(graceful: graceful, until: deadline)
        say("stopped \(who)")
    }

    func reset() async throws {
        if options.failsToReset { throw CommandError("told to fail") }
        let count = resets.wrappingAdd(1, ordering: .relaxed).newValue
        say("reset \(who) \(count)")
    }

    // MARK: Commands

    private func acceptConnections(_ counter: CounterMetric) async throws {
        let engine = try Backend.current.engine
        while !Task.isCancelled {
            let connection = accept(socket.descriptor, nil, nil)
            if connection < 0 {
                // The worker has begun to end: nobody listens any more.
                if errno == EINVAL { return }
                try await engine.ready(socket.descriptor, for: .readable)
                continue
            }
            _ = fcntl(connection, F_SETFL, O_NONBLOCK)
            _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
            counter.increment()
            do {
                try await threadGroup.addThread(name: "command") { [self] in
                    defer { close(connection) }
                    try await serve(connection, engine)
                }
            } catch {
                // The end has begun in between: what is accepted is served all the same.
                defer { close(connection) }
                try await serve(connection, engine)
            }
        }
    }

    private func serve(_ connection: Int32, _ engine: any ExecutionEngine) async throws {
        var bytes: [UInt8] = []
        while !bytes.contains(UInt8(ascii: "\n")) {
            var chunk = [UInt8](repeating: 0, count: 256)
            let count = read(connection, &chunk, chunk.count)
            if count < 0, errno == EAGAIN {
                try await engine.ready(connection, for: .readable)
                continue
            }
            guard count > 0 else { return }
            bytes += chunk[..<count]
        }
        let words = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace).map(String.init)
        let reply = try await perform(words, engine)
        let text = Array("\(reply)\n".utf8)
        _ = write(connection, text, text.count)
    }

    private func addPeriodicTasks() throws {
        switch options.periodic {
        case "hang":
            try threadGroup.addPeriodicTasks([
                PeriodicTask("interrupted", .every(.seconds(3600)), on: .oneWorker, startsAtOnce: true) { [who] in
                    say("task-began \(who)")
                    try await Backend.current.engine.sleep(for: .seconds(3600))
                },
                PeriodicTask("held", .every(.milliseconds(100)), on: .oneWorker) { [who] in say("lease-held \(who)") },
            ])
        case "count":
            try threadGroup.addPeriodicTask(
                PeriodicTask("count", .every(.milliseconds(50)), on: .oneWorker) { [who] in say("task-ran \(who)") })
        default: break
        }
    }

    private func perform(_ words: [String], _ engine: any ExecutionEngine) async throws -> String {
        let argument = words.count > 1 ? Int(words[1]) ?? 0 : 0
        switch words.first {
        case "who": return who
        case "exit": exit(Int32(argument))
        case "trap": trapOnPurpose()
        case "abort": abort()
        case "sleep":
            say("sleeping \(who)")
            try await engine.sleep(for: .milliseconds(argument))
            return who
        case "block":
            say("blocking \(who)")
            blockOnPurpose()
        case "open":
            say("blocking \(who)")
            waitForWriter(of: words.dropFirst().joined(separator: " "))
            return who
        case "thread-values": return threadValues
        case "main-actor": return await MainActor.run { Self.isMainThread } ? "main" : "other"
        case "fill":
            fill(megabytes: argument)
            return who
        case "recycle":
            Worker.current?.recycle("told to")
            return who
        case "deadlock":
            say("blocking \(who)")
            deadlockOnPurpose()
            return who
        case "chatter":
            chatter()
        case "log":
            Self.logger.debug("\(words.dropFirst().joined(separator: " "))", metadata: ["own": "1"])
            return who
        case "close":
            close(Int32(argument))
            return who
        case "flood-channel":
            // The control channel, behind the arena and the vital signs.
            let packet: [UInt8] = [0xFF, 0xFF]
            for _ in 0..<argument where send(5, packet, packet.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)) < 0 {
                sched_yield()
            }
            return who
        case "timeout":
            let settings = try MusterSettings.load()
            return "\(settings.gracefulShutdownTimeout.components.seconds) \(settings.livenessLimit.components.seconds)"
        case "fail-check":
            reporter.report(.fail("told to fail"))
            return who
        case "pass-check":
            reporter.report(.pass)
            return who
        case "register-check":
            register("\(name)-check")
            return who
        case "unregister-live":
            checks.withLock { $0 }?.unregister("\(name)-live")
            return who
        case "unregister-check":
            checks.withLock { $0 }?.unregister("\(name)-check")
            return who
        case "unregister-running":
            for name in ["probe", "job"] { checks.withLock { $0 }?.unregister(name) }
            return who
        case "register-plugins":
            register("plugins")
            return who
        case "scribble":
            scribble(over: MetricRegistry.shared.arena.descriptor.rawValue)
            return who
        case "shell": return output(of: words.dropFirst().joined(separator: " "))
        default: return "unknown command"
        }
    }

    private static var isMainThread: Bool {
        var link = [CChar](repeating: 0, count: 64)
        // PID/task/TID.
        readlink("/proc/thread-self", &link, link.count - 1)
        return String(cString: link) == "\(getpid())/task/\(getpid())"
    }

    /// The first words behind the thread-specific values of this thread, among them libdispatch's with the thread's number.
    private var threadValues: String {
        let values = (0..<pthread_key_t(PTHREAD_KEYS_MAX)).compactMap { pthread_getspecific($0) }
        let memory = open("/proc/self/mem", O_RDONLY)
        defer { close(memory) }
        let words = values.compactMap { value -> Int32? in
            // Some are no addresses.
            var word: Int32 = 0
            return pread(memory, &word, 4, off_t(Int(bitPattern: value))) == 4 ? word : nil
        }
        return words.map { "\($0)" }.joined(separator: " ")
    }

    /// Takes memory that the kernel has to give back when the process ends.
    private func fill(megabytes: Int) {
        // An allocation that nothing reads, an optimizer takes away.
        _ = mmap(
            nil, megabytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | Int32(MAP_POPULATE), -1, 0)
    }

    /// Writes to standard output until nobody reads it, and then for ever; the looping call waits for the lock.
    private func chatter() -> Never {
        lock.lock()
        let line = [UInt8](repeating: UInt8(ascii: "."), count: 1024) + [UInt8(ascii: "\n")]
        while true { _ = write(STDOUT_FILENO, line, line.count) }
    }

    @inline(never)
    private func deadlockOnPurpose() {
        while true { lock.lock() }
    }
}

@inline(never)
private func blockOnPurpose() -> Never {
    // Not a sleep: signals end it, and backtraces do not get out of it.
    let lock = BlockingLock()
    while true { lock.lock() }
}

/// Blocks until somebody opens a named pipe for writing.
private func waitForWriter(of pipe: String) {
    close(open(pipe, O_RDONLY))
}

@inline(never)
private func trapOnPurpose() -> Never {
    let empty: [Int] = []
    let index = Int(getpid())
    // Out of range, by far.
    exit(Int32(truncatingIfNeeded: empty[index]))
}

/// What a shell command writes to its standard output.
private func output(of command: String) -> String {
    guard let stream = popen(command, "r") else { return "no shell" }
    defer { pclose(stream) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&chunk, 1, chunk.count, stream)
        guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
        bytes += chunk[..<count]
    }
}

/// Overwrites a memory file that this process shares with its supervisor.
private func scribble(over descriptor: Int32) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return }
    let size = Int(status.st_size)
    guard let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), memory != MAP_FAILED
    else { return }
    memset(memory, 0x5A, size)
    munmap(memory, size)
}
