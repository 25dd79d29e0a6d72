// SPDX-License-Identifier: Apache-2.0

/// The last points of a history. Its memory is taken once, so that no number of looks makes it grow.
struct HistoryRing: Sendable {
    /// One point, as ``StatusHistory`` describes it.
    struct Point: Hashable, Sendable {
        var at: Double
        var latenessP99Seconds: Double?
        var threads: Int
        var restarts: Int
        var readyWorkers: Int
    }

    private var points: [Point] = []
    /// Where the oldest point is, once there are as many as there may be.
    private var oldest = 0
    private let capacity: Int

    /// - Parameter capacity: How many points are kept; at least one.
    init(capacity: Int) {
        self.capacity = max(1, capacity)
        points.reserveCapacity(self.capacity)
    }

    mutating func append(_ point: Point) {
        if points.count < capacity {
            points.append(point)
        } else {
            points[oldest] = point
            oldest = (oldest + 1) % capacity
        }
    }

    /// All points in their order, as a report shows them.
    var history: StatusHistory {
        var history = StatusHistory()
        for point in points[oldest...] + points[..<oldest] {
            history.at.append(point.at)
            history.latenessP99Seconds.append(point.latenessP99Seconds)
            history.threads.append(point.threads)
            history.restarts.append(point.restarts)
            history.readyWorkers.append(point.readyWorkers)
        }
        return history
    }
}
