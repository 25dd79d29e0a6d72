// SPDX-License-Identifier: Apache-2.0

import Logging
import MusterLock
import MusterPlatform

/// Reloads when the settings file says something else, as SIGHUP would: `muster.settings-watch`.
///
/// A file is often changed in several steps, so it is read when nothing has happened to it for a while. What counts is what
/// it says: a change of its date or layout does nothing.
final class SettingsWatch: Sendable {
    private static let quietTime = Duration.milliseconds(300)
    /// For a file that does not come to rest.
    private static let longestDelay = Duration.seconds(5)

    private struct State {
        var watch: PathWatch?
        var check: EventLoop.ScheduledAction?
        var firstChange: MonotonicInstant?
        /// What the file said at the latest attempt, and what was in force then.
        var attempt: (content: SettingsFile.Content, before: SettingsFile.Content?)?
    }

    private let path: String
    private let loop: EventLoop
    private let logger: Logger
    private let inForce: @Sendable () -> SettingsFile.Content?
    private let reload: @Sendable () -> Void
    private let state = Locked(State())

    /// Begins, on the loop's thread, if the settings ask for it; logs why it cannot.
    ///
    /// - Parameters:
    ///   - inForce: What the file said when the settings in force were read.
    ///   - reload: Reads the settings again; called on the loop's thread.
    static func begin(
        _ settings: MusterSettings, on loop: EventLoop, logger: Logger,
        inForce: @escaping @Sendable () -> SettingsFile.Content?, reload: @escaping @Sendable () -> Void
    ) -> SettingsWatch? {
        guard settings.settingsWatch else { return nil }
        guard let path = settings.file else {
            logger.warning("muster.settings-watch has no effect without a settings file")
            return nil
        }
        let watch = SettingsWatch(path: path, loop: loop, logger: logger, inForce: inForce, reload: reload)
        do {
            let follow = try PathWatch(path: path, loop: loop) { [weak watch] in watch?.changed() }
            watch.state.withLock { $0.watch = follow }
            // It may have changed since it was read.
            watch.changed()
            return watch
        } catch {
            logger.warning(
                "settings file is not watched; send SIGHUP after a change",
                metadata: ["file": "\(path)", "error": "\(error)"])
            return nil
        }
    }

    private init(
        path: String, loop: EventLoop, logger: Logger, inForce: @escaping @Sendable () -> SettingsFile.Content?,
        reload: @escaping @Sendable () -> Void
    ) {
        self.path = path
        self.loop = loop
        self.logger = logger
        self.inForce = inForce
        self.reload = reload
    }

    /// Ends it; from any thread.
    func end() {
        loop.submit { [self] in
            let (watch, check) = state.withLock { ($0.watch.take(), $0.check.take()) }
            watch?.end()
            if let check { loop.cancel(check) }
        }
    }

    private func changed() {
        let now = MonotonicInstant.now
        let (former, due) = state.withLock { state in
            let first = state.firstChange ?? now
            state.firstChange = first
            return (state.check.take(), min(now.advanced(by: Self.quietTime), first.advanced(by: Self.longestDelay)))
        }
        if let former { loop.cancel(former) }
        let check = loop.schedule(at: due) { [weak self] in self?.check() }
        state.withLock { $0.check = check }
    }

    private func check() {
        let watch = state.withLock { state in
            state.check = nil
            state.firstChange = nil
            return state.watch
        }
        guard let watch else { return }
        // Before it is read, so that no change after that is missed.
        watch.follow()
        let content = SettingsFile.Content(of: path)
        let before = inForce()
        let isNew = state.withLock { state in
            if content == before {
                state.attempt = nil
                return false
            }
            if let attempt = state.attempt, attempt == (content, before) { return false }
            state.attempt = (content, before)
            return true
        }
        guard isNew else { return }
        logger.info("settings file changed; reloading", metadata: ["file": "\(path)"])
        reload()
    }
}
