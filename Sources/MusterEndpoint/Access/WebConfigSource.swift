// SPDX-License-Identifier: Apache-2.0

import CGnuTLS
import Glibc
import MusterHTTP
import MusterPlatform

/// A web config file that may change at any time, and the newest version of it that can be used.
///
/// Belongs to the endpoint's thread.
final class WebConfigSource {
    /// What a version of the file comes to.
    struct Version {
        var config: WebConfig
        var credentials: TLSCredentials?
    }

    /// What a look at the files has brought.
    enum Change {
        case none
        /// They have changed too recently to be judged; they will be ripe after this time.
        case pending(Duration)
        case loaded
        case failed(WebConfigError)
    }

    private struct Attempt {
        var result: Result<Version, WebConfigError>
        var files: [WatchedFile]
    }

    let file: String
    private(set) var current: Version
    private let settlingTime: Duration
    /// The files that the last attempt has read, or tried to, as they were just before.
    private var files: [WatchedFile]
    /// A change that is not ripe, and when it was first seen.
    private var pending: (files: [WatchedFile], since: MonotonicInstant)?

    /// Loads a file for the first time.
    ///
    /// - Parameter settlingTime: How long files have to be left alone before a change of them is taken up.
    init(file: String, settlingTime: Duration) throws(WebConfigError) {
        let attempt = Self.load(file)
        self.file = file
        self.settlingTime = settlingTime
        current = try attempt.result.get()
        files = attempt.files
    }

    /// Looks whether one of the files has changed, and loads them again if so. The version before stays when they cannot
    /// be used, when they demand less than it without saying so, and while they may still be being written.
    func refresh() -> Change {
        let present = files.map { WatchedFile($0.path) }
        guard present != files else {
            pending = nil
            return .none
        }
        if let wait = wait(for: present) { return .pending(wait) }
        let attempt = Self.load(file)
        // Those that are named for the first time have to be ripe, too, and none may have changed meanwhile.
        if let wait = wait(for: attempt.files.map { WatchedFile($0.path) }) { return .pending(wait) }
        pending = nil
        files = attempt.files
        switch attempt.result {
        case .success(let version):
            if let error = version.config.loss(since: current.config) { return .failed(error) }
            current = version
            return .loaded
        case .failure(let error):
            return .failed(error)
        }
    }

    /// How long to wait until files can be judged; `nil` when they can. They can when all of them were last modified
    /// some time ago by the clock, or have been the same for as long as that.
    private func wait(for present: [WatchedFile]) -> Duration? {
        let now = MonotonicInstant.now
        if pending?.files != present { pending = (present, now) }
        let seen = pending?.since.duration(to: now) ?? .zero
        let age = present.map(\.stamp.age).min() ?? settlingTime
        let rest = settlingTime - max(seen, age)
        return rest > .zero ? rest : nil
    }

    private static func load(_ file: String) -> Attempt {
        var files: [WatchedFile] = []
        do throws(WebConfigError) {
            let config = try WebConfigReader.read(file: file) { path throws(SmallFile.Failure) in
                // Before it is read: a change in between is seen at the next look.
                files.append(WatchedFile(path))
                return try SmallFile.read(path, mustBeRegular: true)
            }
            if !config.users.isEmpty, let problem = cgnutls_load() {
                throw WebConfigError(
                    file: file, line: nil,
                    reason: "basic_auth_users: needs GnuTLS (Debian: libgnutls30), which cannot be loaded: "
                        + String(cString: problem))
            }
            let credentials = try config.tlsCredentials()
            return Attempt(result: .success(Version(config: config, credentials: credentials)), files: files)
        } catch {
            return Attempt(result: .failure(error), files: files)
        }
    }
}

/// A file, as it was at some time.
private struct WatchedFile: Equatable {
    let path: String
    let stamp: FileStamp

    /// Looks at a file.
    init(_ path: String) {
        self.path = path
        stamp = FileStamp(path: path)
    }
}

/// What tells one version of a file from the next without reading it. Links are followed, so that one that is turned
/// to another file, as Kubernetes does with its volumes, is a change.
struct FileStamp: Hashable {
    private var device: UInt = 0
    private var inode: UInt = 0
    private var size = 0
    private var modifiedSeconds = 0
    private var modifiedNanoseconds = 0
    private var changedSeconds = 0
    private var changedNanoseconds = 0
    /// `errno` when it cannot be looked at.
    private var problem: Int32 = 0

    /// Looks at a file.
    init(path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else {
            problem = errno
            return
        }
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        size = Int(status.st_size)
        modifiedSeconds = status.st_mtim.tv_sec
        modifiedNanoseconds = status.st_mtim.tv_nsec
        // It moves with each change of the content, whatever is done to the other.
        changedSeconds = status.st_ctim.tv_sec
        changedNanoseconds = status.st_ctim.tv_nsec
    }

    /// How long ago the content was last modified; zero when that cannot be known.
    var age: Duration {
        var now = timespec()
        guard problem == 0, clock_gettime(CLOCK_REALTIME, &now) == 0 else { return .zero }
        let age =
            Duration.seconds(now.tv_sec - modifiedSeconds) + .nanoseconds(now.tv_nsec - modifiedNanoseconds)
        // Another machine's clock may be ahead.
        return max(age, .zero)
    }
}
