// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc
import MusterLock

/// Reports that the file at a path may be another one, by inotify: it was written, replaced, removed or created, or a link
/// on the way to it leads elsewhere.
///
/// Folders are watched, not the file: whatever takes a file's place is another file. Those are the file's own, and each that
/// holds a link of the path, as a mounted ConfigMap has them. Belongs to the thread of its loop.
package final class PathWatch: Sendable {
    private struct State {
        var watch: EventLoop.Watch?
        /// What is of interest in each watched folder.
        var names: [Int32: Set<String>] = [:]
    }

    private let path: String
    private let loop: EventLoop
    private let inotify: OwnedDescriptor
    private let state = Locked(State())

    /// Begins.
    ///
    /// - Parameter changed: Called at each change; the next one is only reported in full after ``follow()``.
    package init(path: String, loop: EventLoop, changed: @escaping @Sendable () -> Void) throws {
        self.path = path
        self.loop = loop
        let descriptor = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
        guard descriptor >= 0 else { throw SystemError("inotify_init") }
        inotify = OwnedDescriptor(descriptor)
        follow()
        guard !state.withLock({ $0.names.isEmpty }) else { throw SystemError("inotify_add_watch") }
        let watch = try loop.watch(descriptor, for: .readable) { [weak self] _ in
            if self?.readEvents() == true { changed() }
        }
        state.withLock { $0.watch = watch }
    }

    /// Follows the path as it is now. What changes after that is reported.
    package func follow() {
        var names: [Int32: Set<String>] = [:]
        for (folder, parts) in Self.places(of: path) {
            let number = inotify_add_watch(inotify.rawValue, folder, Self.events)
            // It may be gone by now, which its own folder tells.
            if number >= 0 { names[number, default: []].formUnion(parts) }
        }
        let old = state.withLock { state in
            defer { state.names = names }
            return state.names
        }
        for number in old.keys where names[number] == nil { inotify_rm_watch(inotify.rawValue, number) }
    }

    /// Ends it.
    package func end() {
        if let watch = state.withLock({ $0.watch.take() }) { loop.unwatch(watch) }
    }

    private static let events = UInt32(
        IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF
            | IN_ONLYDIR)

    /// The folders that hold the file and the links on the way, with the names that count there.
    static func places(of path: String) -> [String: Set<String>] {
        var places: [String: Set<String>] = [:]
        var folder = path.hasPrefix("/") ? "/" : "."
        var left = Array(path.split(separator: "/").map(String.init).reversed())
        var links = 0
        while let part = left.popLast() {
            let next = folder == "/" ? "/\(part)" : "\(folder)/\(part)"
            let target = SmallFile.target(of: next)
            if target != nil || left.isEmpty || access(next, F_OK) != 0 { places[folder, default: []].insert(part) }
            guard let target else {
                folder = next
                continue
            }
            links += 1
            guard links <= 40 else { break }
            left += target.split(separator: "/").map(String.init).reversed()
            if target.hasPrefix("/") { folder = "/" }
        }
        return places
    }

    /// Reads what there is; returns whether any of it is of interest.
    private func readEvents() -> Bool {
        let names = state.withLock { $0.names }
        var hasChanged = false
        let header = MemoryLayout<inotify_event>.size
        withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: MemoryLayout<inotify_event>.alignment) { buffer in
            while true {
                let count = read(inotify.rawValue, buffer.baseAddress, buffer.count)
                guard count > 0 else { break }
                var offset = 0
                while offset + header <= count {
                    let event = buffer.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
                    let end = min(count, offset + header + Int(event.len))
                    let name = String(decoding: buffer[offset + header..<end].prefix { $0 != 0 }, as: UTF8.self)
                    offset = end
                    // With too many at once, any may be lost. An event without a name is about the folder itself.
                    let isLost = event.mask & UInt32(IN_Q_OVERFLOW) != 0
                    if isLost || names[event.wd].map({ name.isEmpty || $0.contains(name) }) == true {
                        hasChanged = true
                    }
                }
            }
        }
        return hasChanged
    }
}
