// SPDX-License-Identifier: Apache-2.0

/// One figure's course over the last minutes as a line, with its present and its highest value in words.
struct StatusChart {
    /// How far back a chart shows at most, in seconds.
    static let longestSpan = 900.0

    private static let width = 300.0
    private static let height = 72.0

    private let title: StaticString
    private let points: [(at: Double, value: Double)]
    private let now: Double
    private let isStepped: Bool
    private let format: (Double) -> String

    /// - Parameters:
    ///   - title: What the figure is.
    ///   - at: When the values were taken, in seconds since 1970-01-01 00:00 UTC.
    ///   - values: The values; one that is not finite is a gap.
    ///   - now: Where the chart ends.
    ///   - isStepped: Whether a value holds until the next one; the chart then shows how much has been added.
    ///   - format: Writes a value for people.
    init(
        title: StaticString, at: [Double], values: [Double], now: Double, isStepped: Bool = false,
        format: @escaping (Double) -> String
    ) {
        self.title = title
        points = zip(at, values).filter { now - $0.0 <= Self.longestSpan && $0.0 <= now }.map {
            (at: $0.0, value: $0.1)
        }
        self.now = now
        self.isStepped = isStepped
        self.format = format
    }

    private var span: Double { max(10, points.first.map { now - $0.at } ?? 0) }
    private var finite: [Double] { points.map(\.value).filter(\.isFinite) }
    /// Counts that only grow are shown from where they were at the left edge.
    private var base: Double { isStepped ? finite.first ?? 0 : 0 }

    func write(to html: inout HTMLWriter) {
        let latest = finite.last.map { format($0) } ?? PageFormat.unknown
        let highest = (finite.max() ?? 0) - base
        let range = PageFormat.span(span)
        html.markup("<figure class=\"chart\"><figcaption>")
        html.markup(title)
        html.markup("</figcaption>\n<div class=\"now\">")
        html.text(latest)
        html.markup("</div>\n<svg viewBox=\"0 0 300 72\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"")
        html.markup(title)
        html.text(
            isStepped
                ? " in the last \(range): \(format(highest)) more, \(latest) in total"
                : " in the last \(range): now \(latest), at most \(finite.isEmpty ? latest : format(highest))")
        html.markup("\">")
        html.markup("<line class=\"base\" x1=\"0\" y1=\"71.5\" x2=\"300\" y2=\"71.5\"/>")
        for piece in pieces { write(piece, scale: highest, to: &html) }
        html.markup("</svg>\n<div class=\"axis\"><span>")
        html.text("last \(range)")
        html.markup("</span><span>")
        if finite.isEmpty {
            html.text("no data yet")
        } else {
            html.text(isStepped ? "\(format(highest)) in this period" : "at most \(format(highest))")
        }
        html.markup("</span></div></figure>\n")
    }

    /// The points between the gaps.
    private var pieces: [[(at: Double, value: Double)]] {
        points.split { !$0.value.isFinite }.map(Array.init)
    }

    private func write(_ piece: [(at: Double, value: Double)], scale: Double, to html: inout HTMLWriter) {
        guard let first = piece.first, let last = piece.last else { return }
        // The latest point alone would be a line without length.
        let start = min(x(first.at), Self.width * 0.99)
        var line = "M\(start) \(y(first.value, scale))"
        // A single point is a short line, and the last one goes on to the right edge.
        let end = last.at == points.last?.at ? now : max(last.at, first.at + span / 100)
        for point in piece.dropFirst() {
            if isStepped { line += "H\(x(point.at))" }
            line += "L\(x(point.at)) \(y(point.value, scale))"
        }
        line += "H\(x(end))"
        html.markup("<path class=\"area\" d=\"")
        html.part("\(line)V71.5H\(start)Z")
        html.markup("\"/><path class=\"line\" vector-effect=\"non-scaling-stroke\" d=\"")
        html.part(line)
        html.markup("\"/>")
    }

    private func x(_ instant: Double) -> Double {
        (max(0, 1 - (now - instant) / span) * Self.width * 10).rounded() / 10
    }

    private func y(_ value: Double, _ scale: Double) -> Double {
        let share = scale > 0 ? (value - base) / scale : 0
        return ((Self.height - 1.5 - share * (Self.height - 6)) * 10).rounded() / 10
    }
}
