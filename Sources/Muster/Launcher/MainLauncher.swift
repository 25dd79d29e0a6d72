// SPDX-License-Identifier: Apache-2.0

/// A launcher that is the program: it waits until the process is told to end, and says with which status.
public protocol MainLauncher: AnyObject, Sendable {
    /// The metrics and health checks, and where they are served.
    var monitoring: Monitoring { get }

    /// Runs until the process is told to end. To be called from a synchronous `main`.
    ///
    /// - Returns: The status that the process should exit with.
    func wait() -> ExitStatus

    /// Runs until the process is told to end, or the calling task is cancelled. To be called from an asynchronous
    /// `main`.
    ///
    /// - Returns: The status that the process should exit with.
    func run() async -> ExitStatus

    /// Registers what is to be done once everything launched is ready; done at once when it is.
    ///
    /// - Parameter action: What to do; it must not block.
    func whenReady(_ action: @escaping @Sendable () -> Void)

    /// Ends gracefully, as SIGTERM does. May be called from anywhere, any number of times.
    ///
    /// - Parameter status: What the process should exit with.
    func stop(_ status: ExitStatus)

    /// Reloads, as SIGHUP does.
    func restart()
}

extension MainLauncher {
    /// Ends gracefully, as SIGTERM does, with success.
    public func stop() {
        stop(.success)
    }
}
