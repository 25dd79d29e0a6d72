// SPDX-License-Identifier: Apache-2.0

/// The processes by birth, oldest first. Births only grow, so a sorted array it is.
struct ProcessTable: Sendable {
    private(set) var all: [WorkerProcess] = []

    var isEmpty: Bool { all.isEmpty }

    /// The process of a birth. Setting it to nil takes it out; a birth that is not there cannot be set.
    subscript(birth: Int) -> WorkerProcess? {
        get { index(of: birth).map { all[$0] } }
        set {
            guard let index = index(of: birth) else { return }
            if let newValue { all[index] = newValue } else { all.remove(at: index) }
        }
    }

    mutating func append(_ process: WorkerProcess) {
        all.append(process)
    }

    mutating func remove(_ birth: Int) -> WorkerProcess? {
        index(of: birth).map { all.remove(at: $0) }
    }

    private func index(of birth: Int) -> Int? {
        var range = all.startIndex..<all.endIndex
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            if all[middle].birth == birth { return middle }
            range = all[middle].birth < birth ? middle + 1..<range.upperBound : range.lowerBound..<middle
        }
        return nil
    }
}
