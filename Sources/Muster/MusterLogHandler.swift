// SPDX-License-Identifier: Apache-2.0

public import Logging
import MusterPlatform
import MusterSupervision

/// A log handler around the application's own: its lines say which worker they are of, by `worker` and `worker_group`, and
/// its level can be changed while the program runs, for all loggers of a label at once.
///
/// ```swift
/// LoggingSystem.bootstrap { label in
///     MusterLogHandler(StreamLogHandler.standardError(label: label), label: label)
/// }
/// ```
///
/// Lines of the runtime itself need no such line.
public struct MusterLogHandler: LogHandler {
    private let level: LabelLevel
    private var base: any LogHandler

    /// Wraps a handler.
    ///
    /// - Parameters:
    ///   - base: What writes the lines.
    ///   - label: The logger's label.
    public init(_ base: any LogHandler, label: String) {
        Worker.identifyLogs()
        self.base = base
        level = LogLevels.shared.cell(of: label, usual: base.logLevel)
    }

    /// Writes a message.
    public func log(event: LogEvent) {
        base.write(event, level: level)
    }

    /// The level an operator has chosen, if any, or else the application's, which is the one to set.
    public var logLevel: Logger.Level {
        get { level.chosen ?? base.logLevel }
        set { base.logLevel = newValue }
    }

    /// A value of the logger's metadata.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { base[metadataKey: key] }
        set { base[metadataKey: key] = newValue }
    }

    /// The logger's metadata.
    public var metadata: Logger.Metadata {
        get { base.metadata }
        set { base.metadata = newValue }
    }

    /// What adds metadata to each message.
    public var metadataProvider: Logger.MetadataProvider? {
        get { base.metadataProvider }
        set { base.metadataProvider = newValue }
    }
}

extension LogLevels {
    /// Whether the application's own loggers ask here, too.
    package static var reachesApplication: Bool {
        Logger(label: "muster.probe").handler is MusterLogHandler
    }
}
