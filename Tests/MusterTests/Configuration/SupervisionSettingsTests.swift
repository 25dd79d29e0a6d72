// SPDX-License-Identifier: Apache-2.0

import Configuration
import Glibc
import MusterSupervision
import Testing

@testable import Muster

@Suite("Settings of supervised workers")
struct SupervisionSettingsTests {
    private func settings(_ environment: [String: String]) throws -> MusterSettings {
        try MusterSettings(
            config: ConfigReader(provider: EnvironmentVariablesProvider(environmentVariables: environment)))
    }

    @Test("Without any, the defaults hold")
    func defaults() throws {
        let settings = try settings([:])
        #expect(settings.startupTimeout == .seconds(60))
        #expect(settings.shutdownDelay == .zero)
        #expect(settings.abortGrace == .seconds(15))
        #expect(settings.restartBackoff == RestartBackoff())
        #expect(settings.restartIntensity == RestartIntensity(maximum: 60, period: .seconds(60), whenExceeded: .absorb))
        #expect(settings.readyCondition == .anyWorker)
        #expect(settings.liveCondition == .noHungWorker)
        #expect(settings.arenaCapacity == 8 << 20)
    }

    @Test("Each can be set, alone and with the others")
    func each() throws {
        #expect(try settings(["MUSTER_STARTUP_TIMEOUT": "0"]).startupTimeout == .zero)
        #expect(try settings(["MUSTER_SHUTDOWN_DELAY": "5s"]).shutdownDelay == .seconds(5))
        #expect(try settings(["MUSTER_ABORT_GRACE": "500ms"]).abortGrace == .milliseconds(500))
        #expect(try settings(["MUSTER_RESTART_BACKOFF_BASE": "0"]).restartBackoff == RestartBackoff(base: .zero))
        let backoff = try settings([
            "MUSTER_RESTART_BACKOFF_BASE": "1s", "MUSTER_RESTART_BACKOFF_MAXIMUM": "2m",
            "MUSTER_RESTART_BACKOFF_STABLE_TIME": "1h",
        ]).restartBackoff
        #expect(backoff == RestartBackoff(base: .seconds(1), maximum: .seconds(120), stableTime: .seconds(3600)))
        let intensity = try settings([
            "MUSTER_RESTART_INTENSITY_MAXIMUM": "3", "MUSTER_RESTART_INTENSITY_PERIOD": "10s",
            "MUSTER_RESTART_INTENSITY_WHEN_EXCEEDED": "escalate",
        ]).restartIntensity
        #expect(intensity == RestartIntensity(maximum: 3, period: .seconds(10), whenExceeded: .escalate))
        #expect(try settings(["MUSTER_READY_CONDITION": "every-worker"]).readyCondition == .everyWorker)
        #expect(try settings(["MUSTER_LIVE_CONDITION": "supervisor"]).liveCondition == .supervisor)
        #expect(try settings(["MUSTER_ARENA_CAPACITY": "65536"]).arenaCapacity == 65536)
    }

    @Test("An intensity of zero puts up with any number of restarts")
    func anyNumberOfRestarts() throws {
        #expect(try settings(["MUSTER_RESTART_INTENSITY_MAXIMUM": "0"]).restartIntensity == nil)
    }

    @Test(
        "What cannot be used is refused with the setting's names and the remedy",
        arguments: [
            ("MUSTER_STARTUP_TIMEOUT", "soon", "muster.startup-timeout"),
            ("MUSTER_SHUTDOWN_DELAY", "-1s", "muster.shutdown-delay"),
            ("MUSTER_ABORT_GRACE", "0", "muster.abort-grace"),
            ("MUSTER_RESTART_BACKOFF_BASE", "x", "muster.restart-backoff.base"),
            ("MUSTER_RESTART_BACKOFF_STABLE_TIME", "0s", "muster.restart-backoff.stable-time"),
            ("MUSTER_RESTART_INTENSITY_MAXIMUM", "-1", "muster.restart-intensity.maximum"),
            ("MUSTER_RESTART_INTENSITY_MAXIMUM", "many", "muster.restart-intensity.maximum"),
            ("MUSTER_RESTART_INTENSITY_WHEN_EXCEEDED", "panic", "muster.restart-intensity.when-exceeded"),
            ("MUSTER_READY_CONDITION", "some", "muster.ready-condition"),
            ("MUSTER_LIVE_CONDITION", "ready", "muster.live-condition"),
            ("MUSTER_ARENA_CAPACITY", "1", "muster.arena-capacity"),
        ])
    func refused(variable: String, value: String, key: String) {
        let error = #expect(throws: SettingsError.self) { try settings([variable: value]) }
        #expect(error?.key == key)
        #expect(error?.description.contains(variable) == true)
        #expect(error?.description.contains("'\(value)'") == true)
    }

    @Test("Settings that were loaded can be read again, from the same file")
    func reloaded() throws {
        var template = Array("/tmp/muster-settings-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        try #require(descriptor >= 0)
        close(descriptor)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { unlink(path) }
        try write("{\"muster\": {\"liveness-limit\": \"3s\"}}", to: path)
        let first = try MusterSettings.load(file: path)
        #expect(first.livenessLimit == .seconds(3))
        #expect(first.file == path)
        try write("{\"muster\": {\"liveness-limit\": \"4s\"}}", to: path)
        let source = try #require(first.source)
        #expect(try source().livenessLimit == .seconds(4))
        try write("{\"muster\": {\"liveness-limit\": \"never\"}}", to: path)
        #expect(throws: SettingsError.self) { try source() }
        try write("{", to: path)
        #expect(throws: (any Error).self) { try source() }
        // What a program makes itself has no place to be read from.
        #expect(MusterSettings().source == nil)
    }

    /// Another value for each setting that a reload takes up.
    private static let others = [
        "MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT": "7s", "MUSTER_STARTUP_TIMEOUT": "7s", "MUSTER_LIVENESS_LIMIT": "7s",
        "MUSTER_ABORT_GRACE": "7s", "MUSTER_RESTART_METHOD": "mutate", "MUSTER_RESTART_BACKOFF_BASE": "7s",
        "MUSTER_RESTART_BACKOFF_MAXIMUM": "7m", "MUSTER_RESTART_BACKOFF_STABLE_TIME": "7s",
        "MUSTER_RESTART_INTENSITY_MAXIMUM": "7", "MUSTER_RESTART_INTENSITY_PERIOD": "7s",
        "MUSTER_RESTART_INTENSITY_WHEN_EXCEEDED": "escalate", "MUSTER_READY_CONDITION": "every-worker",
        "MUSTER_LIVE_CONDITION": "supervisor", "MUSTER_RECYCLE_MEMORY": "7MiB", "MUSTER_RECYCLE_AGE": "7m",
        "MUSTER_RECYCLE_MINIMUM_AGE": "7s", "MUSTER_RUN_EXTERNAL_PERIODIC_TASKS": "false",
    ]

    /// The values of the settings that a reload takes up.
    private func values(_ settings: MusterSettings) -> [String] {
        [
            "\(settings.gracefulShutdownTimeout)", "\(settings.startupTimeout)", "\(settings.livenessLimit)",
            "\(settings.abortGrace)", "\(settings.restartMethod)", "\(settings.restartBackoff)",
            "\(String(describing: settings.restartIntensity))", "\(settings.readyCondition)",
            "\(settings.liveCondition)", "\(settings.recycle)", "\(settings.runsExternalPeriodicTasks)",
        ]
    }

    @Test("A reload takes up what was read, all that can change")
    func takenUp() throws {
        let read = try settings(Self.others)
        let reloadable = MusterSettings.table.filter { $0.reload != .nextStart && $0.key != MusterSettings.fileKey }
        #expect(Set(reloadable.map(\.variable)) == Set(Self.others.keys))
        #expect(values(try settings([:]).takingUp(read)) == values(read))
        #expect(Set(values(read)).isDisjoint(with: values(try settings([:]))))
    }

    @Test("What the program has set since stays at every reload, also what it has set to the value that was there")
    func chosen() throws {
        var settings = try settings([:])
        settings.gracefulShutdownTimeout = .seconds(1)
        settings.startupTimeout = .seconds(60)
        settings.livenessLimit = .seconds(1)
        settings.abortGrace = .seconds(1)
        settings.restartMethod = .reload
        settings.runsExternalPeriodicTasks = true
        settings.restartBackoff = RestartBackoff(base: .seconds(1))
        settings.restartIntensity = nil
        settings.readyCondition = .anyWorker
        settings.recycle = RecyclePolicy()
        settings.liveCondition = .noHungWorker
        let read = try self.settings(Self.others)
        let reloaded = settings.takingUp(read)
        #expect(values(reloaded) == values(settings))
        #expect(values(reloaded.takingUp(read)) == values(settings))
        // What workers load is what was read; they set the same as their supervisor.
        #expect(reloaded.loaded?["muster.graceful-shutdown-timeout"] == "7s")
    }

    @Test("One that was set by the program keeps no other from being taken up")
    func oneChosen() throws {
        var settings = try settings([:])
        settings.gracefulShutdownTimeout = .seconds(1)
        let read = try self.settings(Self.others)
        var expected = read
        expected.gracefulShutdownTimeout = .seconds(1)
        #expect(values(settings.takingUp(read)) == values(expected))
    }

    @Test("What the program has set can be laid over what is read")
    func laidOver() throws {
        var settings = try settings([:])
        settings.gracefulShutdownTimeout = .seconds(1)
        settings.endpoint = nil
        var read = try self.settings(Self.others)
        var expected = read
        expected.gracefulShutdownTimeout = .seconds(1)
        read.takeUpChosen(of: settings)
        #expect(values(read) == values(expected))
        #expect(read.endpoint == nil && read.chosen.isEmpty)
    }

    @Test("What a function for reloading sets, or makes, is taken up")
    func chosenAgain() throws {
        var settings = try settings([:])
        settings.gracefulShutdownTimeout = .seconds(1)
        var read = try self.settings([:])
        read.gracefulShutdownTimeout = .seconds(2)
        #expect(settings.takingUp(read).gracefulShutdownTimeout == .seconds(2))
        let made = MusterSettings(gracefulShutdownTimeout: .seconds(3))
        #expect(settings.takingUp(made).gracefulShutdownTimeout == .seconds(3))
    }

    @Test("A launcher's restart method stays, whatever is read or made")
    func fixed() throws {
        var settings = try settings([:])
        settings.source = { MusterSettings(gracefulShutdownTimeout: .seconds(3)) }
        settings.fix(.mutate)
        let source = try #require(settings.source)
        let reloaded = settings.takingUp(try source())
        #expect(reloaded.restartMethod == .mutate)
        #expect(reloaded.gracefulShutdownTimeout == .seconds(3))
    }

    private func write(_ text: String, to path: String) throws {
        let file = try #require(fopen(path, "w"))
        defer { fclose(file) }
        #expect(fputs(text, file) >= 0)
    }
}
