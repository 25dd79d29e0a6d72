// SPDX-License-Identifier: Apache-2.0

import Muster
import MusterEndpoint
import MusterPlatform
import MusterSupervision

/// What of settings that are right by themselves does not go together.
enum SettingsRelations {
    static func findings(_ check: SettingsCheck) -> [Finding] {
        let settings = check.settings
        func place(_ keys: String...) -> Finding.Place? { keys.lazy.compactMap { check.place(of: $0) }.first }
        var findings: [Finding] = []
        func add(_ severity: Finding.Severity, _ place: Finding.Place?, _ message: String) {
            // What nobody has set has been thought about.
            if let place { findings.append(Finding(severity, place, message)) }
        }
        let backoff = settings.restartBackoff
        if backoff.maximum < backoff.base {
            add(
                .warning, place("muster.restart-backoff.maximum", "muster.restart-backoff.base"),
                """
                muster.restart-backoff.maximum (\(backoff.maximum.plain)) is below muster.restart-backoff.base \
                (\(backoff.base.plain)), so that every delay is the maximum; set it to more
                """)
        }
        if settings.abortGrace < .seconds(1) {
            add(
                .warning, place("muster.abort-grace"),
                """
                muster.abort-grace (\(settings.abortGrace.plain)) ends a hung or crashed worker before it has written \
                its backtraces, which takes some 0.7 s with debug information; set it to 5s or more
                """)
        }
        if settings.livenessLimit < .milliseconds(500) {
            add(
                .warning, place("muster.liveness-limit"),
                """
                muster.liveness-limit (\(settings.livenessLimit.plain)) takes a short stall of a busy machine for a \
                hang; set it to 1s or more
                """)
        }
        if settings.startupTimeout > .zero, settings.startupTimeout < .seconds(1) {
            add(
                .warning, place("muster.startup-timeout"),
                """
                muster.startup-timeout (\(settings.startupTimeout.plain)) ends workers that start slowly on a busy \
                machine; set it to 5s or more
                """)
        }
        if settings.gracefulShutdownTimeout == .zero {
            add(
                .note, place("muster.graceful-shutdown-timeout"),
                "muster.graceful-shutdown-timeout is 0: a service that does not stop keeps the program for ever")
        }
        if settings.startupTimeout == .zero {
            add(
                .note, place("muster.startup-timeout"),
                "muster.startup-timeout is 0: a worker that hangs while it starts is never replaced")
        }
        if settings.restartIntensity == nil {
            let ignored = place("muster.restart-intensity.when-exceeded", "muster.restart-intensity.period")
            add(
                .note, ignored,
                "has no effect, as muster.restart-intensity.maximum is 0: any number of restarts is put up with")
        }
        return findings + endpoint(check)
    }

    private static func endpoint(_ check: SettingsCheck) -> [Finding] {
        let place = check.place(of: "muster.endpoint.address") ?? Finding.Place("settings")
        guard let endpoint = check.settings.endpoint else {
            return [Finding(.note, place, "the endpoint is off: there are no metrics and no probes")]
        }
        guard endpoint.webConfigFile == nil,
            case .tcp(let host, _) = endpoint.address, !isLoopback(host)
        else { return [] }
        return [
            Finding(
                .note, place,
                """
                whoever reaches \(endpoint.address) can read metrics and status; set muster.endpoint.web-config-file \
                for TLS and passwords
                """)
        ]
    }

    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }
}
