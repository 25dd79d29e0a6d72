// SPDX-License-Identifier: Apache-2.0

/// How a state is shown: a word, a symbol that is another one for each kind of state, and a colour that adds nothing to
/// them.
struct PageState {
    let word: String
    let symbol: StaticString
    let kind: StaticString

    init(_ state: ServiceState) {
        switch state {
        case .ready: self.init("Ready", "●", "good")
        case .degraded: self.init("Degraded", "▲", "warn")
        case .unready: self.init("Not ready", "✕", "bad")
        case .starting: self.init("Starting", "◔", "calm")
        case .failing: self.init("Failing", "✕", "bad")
        case .stopping: self.init("Stopping", "■", "calm")
        }
    }

    init(_ state: WorkerState) {
        switch state {
        case .starting: self.init("starting", "◔", "calm")
        case .ready: self.init("ready", "●", "good")
        case .stopping: self.init("stopping", "■", "calm")
        case .hung: self.init("hung", "✕", "bad")
        case .backoff: self.init("backing off", "↻", "warn")
        case .finished: self.init("finished", "✓", "calm")
        }
    }

    init(_ state: CheckState) {
        switch state {
        case .pass: self.init("pass", "●", "good")
        case .warn: self.init("warning", "▲", "warn")
        case .fail: self.init("fail", "✕", "bad")
        case .unknown: self.init("not asked yet", "○", "calm")
        }
    }

    private init(_ word: String, _ symbol: StaticString, _ kind: StaticString) {
        self.word = word
        self.symbol = symbol
        self.kind = kind
    }

    func write(to html: inout HTMLWriter, as style: StaticString) {
        html.markup("<span class=\"")
        html.markup(style)
        html.markup(" ")
        html.markup(kind)
        html.markup("\"><span aria-hidden=\"true\">")
        html.markup(symbol)
        html.markup("</span>")
        html.text(word)
        html.markup("</span>")
    }
}
