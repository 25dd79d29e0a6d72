// SPDX-License-Identifier: Apache-2.0

/// What one benchmark has found.
struct Report {
    let benchmark: String
    let figures: [Figure]
    /// Why there are no figures.
    let problem: String?
    /// Whether it was left out rather than failed.
    let isSkipped: Bool
    let load: MachineLoad

    init(benchmark: String, outcome: Result<[Figure], any Error>, load: MachineLoad) {
        self.benchmark = benchmark
        self.load = load
        switch outcome {
        case .success(let figures):
            self.figures = figures
            problem = nil
            isSkipped = false
        case .failure(let error):
            figures = []
            problem = "\(error)"
            isSkipped = error is BenchmarkSkipped
        }
    }

    /// Whether every limit was held; what was left out does not count.
    var isInOrder: Bool {
        guard problem == nil else { return isSkipped }
        return figures.allSatisfy { $0.verdict == .ok || $0.verdict == .none }
    }
}
