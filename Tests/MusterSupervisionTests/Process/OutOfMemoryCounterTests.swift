// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import Testing

@testable import MusterSupervision

@Suite("Out-of-memory kills")
final class OutOfMemoryCounterTests {
    private let root: String

    init() throws {
        var template = Array("/tmp/muster-oom-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp") }
        root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        remove(root)
    }

    private func remove(_ path: String) {
        if let folder = opendir(path) {
            while let entry = readdir(folder) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { remove("\(path)/\(name)") }
            }
            closedir(folder)
        }
        Glibc.remove(path)
    }

    private func put(_ path: String, _ text: String) {
        var folder = root
        for part in path.split(separator: "/").dropLast() {
            folder += "/\(part)"
            mkdir(folder, 0o700)
        }
        let file = open("\(root)/\(path)", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        _ = write(file, text, text.utf8.count)
        close(file)
    }

    private func events(_ kills: Int) -> String {
        "low 0\nhigh 12\nmax 3\noom 9\noom_kill \(kills)\noom_group_kill 77\n"
    }

    @Test("Version 2: each kill since the start is claimed once")
    func version2() {
        put("proc/self/cgroup", "0::/system.slice/app.service\n")
        put("sys/fs/cgroup/system.slice/app.service/memory.events", events(5))
        var counter = OutOfMemoryCounter(root: root)
        #expect(counter.read() == 5)
        #expect(counter.claimKill() == false)
        put("sys/fs/cgroup/system.slice/app.service/memory.events", events(7))
        #expect(counter.claimKill() == true)
        #expect(counter.claimKill() == true)
        #expect(counter.claimKill() == false)
        put("sys/fs/cgroup/system.slice/app.service/memory.events", events(8))
        #expect(counter.claimKill() == true)
        #expect(counter.claimKill() == false)
    }

    @Test("Version 2 in a container that is shown the host's path")
    func container() {
        put("proc/self/cgroup", "0::/docker/0123abcd\n")
        put("sys/fs/cgroup/memory.events", events(1))
        #expect(OutOfMemoryCounter(root: root).read() == 1)
    }

    @Test("Version 1, also beside a version 2 that does not hold memory")
    func version1() {
        put("proc/self/cgroup", "5:devices:/\n4:cpu,memory:/app/x\n0::/other\n")
        put("sys/fs/cgroup/memory/app/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
        put("sys/fs/cgroup/other/memory.events", events(99))
        var counter = OutOfMemoryCounter(root: root)
        #expect(counter.read() == 3)
        put("sys/fs/cgroup/memory/app/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
        #expect(counter.claimKill() == true)
        put("sys/fs/cgroup/memory/app/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
        #expect(counter.claimKill() == false)
    }

    @Test("What cannot be read is not known")
    func unknown() {
        var counter = OutOfMemoryCounter(root: root)
        #expect(counter.read() == nil)
        #expect(counter.claimKill() == nil)
        for text in ["", "x", "0::", ":::\n", "0::/no/such/group\n", "4:memory:/\n"] {
            put("proc/self/cgroup", text)
            #expect(OutOfMemoryCounter(root: root).read() == nil)
        }
        put("proc/self/cgroup", "0::/\n")
        for text in ["", "oom_kill\n", "oom_kill x\n", "oom_kill -1\n", "oom_kill 1 2\n"] {
            put("sys/fs/cgroup/memory.events", text)
            #expect(OutOfMemoryCounter(root: root).read() == nil)
        }
    }

    @Test("This machine's counter can be asked")
    func here() {
        var counter = OutOfMemoryCounter()
        let count = counter.read()
        #expect((counter.claimKill() == nil) == (count == nil))
    }

    @Test("A control group that is killed as a whole is recognised", arguments: ["1\n", "0\n"])
    func wholeGroup(value: String) {
        put("proc/self/cgroup", "0::/kubepods/pod1\n")
        put("sys/fs/cgroup/memory.events", events(0))
        #expect(!OutOfMemoryCounter.killsWholeGroup(root: root))
        put("sys/fs/cgroup/memory.oom.group", value)
        #expect(OutOfMemoryCounter.killsWholeGroup(root: root) == (value == "1\n"))
    }
}
