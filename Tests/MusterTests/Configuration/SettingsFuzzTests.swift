// SPDX-License-Identifier: Apache-2.0

import Configuration
import MusterPlatform
import MusterTestSupport
import Testing

@testable import Muster
@testable import MusterSupervision

@Suite("Settings that mean no good")
struct SettingsFuzzTests {
    private static let texts = [
        "", "0", "-0", "1", "-1", "1e18", "1e300", "-1e300", "nan", "inf", "9223372036854775807", "9223372036854775808",
        "-9223372036854775808", "18446744073709551615", "0x7F", "1_000", "true", "yes", "off", "absorb", "escalate",
        "reload", "any-worker", "0.000000001ns", "365d", "366d", "8760h", "9000000000s", "9223372036854775807ns",
        "\u{B5}s",
        "1.5.5s", "٣s", "1 s", "fd:99999999999", "[::1]:0", ":", "unix:", "\0", "🕐",
    ]
    private static let letters = Array("0123456789.eE+-sdhmnuµ: \u{301}")

    private static func text(_ random: inout SplitMix64) -> String {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: texts[Int.random(in: 0..<texts.count, using: &random)]
        case 1:
            "\(UInt64.random(in: 0...UInt64.max, using: &random) >> UInt64.random(in: 0...63, using: &random))"
                + ["", "s", "ms", "ns", "us", "m", "h", "d"][Int.random(in: 0..<8, using: &random)]
        case 2: "\(Double(bitPattern: random.next()))" + ["", "s", "d"][Int.random(in: 0..<3, using: &random)]
        default:
            String(
                (0..<Int.random(in: 0...12, using: &random)).map { _ in
                    letters[Int.random(in: 0..<letters.count, using: &random)]
                })
        }
    }

    @Test("Whatever they say, they are refused or can be worked with")
    func fuzz() {
        var random = SplitMix64(seed: 23)
        var accepted = 0
        for _ in 0..<Scale.of(20_000) {
            var values: [AbsoluteConfigKey: ConfigValue] = [:]
            for setting in MusterSettings.table where Int.random(in: 0..<6, using: &random) == 0 {
                let text = Self.text(&random)
                values[AbsoluteConfigKey(ConfigKey(setting.key))] = ConfigValue(.string(text), isSecret: false)
            }
            guard
                let settings = try? MusterSettings(
                    config: ConfigReader(provider: InMemoryProvider(values: values)))
            else { continue }
            accepted += 1
            live(by: settings, &random)
            for setting in MusterSettings.table { _ = setting.advice(settings) }
            // What a worker would get is what the supervisor has.
            let handed = WorkerSettings(settings.loaded ?? [:])
            #expect(WorkerSettings(decoding: handed.encoded) == handed)
        }
        #expect(accepted > 100 || Scale.of(20_000) < 20_000)
    }

    /// A life of some workers by the settings.
    private func live(by settings: MusterSettings, _ random: inout SplitMix64) {
        let group = WorkerGroupConfiguration(
            name: "web", workers: 2, backoff: settings.restartBackoff, intensity: settings.restartIntensity,
            startupTimeout: settings.startupTimeout, stopTimeout: settings.gracefulShutdownTimeout,
            abortGrace: settings.abortGrace)
        var state = SupervisorState(
            SupervisorConfiguration(groups: [group], shutdownDelay: settings.shutdownDelay, jitterSeed: 1))
        var now = MonotonicInstant(nanoseconds: Int64.random(in: 0...Int64.max, using: &random))
        var events: [SupervisorEvent] = [.begin, .spawned(1), .spawned(2), .ready(1), .ready(2)]
        for incarnation in 1...6 { events.append(.exited(incarnation, .signaled(9), isOutOfMemory: false)) }
        events += [.unresponsive(7, canAbort: true), .terminate]
        var actions: [SupervisorAction] = []
        for event in events {
            state.handle(event, at: now, into: &actions)
            for case .arm(let timer, let instant) in actions {
                now = max(now, instant)
                state.handle(.timer(timer), at: now, into: &actions)
            }
            actions = []
        }
        _ = state.snapshot(at: now)
        _ = now.advanced(by: settings.livenessLimit)
            .roundedUp(toMultipleOf: settings.livenessLimit.clampedNanoseconds / 20)
    }
}
