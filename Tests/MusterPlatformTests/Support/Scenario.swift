// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport

/// What a ``ChildProcess`` does; each returns 0 when everything was as it should be.
enum Scenario: String, CaseIterable {
    case mainActorRunsWhileTheMainThreadRunsALoop
    case mainActorTaskSleeps
    case anotherThreadLeavesTheMainQueueAlone
    case leavingWithTheMainQueueStartsNoThread
    case noDescriptorIsLeft

    func run() -> Int32 {
        do {
            switch self {
            case .mainActorRunsWhileTheMainThreadRunsALoop: return try mainActor()
            case .mainActorTaskSleeps: return try mainActorSleep()
            case .anotherThreadLeavesTheMainQueueAlone: return try otherThread()
            case .leavingWithTheMainQueueStartsNoThread: return try leaving()
            case .noDescriptorIsLeft: return try noDescriptor()
            }
        } catch {
            return 100
        }
    }

    private func mainActor() throws -> Int32 {
        let loop = try EventLoop(name: "main")
        guard loop.claim() else { return 1 }
        try loop.serveMainQueue()
        let strays = Counter()
        let visits = Counter()
        // From tasks of the loop itself, and of the global pool.
        let own = Task(executorPreference: loop) {
            for _ in 0..<100 {
                await MainActor.run { if NativeThread.isMain { visits.add() } }
                if !loop.isCurrent { strays.add() }
            }
        }
        let foreign = Task.detached {
            for _ in 0..<100 {
                await MainActor.run { if NativeThread.isMain { visits.add() } }
                if NativeThread.isMain { strays.add() }
            }
        }
        Task { @MainActor in
            await own.value
            await foreign.value
            if !NativeThread.isMain { strays.add() }
            loop.stop()
        }
        try loop.run()
        guard visits.value == 200 else { return 2 }
        return strays.value == 0 ? 0 : 3
    }

    private func mainActorSleep() throws -> Int32 {
        let loop = try EventLoop(name: "main", parking: .descriptors)
        guard loop.claim() else { return 1 }
        try loop.serveMainQueue()
        try loop.serveMainQueue()
        let wrong = Counter()
        Task { @MainActor in
            let clock = SystemClock()
            for _ in 0..<20 {
                let start = clock.now
                try? await clock.sleep(for: .microseconds(300))
                if clock.now < start.advanced(by: .microseconds(300)) || !NativeThread.isMain { wrong.add() }
            }
            let sleeper = Task { @MainActor in try await clock.sleep(for: .seconds(3600)) }
            await Task.yield()
            sleeper.cancel()
            if case .success = await sleeper.result { wrong.add() }
            loop.stop()
        }
        try loop.run()
        return wrong.value == 0 ? 0 : 2
    }

    private func otherThread() throws -> Int32 {
        let loop = try EventLoop(name: "main")
        guard loop.claim() else { return 1 }
        try loop.serveMainQueue()
        let ranElsewhere = Counter()
        loop.stop()
        try loop.run()
        Task { @MainActor in
            if !NativeThread.isMain { ranElsewhere.add() }
        }
        let hasRun = Gate()
        loop.submit { hasRun.open() }
        try NativeThread.start(name: "other") {
            try? loop.run(keepAlive: .milliseconds(1))
            hasRun.open()
        }
        hasRun.pass()
        hasRun.pass()
        // Its thread could end, so the main queue's descriptor kept it from nothing.
        return ranElsewhere.value == 0 ? 0 : 2
    }

    private func leaving() throws -> Int32 {
        let starts = Counter()
        let loop = try EventLoop(name: "main") { _ in starts.add() }
        guard loop.claim() else { return 1 }
        try loop.serveMainQueue()
        loop.submit { loop.leave() }
        try loop.run()
        return starts.value == 0 ? 0 : 2
    }

    private func noDescriptor() throws -> Int32 {
        let loop = try EventLoop(name: "starved")
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        let pair = try SocketPair()
        let enough = limit.rlim_cur
        limit.rlim_cur = 3
        setrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
        let wrong = Counter()
        do {
            _ = try EventLoop(name: "refused", parking: .descriptors)
            wrong.add()
        } catch {
            if error.code != EMFILE { wrong.add() }
        }
        poke(pair.far)
        Task(executorPreference: loop) {
            do {
                try await loop.ready(pair.near.rawValue, for: .readable)
                wrong.add()
            } catch DescriptorError.cannotWatch(pair.near.rawValue, let error) where error.code == EMFILE {
                // As it should be; and the loop goes on, and may have a poller as soon as there is room.
            } catch {
                wrong.add()
            }
            limit.rlim_cur = enough
            setrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &limit)
            do { try await loop.ready(pair.near.rawValue, for: .readable) } catch { wrong.add() }
            loop.stop()
        }
        try loop.run()
        return wrong.value == 0 ? 0 : 2
    }
}
