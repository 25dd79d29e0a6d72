// SPDX-License-Identifier: Apache-2.0

/// The series of one slot over all its arenas: the text in front of their values, and the totals carried on.
struct SlotCatalog: Sendable {
    /// What a family needs besides its text, to find series of one arena again in the next one.
    private struct Names: Sendable {
        /// Tells a family from another one that took its name.
        var serial: Int
        var labelValues: [[String]] = []
        /// Made when another arena is attached: until then all series are new.
        var series: [[String]: Int]?
    }

    /// How far a family of the present arena has been looked at.
    private struct Progress: Sendable {
        var place: Int
        var seriesSeen = 0
    }

    private(set) var rendered: [RenderedFamily] = []
    private var names: [Names] = []
    private var places: [String: Int] = [:]
    private var progress: [Progress] = []
    private var nextSerial = 0
    private(set) var textSize = 0
    /// Series without text because there would be too much of it.
    private(set) var seriesLeftOut: UInt64 = 0
    /// Whether a scraper has asked for messages: from then on, labels are encoded for them.
    var needsLabels = false
    /// Rises whenever families come, go or change.
    private(set) var version = 0

    private let constantLabels: [(name: String, value: String)]
    private let textLimit: Int

    /// How much is kept.
    struct Size: Hashable, Sendable {
        var families: Int
        var series: Int
        var carriedWords: Int
        var textBytes: Int
    }

    var size: Size {
        Size(
            families: rendered.count, series: names.reduce(0) { $0 + $1.labelValues.count },
            carriedWords: rendered.reduce(0) { $0 + $1.carried.count }, textBytes: textSize)
    }

    init(constantLabels: [(name: String, value: String)], textLimit: Int) {
        self.constantLabels = constantLabels
        self.textLimit = textLimit
    }

    /// Takes up what the present arena describes.
    ///
    /// - Returns: The names of families that contradict those of an earlier arena, whose totals are gone with that.
    mutating func update(from index: borrowing ArenaIndex) -> [String] {
        var contradictions: [String] = []
        for (position, family) in index.families.enumerated() {
            if position == progress.count {
                progress.append(Progress(place: place(for: family.definition, &contradictions)))
            }
            let place = progress[position].place
            for series in family.series[progress[position].seriesSeen...] { add(series, at: place) }
            progress[position].seriesSeen = family.series.count
        }
        return contradictions
    }

    /// Encodes the labels of new series, if a scraper needs them.
    mutating func encodeLabels() {
        guard needsLabels else { return }
        for place in rendered.indices { rendered[place].encodeLabels() }
    }

    private mutating func place(for definition: FamilyDefinition, _ contradictions: inout [String]) -> Int {
        if let place = places[definition.baseName] {
            guard definition.difference(to: rendered[place].definition) != nil else { return place }
            contradictions.append(definition.name)
            textSize -= rendered[place].text.count
            rendered[place] = RenderedFamily(definition)
            names[place] = makeNames()
            return place
        }
        places[definition.baseName] = rendered.count
        rendered.append(RenderedFamily(definition))
        names.append(makeNames())
        return rendered.count - 1
    }

    private mutating func makeNames() -> Names {
        nextSerial += 1
        version += 1
        return Names(serial: nextSerial)
    }

    private mutating func add(_ series: ArenaSeries, at place: Int) {
        if let known = names[place].series?[series.labelValues] {
            rendered[place].attach(known, valueOffset: series.valueOffset)
        } else if textSize < textLimit {
            textSize += rendered[place].append(series, constantLabels: constantLabels)
            let position = names[place].labelValues.count
            names[place].labelValues.append(series.labelValues)
            names[place].series?[series.labelValues] = position
        } else {
            seriesLeftOut += 1
        }
    }

    /// Gives the present arena up: its totals are carried on, its gauges and informations are forgotten.
    ///
    /// - Parameter mapping: The arena's memory; `nil` when it was never read.
    /// - Returns: What ``carry(_:)`` needs to take in what the arena still counts.
    mutating func retire(_ mapping: ArenaMapping?) -> RetiredTotals? {
        progress = []
        guard let mapping else { return nil }
        var families: [RetiredTotals.Family] = []
        let before = (rendered, names)
        rendered = []
        names = []
        places = [:]
        version += 1
        for (family, name) in zip(before.0, before.1) {
            guard family.definition.type == .counter || family.definition.type == .histogram,
                !family.valueOffsets.isEmpty
            else {
                textSize -= family.text.count
                continue
            }
            var family = family
            var name = name
            let valueOffsets = family.valueOffsets
            family.detach()
            families.append(
                RetiredTotals.Family(
                    baseName: family.definition.baseName, serial: name.serial, valueOffsets: valueOffsets,
                    base: family.carried))
            if name.series == nil {
                name.series = Dictionary(
                    zip(name.labelValues, name.labelValues.indices), uniquingKeysWith: { first, _ in first })
            }
            places[family.definition.baseName] = rendered.count
            rendered.append(family)
            names.append(name)
        }
        let retired = RetiredTotals(mapping: mapping, families: families)
        carry(retired)
        return retired
    }

    /// How many series a family has.
    func seriesCount(of name: String) -> Int {
        zip(rendered, names).first { $0.0.definition.name == name }?.1.labelValues.count ?? 0
    }

    /// Reads series, with what was carried on of them.
    func read(
        _ wanted: Set<String>, limit: Int, in reader: ArenaReader?, epoch: UInt64
    ) -> [SeriesReading] {
        var readings: [SeriesReading] = []
        for (family, names) in zip(rendered, names)
        where wanted.contains(family.definition.name) && !family.valueOffsets.isEmpty {
            let decoder = SeriesDecoder(
                family.definition, in: reader?.mapping, epoch: epoch, carried: family.carried)
            for (series, labelValues) in names.labelValues.prefix(limit).enumerated() {
                if let reading = decoder.reading(labelValues, of: series, at: family.valueOffsets[series]) {
                    readings.append(reading)
                }
            }
        }
        return readings
    }

    /// Whether no series has a value that has to be left out.
    func isPlausible(in reader: ArenaReader?, epoch: UInt64) -> Bool {
        rendered.allSatisfy { family in
            if family.valueOffsets.isEmpty { return true }
            let decoder = SeriesDecoder(
                family.definition, in: reader?.mapping, epoch: epoch, carried: family.carried)
            if case .counter = decoder.kind { return true }
            if case .gauge = decoder.kind, family.definition.type != .info { return true }
            return family.valueOffsets.enumerated().allSatisfy { decoder.isPlausible($0.offset, at: $0.element) }
        }
    }

    /// Takes in what a retired arena has counted by now.
    mutating func carry(_ retired: RetiredTotals) {
        for family in retired.families {
            guard let place = places[family.baseName], names[place].serial == family.serial else { continue }
            rendered[place].carry(retired.mapping, valueOffsets: family.valueOffsets, base: family.base)
        }
    }
}
