// SPDX-License-Identifier: Apache-2.0

/// What a fixed-interval looping call does when it is behind its grid by an interval or more: because a run has
/// lasted beyond the start of the next, or because the loop could not run when it was due.
public enum OverrunPolicy: String, Hashable, Sendable, CaseIterable {
    /// Makes up for every missed start, one right after the other, and is back on its grid then.
    case burst
    /// Runs at once and counts its grid from there: the schedule slips, which shows in
    /// `muster_loop_drift_seconds`. Upstream's behaviour.
    case delay
    /// Leaves the missed starts out and waits for the next point of its grid.
    case skip
}
