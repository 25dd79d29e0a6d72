// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
/// Where a service's `run()`, and the child tasks that it makes, run.
public enum LifecyclePlacement: Sendable {
    /// On the backend: the job's own thread on the threading backend, the hub on the cooperative one. One thread for
    /// the whole service, which what blocks stalls; on the cooperative backend the supervisor sees that.
    case backend
    /// On Swift's global pool, as in a program without Muster: as many threads as there are processors. What blocks
    /// them is not seen as a hang.
    case globalPool
}
#endif
