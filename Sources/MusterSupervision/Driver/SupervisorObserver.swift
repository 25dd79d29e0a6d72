// SPDX-License-Identifier: Apache-2.0

/// Who hears what becomes of the workers. Called on the supervisor's thread; it must not block.
package protocol SupervisorObserver: AnyObject, Sendable {
    /// Something has happened that people and metrics are told.
    func supervisor(_ supervisor: Supervisor, notes notice: SupervisorNotice)

    /// The supervisor's picture of its workers has changed.
    func supervisorDidChange(_ supervisor: Supervisor)

    /// The workers are told to stop: from here on nobody accepts connections.
    func supervisorStopsWorkers(_ supervisor: Supervisor)

    /// The last worker is gone.
    func supervisor(_ supervisor: Supervisor, finishedWith status: Int32)
}
