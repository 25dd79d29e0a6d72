// SPDX-License-Identifier: Apache-2.0

package import Logging
import MusterLock
package import MusterPlatform
import Synchronization

/// Exposes the series of one slot, whose processes come and go and now and then get another arena.
///
/// Totals never fall: what the processes of earlier arenas have counted is carried on and added to what the present
/// arena says. Gauges and info metrics belong to the process that set them and vanish with it. A damaged arena costs
/// the slot's new series only; what was known of it stays shown.
///
/// The arena may still be empty; it is read from the first scrape after a process has formatted it.
package final class SlotSource: MetricSource, SeriesReader {
    private let constantLabels: [(name: String, value: String)]
    private let logger: Logger
    private let state: Locked<State>

    /// The arena in use.
    private struct Arena {
        let file: OwnedDescriptor
        var reader: ArenaReader?
        /// Why the arena cannot be read, or only in part.
        var failure: ArenaError?
        /// The generation whose process is known to have ended.
        var endedEpoch: UInt64?

        /// Whether a descriptor leads to the same file.
        func isFile(_ descriptor: Int32) -> Bool {
            guard let other = try? FileIdentity(of: descriptor) else { return false }
            return other == (try? FileIdentity(of: file.rawValue))
        }

        /// Whether something is wrong with the file's content.
        var isDamaged: Bool {
            switch failure {
            case nil, .notFormatted, .system: false
            default: true
            }
        }
    }

    /// The last arena, as long as its process may count in it.
    private struct Retired {
        let reader: ArenaReader
        let pid: Int32
        let totals: RetiredTotals
        /// The refused series and updates of the arenas before it.
        let droppedSeries: UInt64
        let droppedUpdates: UInt64
    }

    private struct State {
        var catalog: SlotCatalog
        var arena: Arena?
        var retired: Retired?
        /// Processes that have ended since the memory was last read.
        var ended: [Int32] = []
        var droppedSeries: UInt64 = 0
        var droppedUpdates: UInt64 = 0
        var orderedVersion = -1
        var descriptors: [FamilyDescriptor] = []
        var slots: [PreparedArena.Slot] = []
        var reportedContradictions: Set<String> = []
        var hasReportedLimit = false
        var hasReportedValues = false
    }

    /// What to log once the lock is released.
    private enum Notice {
        case unreadable(ArenaError, pid: Int32?)
        case implausible(pid: Int32?)
        case contradiction(String)
        case textLimit
    }

    package convenience init(
        constantLabels: [(name: String, value: String)], logger: Logger = Logger(label: "muster.metrics").queued
    ) {
        self.init(constantLabels: constantLabels, logger: logger, textLimit: ArenaSource.defaultTextLimit)
    }

    init(constantLabels: [(name: String, value: String)], logger: Logger, textLimit: Int) {
        self.logger = logger
        self.constantLabels = ArenaSource.sound(constantLabels, logger)
        state = Locked(State(catalog: SlotCatalog(constantLabels: self.constantLabels, textLimit: textLimit)))
    }

    // MARK: - The supervisor's side

    /// Shows another arena from now on; the same file again changes nothing.
    ///
    /// The totals of the arena before are carried on in the same step, so that a scrape sees them before or after it.
    /// What its process counts until ``processEnded(pid:)`` is taken in, too, in series known by now.
    ///
    /// - Parameter file: The memory file, from ``ArenaFile/create(name:capacity:)``; kept open.
    package func use(arena file: OwnedDescriptor) {
        report(
            state.withLock { state in
                if let arena = state.arena, arena.file === file || arena.isFile(file.rawValue) { return [] }
                // Include what has not been scraped yet.
                let notices = update(&state)
                retire(&state)
                state.arena = Arena(file: file)
                state.hasReportedValues = false
                return notices
            })
    }

    /// How many processes may have ended before it is looked what they have left.
    private static let mostEnded = 16

    /// Records that a process has ended, so that its gauges vanish from the next scrape on.
    ///
    /// Nothing is read now: a supervisor with a dead worker has more urgent things to do. A successor that has attached to
    /// the arena keeps its gauges.
    ///
    /// - Parameter pid: The process, as it called itself when it attached.
    package func processEnded(pid: Int32) {
        report(
            state.withLock { state in
                state.ended.append(pid)
                return state.ended.count < Self.mostEnded ? [] : update(&state)
            })
    }

    private func takeEnds(_ state: inout State) {
        for pid in state.ended {
            if state.retired?.pid == pid { state.retired = nil }
            // The epoch is loaded first: a writer stores its process ID before it takes an epoch.
            if let reader = state.arena?.reader {
                let epoch = reader.epoch
                if reader.writerPid == pid { state.arena?.endedEpoch = epoch }
            }
        }
        state.ended.removeAll(keepingCapacity: true)
    }

    /// Whether the arena was sound when it was last read, and no series has to be left out now because of its value.
    ///
    /// An arena that is not formatted yet is sound: nothing can be missing.
    package var isReadable: Bool {
        let (isReadable, notice): (Bool, Notice?) = state.withLock { state in
            switch state.arena?.failure {
            case nil, .notFormatted: break
            default: return (false, nil)
            }
            guard !Self.isPlausible(state) else { return (true, nil) }
            defer { state.hasReportedValues = true }
            return (false, state.hasReportedValues ? nil : .implausible(pid: state.arena?.reader?.writerPid))
        }
        if let notice { report([notice]) }
        return isReadable
    }

    private static func isPlausible(_ state: State) -> Bool {
        let epoch = state.arena?.reader?.epoch ?? 0
        return state.catalog.isPlausible(in: state.arena?.reader, epoch: epoch == state.arena?.endedEpoch ? 0 : epoch)
    }

    /// Whether the next process of the slot needs another memory file, because there is none or it could not attach
    /// to the present one.
    ///
    /// - Returns: `true` when the file is damaged, unsealed, too small or laid out by another version.
    package func needsFreshArena() -> Bool {
        let (arena, isPlausible, notices): (Arena?, Bool, [Notice]) = state.withLock { state in
            let notices = update(&state)
            return (state.arena, Self.isPlausible(state), notices)
        }
        report(notices)
        guard let arena, !arena.isDamaged, isPlausible else { return true }
        // A reader in use has its own copy of the header, but the next process has to believe the one in the file.
        do throws(ArenaError) {
            _ = try ArenaReader(descriptor: arena.file.rawValue)
            return false
        } catch .notFormatted {
            return arena.reader != nil
        } catch .system {
            return false
        } catch {
            return true
        }
    }

    /// What the source keeps over all arenas, for tests of its growth.
    var size: SlotCatalog.Size { state.withLock { $0.catalog.size } }

    // MARK: - Scraping

    /// Looks for new series and fixes what is shown in one scrape.
    package func prepare(for format: ExpositionFormat) -> any PreparedMetrics {
        let (prepared, notices): (PreparedArena, [Notice]) = state.withLock { state in
            let notices = update(&state)
            if format == .protobuf { state.catalog.needsLabels = true }
            state.catalog.encodeLabels()
            let reader = state.arena?.reader
            let epoch = reader?.epoch ?? 0
            return (
                PreparedArena(
                    reader: reader, epoch: epoch == state.arena?.endedEpoch ? 0 : epoch,
                    constantLabels: constantLabels,
                    droppedSeries: state.droppedSeries.saturatingSum(state.catalog.seriesLeftOut),
                    droppedUpdates: state.droppedUpdates, rendered: state.catalog.rendered, slots: state.slots,
                    families: state.descriptors),
                notices
            )
        }
        report(notices)
        return prepared
    }

    package func read(_ names: Set<String>, limit: Int) -> [SeriesReading] {
        let (readings, notices): ([SeriesReading], [Notice]) = state.withLock { state in
            let notices = update(&state)
            let reader = state.arena?.reader
            let epoch = reader?.epoch ?? 0
            return (
                state.catalog.read(
                    names, limit: limit, in: reader, epoch: epoch == state.arena?.endedEpoch ? 0 : epoch), notices
            )
        }
        report(notices)
        return readings
    }

    package func seriesCount(of name: String) -> Int {
        state.withLock { $0.catalog.seriesCount(of: name) }
    }

    /// Reads what was added to the memory files.
    private func update(_ state: inout State) -> [Notice] {
        if let retired = state.retired { carry(retired, &state) }
        var notices: [Notice] = []
        if var arena = state.arena {
            let wasDamaged = arena.isDamaged
            var contradictions: [String] = []
            if arena.reader == nil, !wasDamaged {
                do throws(ArenaError) {
                    arena.reader = try ArenaReader(readingUpToDamage: arena.file.rawValue)
                    arena.failure = nil
                } catch {
                    arena.failure = error
                }
            }
            if let reader = arena.reader {
                arena.failure = reader.withIndex { index, damage in
                    contradictions = state.catalog.update(from: index)
                    return damage
                }
            }
            if let failure = arena.failure, arena.isDamaged, !wasDamaged {
                notices.append(.unreadable(failure, pid: arena.reader?.writerPid))
            }
            for name in contradictions
            where state.reportedContradictions.count < 1000 && state.reportedContradictions.insert(name).inserted {
                notices.append(.contradiction(name))
            }
            if state.catalog.seriesLeftOut > 0, !state.hasReportedLimit {
                state.hasReportedLimit = true
                notices.append(.textLimit)
            }
            state.arena = arena
        }
        takeEnds(&state)
        if state.orderedVersion != state.catalog.version {
            state.orderedVersion = state.catalog.version
            (state.descriptors, state.slots) = PreparedArena.order(state.catalog.rendered)
        }
        return notices
    }

    private func retire(_ state: inout State) {
        state.retired = nil
        let reader = state.arena?.reader
        guard let totals = state.catalog.retire(reader?.mapping), let reader else { return }
        let retired = Retired(
            reader: reader, pid: reader.writerPid, totals: totals, droppedSeries: state.droppedSeries,
            droppedUpdates: state.droppedUpdates)
        carry(retired, &state)
        let isOver = reader.epoch == state.arena?.endedEpoch
        state.retired = isOver ? nil : retired
    }

    private func carry(_ retired: Retired, _ state: inout State) {
        state.catalog.carry(retired.totals)
        state.droppedSeries = max(
            state.droppedSeries, retired.droppedSeries.saturatingSum(retired.reader.droppedSeries))
        state.droppedUpdates = max(
            state.droppedUpdates, retired.droppedUpdates.saturatingSum(retired.reader.droppedUpdates))
    }

    private func report(_ notices: [Notice]) {
        for notice in notices {
            switch notice {
            case .unreadable(let error, let pid):
                logger.error(
                    "metric arena unreadable; new series are missing until the worker is replaced",
                    metadata: ["error": "\(error)", "pid": "\(pid.map(String.init) ?? "unknown")"])
            case .implausible(let pid):
                logger.error(
                    "metric values damaged; their series are missing until the worker is replaced",
                    metadata: ["pid": "\(pid.map(String.init) ?? "unknown")"])
            case .contradiction(let name):
                logger.warning(
                    "metric family registered with another definition; it starts again from 0",
                    metadata: ["metric": "\(name)"])
            case .textLimit:
                logger.error(
                    "metric labels have too much text; later series are missing: use shorter label values or fewer buckets"
                )
            }
        }
    }
}

/// An arena that a slot has given up while a process may still count in it, and the carried totals without it.
struct RetiredTotals: Sendable {
    struct Family: Sendable {
        let baseName: String
        let serial: Int
        /// Where the cells of each series begin, in the catalog's order.
        let valueOffsets: [Int]
        /// The words carried from the arenas before.
        let base: [UInt64]
    }

    let mapping: ArenaMapping
    let families: [Family]
}
