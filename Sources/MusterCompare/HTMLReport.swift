// SPDX-License-Identifier: Apache-2.0

import MusterPlatform

extension Report {
    /// The report as one page that needs nothing else: no script, no font, no picture from elsewhere.
    package func html() -> String {
        let (a, b) = (evidence.baseline.name, evidence.candidate.name)
        var body = """
            <header><p class="eyebrow">Muster comparison by \(evidence.by.html)</p>
            <h1>\(b.html) <span class="against">against</span> \(a.html)</h1>
            <p class="summary">\(summary.html)</p></header>

            """
        for refusal in refusals {
            body += """
                <div class="refusal"><strong>No verdict.</strong> \(refusal.reason.html). \(refusal.remedy.html).</div>

                """
        }
        if !conditions.isEmpty {
            body += "<section><h2>Conditions</h2><ul class=\"conditions\">"
            for condition in conditions {
                let mark = ["holds": "bad", "undecided": "unsure"][condition.outcome.rawValue] ?? "good"
                body += """
                    <li><code>\(condition.text.html)</code> <span class="word \(mark)">\(condition.outcome.words.html)</span></li>
                    """
            }
            body += "</ul></section>\n"
        }
        body += table()
        if !remedies.isEmpty {
            body += "<section><h2>What would help</h2><dl>"
            for (names, reason, remedy) in remedies {
                body += "<dt>\(reason.html): \(names.joined(separator: ", ").html)</dt><dd>\(remedy.html)</dd>"
            }
            body += "</dl></section>\n"
        }
        body += list("Notes", notes.map(\.html))
        body += plots()
        body += "<section><h2>How it was measured</h2><dl class=\"facts\">"
        for fact in evidence.setting { body += "<dt>\(fact.name.html)</dt><dd><code>\(fact.value.html)</code></dd>" }
        for side in [evidence.baseline, evidence.candidate] where !side.backends.isEmpty {
            body += "<dt>\(side.name.html) ran</dt><dd>backend \(side.backends.joined(separator: ", ").html), Muster "
            body += "\(side.versions.joined(separator: ", ").html)</dd>"
        }
        body += "</dl></section>\n"
        return """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>\(b.html) against \(a.html): Muster comparison</title>
            <style>\(Self.style)</style></head>
            <body><main>
            \(body)</main></body></html>

            """
    }

    private func list(_ title: String, _ items: [String]) -> String {
        items.isEmpty
            ? "" : "<section><h2>\(title)</h2><ul>" + items.map { "<li>\($0)</li>" }.joined() + "</ul></section>\n"
    }

    // MARK: The table

    private func table() -> String {
        let (a, b) = (evidence.baseline.name.html, evidence.candidate.name.html)
        var text = """
            <section><h2>Results</h2>
            <p class="key">\(legend.html)</p>
            <p class="key">Bars: the ratio of \(b) to \(a) with its 95 % interval, from a quarter to four times; the line \
            in the middle is equality, the faint ones are half and twice.</p>
            <table><thead><tr><th>quantity</th><th class="n">\(a)</th><th class="n">\(b)</th><th>ratio</th>\
            <th class="n">change [95 %]</th><th class="n p">p</th><th>verdict</th></tr></thead><tbody>

            """
        for row in shownRows {
            let quantity = row.quantity
            text += """
                <tr><td class="name">\(quantity.title.html)<code>\(quantity.name.html)</code></td>\
                <td class="n" data-label="\(a)">\((row.baseline.map(quantity.text) ?? "-").html)</td>\
                <td class="n" data-label="\(b)">\((row.candidate.map(quantity.text) ?? "-").html)</td>\
                <td class="bar">\(bar(row))</td>\
                <td class="n change" data-label="change">\(row.changeText.html)</td>\
                <td class="n p" data-label="p">\(row.probabilityText.html)</td>\
                <td class="verdict"><span class="word \(mark(row))">\(row.word.html)</span></td></tr>

                """
        }
        return text + "</tbody></table></section>\n"
    }

    private func mark(_ row: Row) -> String {
        switch row.outcome {
        case .better: "good"
        case .worse: "bad"
        case .differs: "strong"
        case .alike: "quiet"
        case .noVerdict, .noData: "unsure"
        }
    }

    /// The ratio on a logarithmic axis from 1/4 to 4.
    private func bar(_ row: Row) -> String {
        guard let ratio = row.ratio else { return "" }
        func x(_ ratio: Double) -> Double { min(197, max(3, 100 + 97 * Self.log4(ratio))) }
        let (low, high, middle) = (x(ratio.low), x(ratio.high), x(ratio.estimate))
        let label =
            "ratio \(PlainText.number(ratio.estimate)), from \(PlainText.number(ratio.low)) to \(PlainText.number(ratio.high))"
        return """
            <svg class="ratio \(mark(row))" viewBox="0 0 200 18" preserveAspectRatio="none" role="img" \
            aria-label="\(label)"><title>\(label)</title>\
            <line class="grid" x1="51.5" y1="3" x2="51.5" y2="15"/><line class="grid" x1="148.5" y1="3" x2="148.5" y2="15"/>\
            <line class="one" x1="100" y1="0" x2="100" y2="18"/>\
            <rect class="interval" x="\(Plot.text(low))" y="6" width="\(Plot.text(max(1.5, high - low)))" height="6"/>\
            <rect class="estimate" x="\(Plot.text(middle - 1.5))" y="2" width="3" height="14"/></svg>
            """
    }

    private static func log4(_ ratio: Double) -> Double { Plot.log(max(1e-9, ratio)) / Plot.log(4) }

    // MARK: Plots

    private func plots() -> String {
        var text = ""
        for measured in evidence.measured {
            guard let row = rows.first(where: { $0.quantity.name == measured.quantity.name }),
                row.ratio != nil || row.p != nil,
                // What never changes needs no picture.
                Set(measured.baseline.all + measured.candidate.all).count > 1
            else { continue }
            text += """
                <figure><figcaption>\(measured.quantity.title.html) <span class="word \(mark(row))">\(row.word.html)</span>\
                </figcaption>\(Plot(measured).svg)</figure>

                """
        }
        guard !text.isEmpty else { return "" }
        let unit = evidence.method == .run ? "runs" : evidence.method == .workers ? "workers" : "stretches of time"
        return """
            <section class="plots"><h2>Distributions and time lines</h2>
            <p class="key"><span class="swatch a"></span>\(evidence.baseline.name.html), the baseline \
            <span class="swatch b"></span>\(evidence.candidate.name.html), the candidate. Left: every value, and each \
            side's median. Right: the values in the order of time; a gap lies between \(unit).</p><div class="figures">
            \(text)</div></section>

            """
    }

    private static let style = """
        :root{--bg:#fcfcfb;--fg:#1c1d1f;--quiet:#5f6368;--line:#dcdee1;--card:#fff;--a:#2f6fb3;--b:#c2571a;\
        --good:#1a7a3c;--bad:#b3261e;--unsure:#7a5b00}
        @media (prefers-color-scheme:dark){:root{--bg:#141517;--fg:#e6e7e9;--quiet:#9aa0a6;--line:#33363b;\
        --card:#1c1e21;--a:#7db3ee;--b:#f09a5d;--good:#6fcf8f;--bad:#ff8a80;--unsure:#e2bd5a}}
        *{box-sizing:border-box}
        body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
        main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
        h1{font-size:28px;line-height:1.2;margin:0 0 8px;overflow-wrap:anywhere}
        h2{font-size:17px;margin:32px 0 8px}
        .eyebrow{margin:0 0 4px;color:var(--quiet);font-size:13px}
        .against{color:var(--quiet);font-weight:400}
        .summary{font-size:17px;margin:0}
        .refusal{border-left:4px solid var(--bad);background:var(--card);padding:10px 14px;margin:16px 0}
        code{font:12.5px ui-monospace,monospace;overflow-wrap:anywhere}
        table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
        th{font-size:12.5px;color:var(--quiet);font-weight:600;text-align:left;padding:6px 8px;\
        border-bottom:1px solid var(--line)}
        td{padding:6px 8px;border-bottom:1px solid var(--line);vertical-align:middle}
        .n{text-align:right;white-space:nowrap}
        .name{min-width:225px}.name code{display:block;color:var(--quiet)}
        .bar{width:170px}
        .ratio{display:block;width:100%;min-width:110px;height:18px}
        .grid{stroke:var(--line)}.one{stroke:var(--quiet)}
        .interval{fill:var(--quiet);opacity:.45}.estimate{fill:var(--quiet)}
        .ratio.good rect{fill:var(--good)}.ratio.bad rect{fill:var(--bad)}.ratio.strong rect{fill:var(--fg)}
        .word{font-weight:600;white-space:nowrap}
        .good{color:var(--good)}.bad{color:var(--bad)}.unsure{color:var(--unsure);font-weight:400;white-space:normal}
        .word.quiet{color:var(--quiet);font-weight:400}
        .key{color:var(--quiet);font-size:13.5px;max-width:75ch}
        .swatch{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 0}
        .swatch.b{margin-left:10px}.swatch.a{background:var(--a)}.swatch.b{background:var(--b)}
        dl{margin:0}dt{font-weight:600;overflow-wrap:anywhere}dd{margin:0 0 10px}
        ul{padding-left:20px;margin:0}.conditions{list-style:none;padding:0}
        .figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr));gap:14px}
        figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:6px;padding:10px 12px}
        figcaption{font-size:13.5px;margin-bottom:4px;display:flex;justify-content:space-between;gap:8px}
        figure svg{display:block;width:100%;height:auto}
        figure text{fill:var(--quiet);font:10px system-ui,sans-serif}
        .da{fill:var(--a)}.db{fill:var(--b)}.dot{opacity:.5}
        .la{stroke:var(--a)}.lb{stroke:var(--b)}.la,.lb{fill:none;stroke-width:1.4}
        .ma{stroke:var(--a)}.mb{stroke:var(--b)}.ma,.mb{stroke-width:2}
        .axis{stroke:var(--line)}
        @media screen and (max-width:760px){main{padding:18px 14px 40px}h1{font-size:23px}
        thead{display:none}table,tbody{display:block}
        tr{display:grid;grid-template-columns:3fr 2fr;gap:2px 12px;padding:10px 0;border-bottom:1px solid var(--line)}
        td{border:0;padding:0}.name{grid-column:1/2;min-width:0}.verdict{grid-column:2/3;grid-row:1;text-align:right}
        .bar,.change{grid-column:1/3}.bar{width:auto}.n{text-align:left;white-space:normal}
        .p:empty,.change:empty,.bar:empty{display:none}
        td[data-label]::before{content:attr(data-label) " ";color:var(--quiet);font-size:12.5px}}
        @media print{:root{--bg:#fff;--fg:#000;--quiet:#444;--line:#bbb;--card:#fff;--a:#2f6fb3;--b:#c2571a;\
        --good:#1a7a3c;--bad:#b3261e;--unsure:#7a5b00}body{font-size:10px}main{max-width:none;padding:0}
        h1{font-size:20px}h2{font-size:14px;margin-top:18px}.summary{font-size:12px}.key{font-size:10px}
        code{font-size:9px}th,td{font-size:inherit;padding:3px 5px}.name{min-width:160px}
        .bar{width:80px}.ratio{min-width:70px}.figures{grid-template-columns:1fr 1fr 1fr}figcaption{font-size:10px}
        figure,tr,.refusal{break-inside:avoid}h2{break-after:avoid}*{print-color-adjust:exact}}
        """
}

/// The distribution and the time line of one quantity.
private struct Plot {
    private let measured: Evidence.Measured
    private let low: Double
    private let high: Double

    init(_ measured: Evidence.Measured) {
        self.measured = measured
        let all = measured.baseline.all + measured.candidate.all
        let (least, most) = (all.min() ?? 0, all.max() ?? 1)
        let margin = max((most - least) * 0.06, abs(most) * 0.01, 1e-12)
        low = least >= 0 ? max(0, least - margin) : least - margin
        high = most + margin
    }

    var svg: String {
        let top = measured.quantity.text(high).html
        let bottom = measured.quantity.text(low).html
        return """
            <svg viewBox="0 0 320 120" role="img" aria-label="\(measured.quantity.title.html)">\
            <line class="axis" x1="58" y1="6" x2="58" y2="106"/><line class="axis" x1="126" y1="106" x2="314" y2="106"/>\
            <text x="54" y="13" text-anchor="end">\(top)</text><text x="54" y="106" text-anchor="end">\(bottom)</text>\
            <text x="220" y="118" text-anchor="middle">time →</text>\
            \(dots(measured.baseline, "a", x: 76))\(dots(measured.candidate, "b", x: 104))\
            \(line(measured.baseline, "a"))\(line(measured.candidate, "b"))</svg>
            """
    }

    private func y(_ value: Double) -> Double { 106 - 100 * (value - low) / (high - low) }

    private func dots(_ values: Evidence.Values, _ side: String, x: Double) -> String {
        // A thousand dots say no more than some: the same ones in each report.
        let step = max(1, values.all.count / 150)
        let dots = values.all.enumerated().filter { $0.offset % step == 0 }.map { index, value in
            let shift = Double((index * 7) % 11 - 5) * 1.2
            return
                "<circle class=\"dot d\(side)\" cx=\"\(Self.text(x + shift))\" cy=\"\(Self.text(y(value)))\" r=\"1.8\"/>"
        }
        let middle = Self.text(y(values.median))
        return dots.joined()
            + "<line class=\"m\(side)\" x1=\"\(Self.text(x - 11))\" y1=\"\(middle)\" x2=\"\(Self.text(x + 11))\" y2=\"\(middle)\"/>"
    }

    private func line(_ values: Evidence.Values, _ side: String) -> String {
        let count = values.all.count + values.units.count
        let width = 188 / Double(max(2, count) - 1)
        var path = ""
        var place = 0.0
        for unit in values.units {
            for (index, value) in unit.enumerated() {
                path += "\(index == 0 ? "M" : "L")\(Self.text(126 + place * width)) \(Self.text(y(value)))"
                // A unit of one value is a short stroke.
                if unit.count == 1 { path += "h4" }
                place += 1
            }
            place += 1
        }
        return "<path class=\"l\(side)\" d=\"\(path)\"/>"
    }

    /// A coordinate to a tenth.
    static func text(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(Double(tenths) / 10)"
    }

    static func log(_ value: Double) -> Double { Statistics.logarithm(value) }
}

extension String {
    /// The text where HTML expects text or an attribute's value.
    fileprivate var html: String {
        replacingCharacters {
            ["&": "&amp;", "<": "&lt;", ">": "&gt;", "\"": "&quot;", "'": "&#39;"][$0]
        }
    }

    /// The text with others in the place of some characters.
    func replacingCharacters(_ replacement: (Character) -> String?) -> String {
        reduce(into: "") { result, character in result += replacement(character) ?? String(character) }
    }
}
