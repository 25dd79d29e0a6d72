// SPDX-License-Identifier: Apache-2.0

/// A family made at the time of the scrape.
public struct CollectedFamily: Sendable {
    /// What is said about the family; its type is a counter, a gauge or an information.
    public var descriptor: FamilyDescriptor
    /// The samples, in the order in which they shall appear.
    public var samples: [(labels: [(name: String, value: String)], value: Double)]

    /// Makes a family.
    ///
    /// - Parameters:
    ///   - descriptor: What is said about the family.
    ///   - samples: The samples; a family without samples is not shown.
    public init(
        _ descriptor: FamilyDescriptor, samples: [(labels: [(name: String, value: String)], value: Double)]
    ) {
        self.descriptor = descriptor
        self.samples = samples
    }

    /// Makes a family of one sample without labels.
    ///
    /// - Parameters:
    ///   - descriptor: What is said about the family.
    ///   - value: The sample's value.
    public init(_ descriptor: FamilyDescriptor, value: Double) {
        self.init(descriptor, samples: [(labels: [], value: value)])
    }
}
