// SPDX-License-Identifier: Apache-2.0

import Muster

/// What a service unit should have, given the program's settings.
struct ServiceUnitRules {
    let unit: UnitFile
    let settings: MusterSettings

    /// What systemd takes where a unit says nothing (DefaultTimeoutStartSec, DefaultTimeoutStopSec).
    private static let defaultTimeout = Duration.seconds(90)
    /// The time that ending all processes takes once they were told to.
    private static let margin = Duration.seconds(5)

    var findings: [Finding] {
        [type, killMode, restart, memory, reload].compactMap(\.self) + stopTime + startTime + watchdog
    }

    private func setting(_ key: String) -> UnitFile.Assignment? { unit.last("Service", key) }

    private func finding(
        _ severity: Finding.Severity, _ setting: UnitFile.Assignment?, _ message: String
    ) -> Finding {
        Finding(severity, unit.place(setting, orSection: "Service"), message)
    }

    // MARK: How it is started

    private var typeName: String { setting("Type")?.value ?? (setting("BusName") == nil ? "simple" : "dbus") }
    private var notifies: Bool { typeName == "notify" || typeName == "notify-reload" }

    private var type: Finding? {
        let type = setting("Type")
        switch typeName {
        case "notify", "notify-reload": return nil
        case "forking", "oneshot":
            return finding(
                .error, type,
                "Type=\(typeName) is for programs that go into the background or end; set Type=notify")
        default:
            let what = type == nil ? "Type is not set, which means \(typeName)" : "Type=\(typeName)"
            return finding(
                .warning, type,
                "\(what): systemd does not learn when the service is ready, reloads or stops; set Type=notify")
        }
    }

    private var killMode: Finding? {
        let mode = setting("KillMode")
        switch mode?.value {
        case "mixed": return nil
        case "process":
            return finding(
                .warning, mode,
                "KillMode=process leaves behind what workers have started themselves; set KillMode=mixed")
        case "none":
            return finding(.error, mode, "KillMode=none lets nothing be ended at the time-out; set KillMode=mixed")
        default:
            return finding(
                .warning, mode,
                """
                \(mode.map { "KillMode=\($0.value)" } ?? "KillMode is not set"), so that systemd sends SIGTERM to the \
                workers, too, and they stop before the shutdown delay is over; set KillMode=mixed
                """)
        }
    }

    private var restart: Finding? {
        let restart = setting("Restart")
        switch restart?.value {
        case "always", "on-failure": return nil
        case nil, "no":
            return finding(
                .warning, restart,
                """
                \(restart == nil ? "Restart is not set" : "Restart=no"): if the supervisor dies, the service stays \
                down; set Restart=on-failure
                """
            )
        default:
            return finding(
                .warning, restart,
                """
                Restart=\(restart?.value ?? "") does not start the service again after exit status 1, with which it \
                ends when it fails; set Restart=on-failure
                """)
        }
    }

    private var memory: Finding? {
        let policy = setting("OOMPolicy")
        // Who manages its own control groups is left alone by default.
        let isDelegate = setting("Delegate").map { !["no", "false", "0", "off"].contains($0.value) } ?? false
        guard policy?.value != "continue", policy != nil || !isDelegate else { return nil }
        return finding(
            .warning, policy,
            """
            \(policy.map { "OOMPolicy=\($0.value)" } ?? "OOMPolicy is not set, which means stop"): systemd ends the \
            whole service when the kernel kills one worker for its memory, which would be replaced; set \
            OOMPolicy=continue
            """)
    }

    private var reload: Finding? {
        if typeName == "notify-reload" {
            guard let signal = setting("ReloadSignal"), !["HUP", "SIGHUP", "1"].contains(signal.value) else {
                return nil
            }
            return finding(
                .error, signal, "ReloadSignal=\(signal.value) reloads nothing; the program reloads at SIGHUP")
        }
        guard setting("ExecReload") == nil else { return nil }
        return finding(
            .note, nil, "`systemctl reload` is refused without ExecReload=kill -HUP $MAINPID")
    }

    // MARK: Times

    /// A time span of the unit: as it is set, or systemd's default.
    private func time(
        _ key: String, _ findings: inout [Finding]
    ) -> (assignment: UnitFile.Assignment?, limit: Duration?)? {
        let assignment = setting(key) ?? (key.hasPrefix("Timeout") ? setting("TimeoutSec") : nil)
        guard let assignment else { return (nil, Self.defaultTimeout) }
        switch SystemdDuration(parsing: assignment.value) {
        case .infinite: return (assignment, nil)
        // Zero turns these time-outs off.
        case .limited(.zero): return (assignment, nil)
        case .limited(let limit): return (assignment, limit)
        case nil:
            findings.append(
                finding(
                    .error, assignment,
                    "\(assignment.key)=\(assignment.value) is no time span; it is written 70, 70s or 1min 10s"))
            return nil
        }
    }

    private func said(_ key: String, _ assignment: UnitFile.Assignment?, _ limit: Duration) -> String {
        assignment.map { "\($0.key) is \(limit.plain)" } ?? "\(key) is not set, which means \(limit.plain)"
    }

    private var stopTime: [Finding] {
        var findings: [Finding] = []
        guard let (assignment, limit) = time("TimeoutStopSec", &findings), let limit else { return findings }
        let what = said("TimeoutStopSec", assignment, limit)
        guard settings.gracefulShutdownTimeout > .zero else {
            findings.append(
                finding(
                    .warning, assignment,
                    """
                    \(what), and muster.graceful-shutdown-timeout is 0, for ever: systemd kills what still stops then; \
                    set TimeoutStopSec=infinity, or a limit in the settings
                    """))
            return findings
        }
        let needed = settings.shutdownDelay + settings.gracefulShutdownTimeout
        let enough = (needed + Self.margin).seconds.rounded(.up)
        let sum =
            """
            muster.shutdown-delay (\(settings.shutdownDelay.plain)) and muster.graceful-shutdown-timeout \
            (\(settings.gracefulShutdownTimeout.plain)) together
            """
        if limit <= needed {
            findings.append(
                finding(
                    .error, assignment,
                    """
                    \(what), which is not more than \(sum), so that systemd kills what still stops; set \
                    TimeoutStopSec to at least \(Int(enough))
                    """))
        } else if limit < needed + Self.margin {
            findings.append(
                finding(
                    .warning, assignment,
                    "\(what), hardly more than \(sum); set TimeoutStopSec to at least \(Int(enough))"))
        }
        return findings
    }

    private var startTime: [Finding] {
        guard notifies else { return [] }
        var findings: [Finding] = []
        guard let (assignment, limit) = time("TimeoutStartSec", &findings), let limit else { return findings }
        let what = said("TimeoutStartSec", assignment, limit)
        if settings.startupTimeout == .zero {
            findings.append(
                finding(
                    .note, assignment,
                    "\(what): systemd ends a start that takes longer, although muster.startup-timeout is 0, for ever"))
        } else if limit <= settings.startupTimeout {
            let enough = (settings.startupTimeout + .seconds(30)).seconds.rounded(.up)
            findings.append(
                finding(
                    .warning, assignment,
                    """
                    \(what), which is not more than muster.startup-timeout (\(settings.startupTimeout.plain)), so that \
                    systemd gives up before a worker that does not come up is replaced; set TimeoutStartSec to at \
                    least \(Int(enough))
                    """))
        }
        return findings
    }

    private var watchdog: [Finding] {
        guard let assignment = setting("WatchdogSec") else {
            return [
                finding(
                    .note, nil,
                    "without WatchdogSec= nobody notices a supervisor that hangs; set WatchdogSec=30, for example")
            ]
        }
        var findings: [Finding] = []
        guard let (_, limit) = time("WatchdogSec", &findings), let limit else { return findings }
        if limit < settings.livenessLimit {
            findings.append(
                finding(
                    .warning, assignment,
                    """
                    WatchdogSec is \(limit.plain), less than muster.liveness-limit (\(settings.livenessLimit.plain)): \
                    a stall that no worker would be replaced for ends the whole service; set WatchdogSec to at least \
                    \(Int((settings.livenessLimit * 2).seconds.rounded(.up)))
                    """))
        }
        if !notifies, ["none"].contains(setting("NotifyAccess")?.value) {
            findings.append(
                finding(.error, setting("NotifyAccess"), "NotifyAccess=none refuses what feeds the watchdog; remove it")
            )
        }
        return findings
    }
}
