// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterPlatform
import MusterTestSupport

@testable import MusterSupervision

/// What a ``ScenarioProcess`` does; each returns 0 when everything was as it should be.
enum Scenario: String, CaseIterable {
    case collidingDescriptors
    case signalsOfTheParent
    case failuresLeakNothing
    case manyChildrenLeakNothing
    case foreignChildrenAreReaped
    case stopsAreSignalled
    case reapedBySomebodyElse
    // Started by tests that look at what they do.
    case retitles
    case leavesWorkers
    case orphanThatStops
    case orphanThatHangs
    case takesSockets
    case isInspected

    /// Those that need nothing but to be run.
    static let independent: [Scenario] = [
        .collidingDescriptors, .signalsOfTheParent, .failuresLeakNothing, .manyChildrenLeakNothing,
        .foreignChildrenAreReaped, .stopsAreSignalled, .reapedBySomebodyElse,
    ]

    func run() throws -> Int32 {
        switch self {
        case .collidingDescriptors: try collidingDescriptors()
        case .signalsOfTheParent: try signalsOfTheParent()
        case .failuresLeakNothing: try failuresLeakNothing()
        case .manyChildrenLeakNothing: try manyChildrenLeakNothing()
        case .foreignChildrenAreReaped: try foreignChildrenAreReaped()
        case .stopsAreSignalled: try stopsAreSignalled()
        case .reapedBySomebodyElse: try reapedBySomebodyElse()
        case .retitles: retitles()
        case .leavesWorkers: try leavesWorkers()
        case .orphanThatStops: try orphanThatStops()
        case .orphanThatHangs: try orphanThatHangs()
        case .takesSockets: try takesSockets()
        case .isInspected: try isInspected()
        }
    }

    // MARK: Descriptors

    /// Hands over descriptors of every order and place, and has the child say on each which one it got.
    private func collidingDescriptors() throws -> Int32 {
        guard openDescriptors() == [0, 1, 2] else { return 1 }
        var numbers: [Int32] = [3, 4, 5, 6, 100, 1000]
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        numbers.append(Int32(min(limit.rlim_cur, 1 << 20)) - 1)
        var orders: [[Int32]] = [
            [3, 4, 5], [3, 5, 4], [4, 3, 5], [4, 5, 3], [5, 3, 4], [5, 4, 3], [6, 5, 4, 3], [4, 100, 3],
            [1000, 3, 100, 4], [numbers[6], 3, 4], [5], [100], [3, 4, 5, 6, 100, 1000], [1000, 100, 6, 5, 4, 3],
        ]
        orders += orders.map { $0.reversed() }
        for order in orders {
            for keepsOpen in [false, true] {
                let code = try handOver(order, closeOnExec: !keepsOpen)
                if code != 0 { return code }
            }
        }
        return openDescriptors() == [0, 1, 2] ? 0 : 9
    }

    private func handOver(_ order: [Int32], closeOnExec: Bool) throws -> Int32 {
        // Far from all numbers in question.
        var readers: [Int32] = []
        var strays: [Int32] = []
        defer { for descriptor in readers + strays + order { close(descriptor) } }
        for number in order {
            var ends: [Int32] = [-1, -1]
            guard pipe(&ends) == 0 else { return 2 }
            readers.append(fcntl(ends[0], F_DUPFD_CLOEXEC, 500))
            strays.append(fcntl(ends[1], F_DUPFD, 600))
            close(ends[0])
            close(ends[1])
            guard dup2(strays[strays.count - 1], number) == number else { return 3 }
            _ = fcntl(number, F_SETFD, closeOnExec ? FD_CLOEXEC : 0)
        }
        // What the child may have is only what it was given, although the strays are open to programs.
        let script = """
            i=3; for n in "$@"; do eval "echo $n >&$i"; i=$((i+1)); done
            eval "ls /proc/self/fd >&3"
            """
        let child = try ChildProcess.shell(script, ["sh"] + order.map(String.init), descriptors: order)
        for descriptor in strays + order { close(descriptor) }
        strays = []
        guard child.waitForEnd().termination == .exited(code: 0) else { return 4 }
        for (index, number) in order.enumerated() {
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = read(readers[index], &buffer, buffer.count)
            let lines = String(decoding: buffer[..<max(0, count)], as: UTF8.self).split(separator: "\n").map(
                String.init)
            guard lines.first == "\(number)" else { return 5 }
            guard index == 0 else { continue }
            // The folder that `ls` reads is the next free number.
            let expected = Set((0..<Int32(order.count) + 4).map(String.init))
            guard Set(lines.dropFirst()) == expected else { return 6 }
        }
        return 0
    }

    // MARK: Signals

    private func signalsOfTheParent() throws -> Int32 {
        var set = sigset_t()
        sigfillset(&set)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        for number in [SIGTERM, SIGPIPE, SIGHUP, SIGINT, SIGUSR1, SIGTSTP, 40, 63] { signal(number, SIG_IGN) }
        let pipe = try Pipe()
        let child = try ChildProcess.spawn(
            SpawnRequest(
                executable: "/bin/sh", title: "sh", arguments: ["-c", "exec cat /proc/self/status >&3"],
                descriptors: [pipe.writing]))
        let status = pipe.rest()
        guard child.waitForEnd().termination == .exited(code: 0) else { return 1 }
        // The C library has two signals of its own, 32 and 33, ignored in whatever it starts.
        let own: UInt64 = 3 << 31
        for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
            let line = status.split(separator: "\n").first { $0.hasPrefix("\(field):") }
            guard let mask = line?.split(separator: "\t").last.flatMap({ UInt64($0, radix: 16) }), mask & ~own == 0
            else { return 2 }
        }
        return 0
    }

    private func stopsAreSignalled() throws -> Int32 {
        let pipe = cmuster_signal_pipe_open()
        guard pipe >= 0, cmuster_signal_install(SIGCHLD) == 0 else { return 1 }
        let child = try ChildProcess.spawn(
            SpawnRequest(executable: "/bin/sleep", title: "sleep", arguments: ["1000"]))
        func next() -> ChildEvent? {
            while true {
                if let event = child.poll() { return event }
                var entry = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
                guard Glibc.poll(&entry, 1, 30_000) != 0 else { return nil }
                var bytes = [UInt8](repeating: 0, count: 64)
                _ = read(pipe, &bytes, bytes.count)
            }
        }
        child.send(SIGSTOP)
        guard next() == .stopped(signal: SIGSTOP) else { return 2 }
        child.send(SIGCONT)
        guard next() == .continued else { return 3 }
        child.send(SIGKILL)
        guard case .exited(let end)? = next(), end.termination == .signaled(SIGKILL) else { return 4 }
        return child.poll() == nil ? 0 : 5
    }

    // MARK: Leaks

    private func failuresLeakNothing() throws -> Int32 {
        let pipe = try Pipe()
        let before = openDescriptors()
        var requests: [(Int32, SpawnRequest)] = [
            (ENOENT, SpawnRequest(executable: "/no/such/program", title: "x", descriptors: [pipe.writing])),
            (EACCES, SpawnRequest(executable: "/etc/passwd", title: "x", descriptors: [pipe.writing, 3, 4])),
            (EBADF, SpawnRequest(executable: "/bin/true", title: "x", descriptors: [pipe.writing, 999])),
            (EBADF, SpawnRequest(executable: "/bin/true", title: "x", descriptors: [3, 4, -1])),
            (EINVAL, SpawnRequest(executable: "/bin/true", title: "a\u{0}b")),
            (EINVAL, SpawnRequest(executable: "/bin/tr\u{0}ue", title: "x")),
            (EINVAL, SpawnRequest(executable: "/bin/true", title: "x", arguments: ["a\u{0}b"])),
        ]
        var environment = ProcessEnvironment()
        environment["A"] = "b\u{0}c"
        requests.append((EINVAL, SpawnRequest(executable: "/bin/true", title: "x", environment: environment)))
        for (code, request) in requests {
            do {
                _ = try ChildProcess.spawn(request)
                return 1
            } catch {
                guard error.code == code else { return 2 }
            }
        }
        // No descriptor is left for the child's.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        let plenty = limit
        limit.rlim_cur = rlim_t((before.max() ?? 0) + 1)
        setrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        do {
            _ = try ChildProcess.spawn(SpawnRequest(executable: "/bin/true", title: "x"))
            return 3
        } catch {
            guard error.code == EMFILE else { return 4 }
        }
        limit = plenty
        setrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        guard openDescriptors() == before else { return 5 }
        // Nor is a child left that nobody has waited for.
        return waitpid(-1, nil, WNOHANG) == -1 && errno == ECHILD ? 0 : 6
    }

    private func manyChildrenLeakNothing() throws -> Int32 {
        let before = openDescriptors()
        for _ in 0..<Scale.of(1000) {
            let child = try ChildProcess.spawn(
                SpawnRequest(executable: "/bin/true", title: "true", descriptors: [0, 1]))
            guard child.waitForEnd().termination == .exited(code: 0) else { return 1 }
        }
        guard openDescriptors() == before else { return 2 }
        return waitpid(-1, nil, WNOHANG) == -1 && errno == ECHILD ? 0 : 3
    }

    // MARK: Reaping

    private func foreignChildrenAreReaped() throws -> Int32 {
        try OrphanReaper.becomeSubreaper()
        guard OrphanReaper.reap(except: []) == 0 else { return 1 }
        let running = try ChildProcess.spawn(
            SpawnRequest(executable: "/bin/sleep", title: "sleep", arguments: ["1000"]))
        defer { running.killGroup() }
        for ownEndsFirst in [true, false] {
            let pipe = try Pipe()
            let parent = try ChildProcess.shell(
                "for i in 1 2 3; do sleep 1000 3>&- & echo $!; done >&3", descriptors: [pipe.writing])
            let orphans = (0..<3).compactMap { _ in pid_t(pipe.line()) }
            guard orphans.count == 3, parent.waitForEnd().termination == .exited(code: 0) else { return 2 }
            let own = try ChildProcess.shell("exit 3")
            if ownEndsFirst { own.waitForNews(WEXITED) }
            for orphan in orphans {
                kill(orphan, SIGKILL)
                var information = siginfo_t()
                guard waitid(P_PID, id_t(orphan), &information, Int32(WEXITED | WNOWAIT)) == 0 else { return 3 }
            }
            own.waitForNews(WEXITED)
            var count = OrphanReaper.reap(except: [own.pid, running.pid])
            // The own one was left alone.
            guard own.waitForEnd().termination == .exited(code: 3) else { return 4 }
            count += OrphanReaper.reap(except: [running.pid])
            guard count == 3 else { return 5 }
        }
        return running.poll() == nil ? 0 : 6
    }

    private func reapedBySomebodyElse() throws -> Int32 {
        let child = try ChildProcess.shell("exit 3")
        guard waitpid(child.pid, nil, 0) == child.pid else { return 1 }
        guard case .exited(let end)? = child.poll(), end.termination == .signaled(0) else { return 2 }
        return child.poll() == nil && !child.killGroup() && !child.send(0) ? 0 : 3
    }

    // MARK: Titles

    private func retitles() -> Int32 {
        func tell() {
            let text = "\(text(of: "/proc/self/cmdline").split(separator: "\0"))|\(text(of: "/proc/self/comm"))"
            _ = write(3, text, text.utf8.count)
        }
        tell()
        ProcessTitle.set("app: web worker 1", shortName: "app-web-1")
        tell()
        ProcessTitle.set("app: " + String(repeating: "ö", count: 40), shortName: "längerer-name-für-top")
        tell()
        let done = Gate()
        let isStarted: Void? = try? NativeThread.start(name: "other") {
            ProcessTitle.set("app", shortName: "app")
            done.open()
        }
        guard isStarted != nil else { return 1 }
        done.pass()
        tell()
        return 0
    }

    // MARK: Orphans

    /// Starts workers, waits until they watch, and dies without a word to them.
    private func leavesWorkers() throws -> Int32 {
        let ready = try Pipe()
        var workers = [Scenario.orphanThatStops]
        // The thread sanitizer keeps signals from a thread that calls nothing.
        if Scale.of(1000) == 1000 { workers.append(.orphanThatHangs) }
        for worker in workers { _ = try ScenarioProcess.start(worker, descriptors: [3, ready.writing]) }
        for _ in workers { guard ready.line() == "watching" else { return 1 } }
        kill(getpid(), SIGKILL)
        return 2
    }

    private func orphanThatStops() throws -> Int32 {
        guard try ParentWatch.arm(supervisor: getppid(), grace: .seconds(30)) else { return 1 }
        let pipe = cmuster_signal_pipe_open()
        say("watching\n", to: 4)
        var entry = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
        while Glibc.poll(&entry, 1, -1) < 0, errno == EINTR {}
        var byte: UInt8 = 0
        guard read(pipe, &byte, 1) == 1, Int32(byte) == SIGTERM else { return 2 }
        say("stopped\n", to: 3)
        return 0
    }

    private func orphanThatHangs() throws -> Int32 {
        // As if somebody had blocked and ignored what is to end it.
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGALRM)
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGALRM, SIG_IGN)
        guard try ParentWatch.arm(supervisor: getppid(), grace: .milliseconds(50)) else { return 1 }
        guard try !ParentWatch.arm(supervisor: getpid(), grace: .milliseconds(50)) else { return 1 }
        say("watching\n", to: 4)
        close(4)
        while true { spin(1000) }
    }

    private func say(_ text: String, to descriptor: Int32) {
        _ = write(descriptor, text, text.utf8.count)
    }

    // MARK: Sockets

    /// Started as systemd would, with two sockets and one pipe.
    private func takesSockets() throws -> Int32 {
        guard SocketActivation.current.names == ["web", "unknown name", "pipe"] else { return 1 }
        for number in Int32(3)...5 { guard fcntl(number, F_GETFD) & FD_CLOEXEC != 0 else { return 2 } }
        let socket = try ListeningSocket(.systemd(name: "web"), setting: "address")
        guard case .tcp("127.0.0.1", let port) = socket.address, port != 0 else { return 3 }
        _ = try ListeningSocket(.systemd(name: "unknown name"), setting: "address")
        do {
            _ = try ListeningSocket(.systemd(name: "pipe"), setting: "address")
            return 4
        } catch {
            return error == .notListening(descriptor: 5, setting: "address") ? 0 : 5
        }
    }

    // MARK: Inspection

    /// Hangs, with threads of several kinds.
    private func isInspected() throws -> Int32 {
        // The looks take long on a loaded machine.
        alarm(600)
        let vitalSigns = try VitalSignsWriter(descriptor: 3) { true }
        try vitalSigns.allowInspection()
        let started = Gate()
        try NativeThread.start(name: "waiter") { waitForEver(started) }
        try NativeThread.start(name: "burner") { burn(started) }
        try NativeThread.start(name: "blocker") {
            var set = sigset_t()
            sigfillset(&set)
            pthread_sigmask(SIG_BLOCK, &set, nil)
            waitForEver(started)
        }
        for _ in 0..<100 { try NativeThread.start(name: "one of many") { waitForEver(started) } }
        Task.detached { await waitInTask(started) }
        for _ in 0..<104 { started.pass() }
        say("ready\n", to: 4)
        hangMainThread()
        return withExtendedLifetime(vitalSigns) { 1 }
    }
}

@inline(never) private func waitForEver(_ started: Gate) {
    started.open()
    while true { sleep(1000) }
}

@inline(never) private func burn(_ started: Gate) {
    started.open()
    while true { spin(1000) }
}

@inline(never) private func waitInTask(_ started: Gate) async {
    started.open()
    while true { sleep(1000) }
}

@inline(never) private func hangMainThread() {
    // As a deadlock does.
    Gate().pass()
}
