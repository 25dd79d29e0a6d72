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
        case loaded
        case failed(WebConfigError)
    }

    private struct Attempt {
        var result: Result<Version, WebConfigError>
        var files: [(path: String, stamp: FileStamp)]
    }

    let file: String
    private(set) var current: Version
    /// The files that the last attempt has read, or tried to, as they were just before.
    private var files: [(path: String, stamp: FileStamp)]

    /// Loads a file for the first time.
    init(file: String) throws(WebConfigError) {
        let attempt = Self.load(file)
        self.file = file
        current = try attempt.result.get()
        files = attempt.files
    }

    /// Looks whether one of the files has changed, and loads them again if so. When they cannot be used, the version
    /// before stays.
    func refresh() -> Change {
        guard files.contains(where: { FileStamp(path: $0.path) != $0.stamp }) else { return .none }
        let attempt = Self.load(file)
        files = attempt.files
        switch attempt.result {
        case .success(let version):
            current = version
            return .loaded
        case .failure(let error):
            return .failed(error)
        }
    }

    private static func load(_ file: String) -> Attempt {
        var files: [(path: String, stamp: FileStamp)] = []
        do throws(WebConfigError) {
            let config = try WebConfigReader.read(file: file) { path throws(SmallFile.Failure) in
                // Before it is read: a change in between is seen at the next look.
                files.append((path, FileStamp(path: path)))
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
}
