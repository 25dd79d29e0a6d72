// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Links", .timeLimit(.minutes(5)))
struct LinkTests {
    @Test("between pages lead to files, pictures and headings that are there")
    func pages() throws {
        let pages = Repository.pages
        #expect(pages.count > 10)
        var count = 0
        var checker = LinkChecker()
        for page in pages {
            for link in try Repository.page(page).links {
                count += 1
                let fault = try checker.fault(of: link.target, from: page)
                #expect(fault == nil, "\(page):\(link.line): \(link.target): \(fault ?? "")")
            }
        }
        #expect(count > 50)
    }

    @Test("from sources, rules and scripts to pages lead to headings that are there")
    func sources() throws {
        let files = Repository.files(
            in: ["Sources", "deploy", "dashboards"],
            endingIn: [".swift", ".c", ".h", ".yml", ".yaml", ".json", ".jsonnet", ".libsonnet", ".service", ".socket"])
        var count = 0
        var checker = LinkChecker()
        for file in files {
            let text = try Repository.text(file)
            guard text.range(of: "docs/") != nil else { continue }
            for match in text.matches(of: /docs\/[A-Za-z0-9_\/-]+\.md(#[A-Za-z0-9_-]+)?/) {
                count += 1
                let fault = try checker.fault(of: String(match.0), from: "README.md")
                #expect(fault == nil, "\(file): \(match.0): \(fault ?? "")")
            }
        }
        #expect(count > 0)
    }

    @Test("of the index lead to every page")
    func index() throws {
        let linked = Set(
            try Repository.page("docs/README.md").links.map { link in
                "docs/\(link.target.split(separator: "#", omittingEmptySubsequences: false)[0])"
            })
        let pages = Repository.files(in: ["docs"], endingIn: [".md"]).filter { $0 != "docs/README.md" }
        #expect(Set(pages).subtracting(linked).isEmpty)
    }

    @Test("are found in Markdown, and the anchors of headings are GitHub's")
    func parser() {
        let page = MarkdownPage(
            """
            # A `systemd` unit: [why](x.md), and how?
            ## Twice
            ## Twice
            Text with [a link](other.md#there), `[none](code.md)` and ![a picture](images/it.png).
            ```sh
            # no heading [none](block.md)
            ```
            """)
        #expect(page.anchors == ["a-systemd-unit-why-and-how", "twice", "twice-1"])
        #expect(page.links.map(\.target) == ["x.md", "other.md#there", "images/it.png"])
        #expect(page.blocks.map(\.text) == ["# no heading [none](block.md)"])
    }
}
