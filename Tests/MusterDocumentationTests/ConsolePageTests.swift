// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Muster

@Suite("The page of the console")
struct ConsolePageTests {
    @Test("has a row for each command, with its arguments, and no row for another")
    func commands() throws {
        let rows = try Repository.page("docs/console.md").rows.filter { $0.count == 3 && $0[0].hasPrefix("`") }
        let usages = ConsoleCommand.table.map { "`\($0.usage)`" }
        #expect(rows.map { $0[0] } == usages)
    }
}
