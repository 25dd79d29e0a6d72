// SPDX-License-Identifier: Apache-2.0

/// What a fixed-interval looping call does when a run has lasted beyond the start of the next.
///
/// A loop that wakes late, because its hub or the machine was busy, keeps its grid: ``burst`` and ``delay`` make up
/// for the starts that have passed, ``skip`` leaves them out. When ``delay`` wakes more than a second, and an interval
/// or more, too late, it does not make up for that but counts its grid from there.
public enum OverrunPolicy: String, Hashable, Sendable, CaseIterable {
    /// Makes up for every missed start, one right after the other, and is back on its grid then.
    case burst
    /// Runs at once and counts its grid from there: the schedule slips, which shows in
    /// `muster_loop_drift_seconds`. Upstream's behaviour.
    case delay
    /// Leaves the missed starts out and waits for the next point of its grid.
    case skip
}
