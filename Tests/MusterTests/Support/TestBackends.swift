// SPDX-License-Identifier: Apache-2.0

import Muster

/// What every component's suite runs on.
let bothBackends: [BackendType] = [.cooperative, .threading]
