// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The environment variables of Muster's settings, as `docs/configuration.md` lists them, and of the demo's own.
func settingsOfTheDocumentation() throws -> Set<String> {
    let page = try String(contentsOfFile: "\(Tools.root)/docs/configuration.md", encoding: .utf8)
    let names = page.split(separator: "\n").filter { $0.hasPrefix("| `muster.") }
        .flatMap { $0.matches(of: /`(MUSTER_[A-Z_]+)`/).map { String($0.output.1) } }
    return Set(names).union(["MUSTER_BACKEND"])
}
