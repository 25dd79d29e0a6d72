// SPDX-License-Identifier: Apache-2.0

/// The README's service, as a file that can be compiled.
enum ReadmeService {
    struct Missing: Error {}

    /// Its one block of Swift, with what it calls and does not show.
    static func source() throws -> String {
        guard let service = try Repository.page("README.md").blocks.first(where: { $0.language == "swift" }) else {
            throw Missing()
        }
        return service.text + "\n\nfunc deliverPendingMail() async throws {}"
    }
}
