// SPDX-License-Identifier: Apache-2.0

import Logging

struct SystemdNotifier: Sendable {
    init?(logger: Logger) { return nil }
    var watchdogInterval: Duration? { nil }
    func ready(status: String, mainPID: Int32? = nil) {}
    func reloading() {}
    func stopping() {}
    func status(_ text: String) {}
    func watchdog() {}
}
