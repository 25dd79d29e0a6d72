// SPDX-License-Identifier: Apache-2.0

#if ServiceLifecycle
import Muster

/// An error of the tests' own.
struct TestFailure: Error, Hashable {}

/// What every suite runs on.
let bothBackends: [BackendType] = [.cooperative, .threading]
#endif
