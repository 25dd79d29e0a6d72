// SPDX-License-Identifier: Apache-2.0

/// One service, as it was launched.
struct LaunchedService: Sendable {
    var service: any ServiceBase
    var workers: Int
    var options: WorkerOptions
}
