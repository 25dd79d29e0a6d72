// SPDX-License-Identifier: Apache-2.0

import Foundation
import MusterTestSupport
import Testing

@testable import MusterPlatform

@Suite(.timeLimit(.minutes(3))) struct PathWatchTests {
    /// A folder as Kubernetes mounts a ConfigMap: a link to a link to the present version.
    private func mounted() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try version("1", in: folder)
        try link("..data", to: "..1", in: folder)
        try link("settings.json", to: "..data/settings.json", in: folder)
        return folder
    }

    private func version(_ version: String, in folder: TemporaryFolder) throws {
        try FileManager.default.createDirectory(atPath: folder.path("..\(version)"), withIntermediateDirectories: false)
        try Data(version.utf8).write(to: folder.url.appending(path: "..\(version)/settings.json"))
    }

    private func link(_ name: String, to target: String, in folder: TemporaryFolder) throws {
        try FileManager.default.createSymbolicLink(atPath: folder.path(name), withDestinationPath: target)
    }

    @Test func `a path's folders are those of the file and of each link on the way`() throws {
        let folder = try mounted()
        let places = PathWatch.places(of: folder.path("settings.json"))
        #expect(places[folder.url.path] == ["settings.json", "..data"])
        #expect(places["\(folder.url.path)/..1"] == ["settings.json"])
        let missing = PathWatch.places(of: folder.path("sub/settings.json"))
        #expect(missing[folder.url.path] == ["sub"])
        try link("loop", to: "loop", in: folder)
        #expect(PathWatch.places(of: folder.path("loop"))[folder.url.path] == ["loop"])
    }

    @Test func `whatever leads to another file is reported, and nothing else`() async throws {
        let folder = try mounted()
        let path = folder.path("settings.json")
        let changes = Counter()
        try await withLoop { loop in
            let watch = try await loop.inTurn { Result { try PathWatch(path: path, loop: loop) { changes.add() } } }
                .get()
            func expectChange(_ what: String, _ change: () throws -> Void) async throws {
                let before = changes.value
                try change()
                _ = try await eventually(what) { changes.value > before ? true : nil }
                // What is left of it.
                for _ in 0..<2 { await loop.inTurn { watch.follow() } }
            }
            try await expectChange("a new version") {
                try version("2", in: folder)
                try link("..data_tmp", to: "..2", in: folder)
                #expect(rename(folder.path("..data_tmp"), folder.path("..data")) == 0)
            }
            try await expectChange("a write in place") {
                try Data("x".utf8).write(to: folder.url.appending(path: "..2/settings.json"))
            }
            try await expectChange("a removal") { try FileManager.default.removeItem(atPath: path) }
            try await expectChange("a file instead of a link") { try Data("y".utf8).write(to: URL(filePath: path)) }
            try await expectChange("a file that is renamed") { _ = try folder.write("z", to: "settings.json") }
            try await expectChange("a removal of the folder") { try FileManager.default.removeItem(at: folder.url) }
            try await expectChange("a new folder") {
                try FileManager.default.createDirectory(at: folder.url, withIntermediateDirectories: false)
            }
            try await expectChange("a file in it") { _ = try folder.write("a", to: "settings.json") }
            let before = changes.value
            _ = try folder.write("b", to: "other.json")
            try await expectChange("the next change") { _ = try folder.write("c", to: "settings.json") }
            #expect(changes.value <= before + 2)
            await loop.inTurn { watch.end() }
        }
    }
}
