// SPDX-License-Identifier: Apache-2.0

// A service author imports `Muster` and has all of the runtime.
@_exported public import MusterEndpoint
@_exported public import MusterExecution
@_exported public import MusterHealth
@_exported public import MusterMetrics
@_exported public import MusterPlatform
@_exported public import MusterSupervision
