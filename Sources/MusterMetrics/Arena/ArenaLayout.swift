// SPDX-License-Identifier: Apache-2.0

/// Numbers of the arena's layout, version 1. `docs/arena-layout.md` describes them for other implementations.
enum ArenaLayout {
    /// "MUSTARNA" read as a little-endian word.
    static let magic: UInt64 = 0x414E_5241_5453_554D
    static let version: UInt32 = 1
    static let headerSize = 256
    static let minimumSize = 4096

    /// Byte offsets inside the header.
    enum Offset {
        static let magic = 0
        static let version = 8
        static let headerSize = 12
        static let totalSize = 16
        static let descriptorOffset = 24
        static let descriptorSize = 32
        static let valueOffset = 40
        static let valueSize = 48
        static let writerPid = 56
        static let committedDescriptorBytes = 64
        static let committedValueBytes = 72
        static let epoch = 80
        static let droppedSeries = 128
        static let droppedUpdates = 136
    }

    /// What a record in the descriptor area describes.
    enum RecordKind: UInt16 {
        case family = 1
        case series = 2
    }

    static let recordHeaderSize = 8

    static let maximumNameBytes = 512
    static let maximumHelpBytes = 4096
    static let maximumLabelNames = 32
    static let maximumLabelValueBytes = 4096
    static let maximumBuckets = 200

    /// The next multiple of a power of two.
    static func align(_ value: Int, to alignment: Int) -> Int {
        (value + alignment - 1) & ~(alignment - 1)
    }
}
