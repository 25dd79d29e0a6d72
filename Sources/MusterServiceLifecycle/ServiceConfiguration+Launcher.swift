// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
public import Muster
public import ServiceLifecycle

extension ServiceGroupConfiguration.ServiceConfiguration {
    /// A launcher in a service group, whose end, for example by SIGTERM, shuts the group down gracefully.
    ///
    /// - Parameter launcher: What to run. It can be run once.
    /// - Returns: Its ``LauncherService``, configured.
    public static func launcher(_ launcher: any MainLauncher) -> Self {
        Self(service: LauncherService(launcher), successTerminationBehavior: .gracefullyShutdownGroup)
    }
}
#endif
