// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// Where the endpoint listens.
public typealias EndpointAddress = ListenAddress
