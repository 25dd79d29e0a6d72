// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@Suite("Watching the settings file", .transcript, .timeLimit(.minutes(10)))
struct SettingsWatchTests {
    private static let options = ["--muster-settings-file=SETTINGS", "--muster-settings-watch", "--workers=2"]
    private static let mutate = #"{"muster": {"restart-method": "mutate", "liveness-limit": "9s"}}"#

    @Test("what it says is taken up as at SIGHUP, by either method", arguments: backends)
    func supervised(backend: String) async throws {
        let options = Self.options + ["--muster-livenes-limit=1s"]
        try await TestProgram.run(options, backend: backend) { program in
            try await program.ready()
            try await program.logged("unknown setting", "did you mean '--muster-liveness-limit'?")
            let old = Set(try await program.started(2).map(\.pid))
            try program.set(#"{"muster": {"liveness-limit": "8s"}}"#)
            try await program.logged("setting changed", "setting=muster.liveness-limit", "before=10s", "value=8s")
            try await program.logged("reload completed")
            let new = Set(try await program.started(4).map(\.pid))
            #expect(new.isDisjoint(with: old))
            // In a form that is the same, and then another one.
            try program.set(#"{ "muster": { "liveness-limit": "8s" } }"#)
            try program.set(Self.mutate)
            #expect(Set(try await program.said("reset", 2).map(\.pid)) == new)
            try await program.metric("muster_reloads_total", is: 2)
            #expect(program.log("settings file changed; reloading").count == 2)
        }
    }

    @Test("what is invalid changes nothing, and what is as it was before, neither")
    func invalid() async throws {
        try await TestProgram.run(Self.options) { program in
            try await program.ready()
            try program.set(#"{"muster": {"liveness-limit": "soon"}}"#)
            try await program.logged("invalid settings; keeping the previous ones", "liveness-limit")
            try program.set("{}")
            try FileManager.default.removeItem(atPath: program.folder.path("settings.json"))
            try await program.logged("invalid settings; keeping the previous ones", "cannot be read")
            try program.set(Self.mutate)
            try await program.said("reset", 2)
            try await program.metric("muster_reloads_total", ["outcome": "refused"], is: 2)
            try await program.metric("muster_reloads_total", is: 3)
            #expect(program.lines("started").count == 2)
        }
    }

    @Test("a ConfigMap's new version arrives, in one process, too", arguments: backends)
    func configMap(backend: String) async throws {
        let options = ["--in-process", "--muster-settings-file=TRIGGER/settings.json", "--muster-settings-watch"]
        let folder = try TemporaryFolder()
        func version(_ number: Int, _ text: String) throws {
            try FileManager.default.createDirectory(
                atPath: folder.path("..\(number)"), withIntermediateDirectories: false)
            _ = try folder.write(text, to: "..\(number)/settings.json")
            try FileManager.default.createSymbolicLink(
                atPath: folder.path("..data_tmp"), withDestinationPath: "..\(number)")
            #expect(rename(folder.path("..data_tmp"), folder.path("..data")) == 0)
        }
        try version(1, #"{"muster": {"restart-method": "mutate"}}"#)
        try FileManager.default.createSymbolicLink(
            atPath: folder.path("settings.json"), withDestinationPath: "..data/settings.json")
        let mounted = options.map { $0.replacingOccurrences(of: "TRIGGER", with: folder.url.path) }
        try await TestProgram.run(mounted, backend: backend) { program in
            try await program.ready()
            try await program.logged(
                "setting=muster.restart-method", "source=\(folder.url.path)/settings.json:1")
            try version(2, Self.mutate)
            try await program.said("reset")
            try await program.logged("setting changed", "value=9s")
        }
    }
}
