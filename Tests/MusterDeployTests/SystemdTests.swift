// SPDX-License-Identifier: Apache-2.0

import Foundation
import Muster
import MusterTestSupport
import Testing

@Suite(
    "deploy/systemd", .enabled(if: Tools.systemdAnalyze != nil, "install systemd, for systemd-analyze"),
    .timeLimit(.minutes(2)))
struct SystemdTests {
    /// The exposure that `systemd-analyze security` may find, on its scale from 0 to 10, times ten.
    static let exposure = "15"

    /// The units in a folder, with a program that exists.
    private static func units(_ change: (String) -> String = { $0 }) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        for name in ["muster-demo.service", "muster-demo.socket"] {
            let text = try String(contentsOfFile: "\(Tools.root)/deploy/systemd/\(name)", encoding: .utf8)
            _ = try folder.write(
                change(text.replacing("/usr/local/bin/muster-demo", with: find("sleep") ?? "/bin/sleep")), to: name)
        }
        return folder
    }

    private static func verify(_ folder: TemporaryFolder) async throws -> Tools.Answer {
        try await Tools.answer(
            Tools.systemdAnalyze,
            ["verify", "--man=no", folder.path("muster-demo.service"), folder.path("muster-demo.socket")])
    }

    @Test("systemd finds nothing to complain about in the units")
    func verify() async throws {
        let answer = try await Self.verify(try Self.units())
        #expect(answer.status == 0)
        // What it does not know it only mentions.
        #expect(answer.errors == "" && answer.output == "")
        let wrong = try await Self.verify(try Self.units { $0.replacing("WatchdogSec=", with: "WatchDogSec=") })
        #expect(wrong.errors.contains("WatchDogSec"))
    }

    @Test("systemd finds nothing to complain about in the units that the documentation shows")
    func documented() async throws {
        let page = try String(contentsOfFile: "\(Tools.root)/docs/operations.md", encoding: .utf8)
        let units = page.matches(of: /```ini\n(.*?)```/.dotMatchesNewlines()).map { String($0.1) }
        let service = try #require(units.first { $0.contains("[Service]") })
        let socket = try #require(units.first { $0.contains("[Socket]") })
        let folder = try TemporaryFolder()
        // With a program that exists.
        let program = find("sleep") ?? "/bin/sleep"
        _ = try folder.write(
            service.replacing(/(?m)^ExecStart=\S+/, with: "ExecStart=\(program)"), to: "mailer.service")
        _ = try folder.write(socket, to: "mailer.socket")
        let answer = try await Tools.answer(
            Tools.systemdAnalyze,
            ["verify", "--man=no", folder.path("mailer.service"), folder.path("mailer.socket")])
        #expect(answer.status == 0)
        #expect(answer.errors == "" && answer.output == "")
        for line in ["Type=notify", "KillMode=mixed", "OOMPolicy=continue"] { #expect(service.contains(line)) }
    }

    @Test("the service may do little more than serve")
    func security() async throws {
        func assess(_ folder: TemporaryFolder) async throws -> Tools.Answer {
            try await Tools.answer(
                Tools.systemdAnalyze,
                [
                    "security", "--no-pager", "--offline=true", "--threshold=\(Self.exposure)",
                    folder.path("muster-demo.service"),
                ])
        }
        let answer = try await assess(try Self.units())
        #expect(answer.status == 0, "\(answer.output)")
        let open = try await assess(try Self.units { $0.replacing("CapabilityBoundingSet=\n", with: "") })
        #expect(open.status != 0)
    }

    @Test("systemd's time-outs leave Muster's the time they take")
    func times() throws {
        let text = try String(contentsOfFile: "\(Tools.root)/deploy/systemd/muster-demo.service", encoding: .utf8)
        func seconds(_ key: String) -> Double {
            let line = text.split(separator: "\n").first { $0.hasPrefix("\(key)=") }
            return line.flatMap { Double($0.dropFirst(key.count + 1)) } ?? 0
        }
        var environment: [String: String] = [:]
        for match in text.matches(of: /(MUSTER_[A-Z_]+)=(\S+)/) {
            environment[String(match.output.1)] = String(match.output.2)
        }
        #expect(environment.keys.allSatisfy(try settingsOfTheDocumentation().contains))
        let settings = try MusterSettings(environment: environment)
        #expect(.seconds(seconds("TimeoutStartSec")) > settings.startupTimeout * 2 + settings.abortGrace)
        #expect(.seconds(seconds("TimeoutStopSec")) > settings.shutdownDelay + settings.gracefulShutdownTimeout)
        #expect(.seconds(seconds("WatchdogSec")) > settings.livenessLimit + settings.abortGrace)
    }

    @Test("the service asks for the socket by the name that the socket unit gives it")
    func socket() throws {
        let folder = "\(Tools.root)/deploy/systemd"
        let socket = try String(contentsOfFile: "\(folder)/muster-demo.socket", encoding: .utf8)
        let service = try String(contentsOfFile: "\(folder)/muster-demo.service", encoding: .utf8)
        let name = try #require(socket.firstMatch(of: /FileDescriptorName=(\S+)/)?.output.1)
        #expect(service.contains("--http systemd:\(name) "))
    }
}
