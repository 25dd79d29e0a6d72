// SPDX-License-Identifier: Apache-2.0

public import Logging
public import MusterPlatform

/// Placeholder until merged.
public final class SlotSource: MetricSource {
    public init(constantLabels: [(name: String, value: String)], logger: Logger) {}
    public func use(arena: OwnedDescriptor) {}
    public func processEnded(pid: Int32) {}
    public var isReadable: Bool { true }
    public func needsFreshArena() -> Bool { false }
    public static func makeArena(name: String, capacity: Int) throws(ArenaError) -> OwnedDescriptor {
        try ArenaWriter.create(name: name, capacity: capacity).descriptor
    }
    public func prepare() -> any PreparedMetrics { CollectorSource { [] }.prepare() }
}
