// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// What a service tells systemd in one message, in the words of sd_notify(3): one assignment a line.
///
/// Messages can be joined, as in `SystemdMessage.ready + .status("serving")`: systemd takes in all of one message
/// at once.
public struct SystemdMessage: Hashable, Sendable, CustomStringConvertible {
    /// The longest status text in bytes of UTF-8; what is longer is cut.
    public static let maximumStatusBytes = 512

    /// The assignments, with line feeds between them.
    public let description: String

    private init(_ text: String) {
        description = text
    }

    /// The service has started, or has taken up its new settings.
    public static let ready = SystemdMessage("READY=1")

    /// The service is stopping.
    public static let stopping = SystemdMessage("STOPPING=1")

    /// The service is alive; expected once in every `WatchdogSec=`.
    public static let watchdog = SystemdMessage("WATCHDOG=1")

    /// The service takes up new settings; ``ready`` must follow.
    ///
    /// `Type=notify-reload` (systemd 253) demands the instant in the same message: by it systemd tells this reload
    /// from the one before.
    ///
    /// - Parameter now: The present instant, not before the one at which the reload was asked for.
    /// - Returns: The message.
    public static func reloading(at now: MonotonicInstant) -> SystemdMessage {
        SystemdMessage("RELOADING=1\nMONOTONIC_USEC=\(max(now.nanoseconds, 0) / 1000)")
    }

    /// One line for people, shown by `systemctl status`.
    ///
    /// - Parameter text: The line; line breaks and other control characters become spaces, and the end of a long
    ///   text is cut. An empty one takes the line away.
    /// - Returns: The message.
    public static func status(_ text: String) -> SystemdMessage {
        var line = ""
        for character in text {
            let isControl =
                character.unicodeScalars.contains { $0.properties.generalCategory == .control }
                || character == "\u{2028}" || character == "\u{2029}"
            let shown: Character = isControl ? " " : character
            guard line.utf8.count + String(shown).utf8.count <= maximumStatusBytes else { break }
            line.append(shown)
        }
        return SystemdMessage("STATUS=\(line)")
    }

    /// The service's main process, where systemd did not start it itself.
    ///
    /// - Parameter pid: The process.
    /// - Returns: The message.
    public static func mainProcess(_ pid: Int32) -> SystemdMessage {
        SystemdMessage("MAINPID=\(pid)")
    }

    /// Joins two messages into one.
    ///
    /// - Parameters:
    ///   - first: What is said first.
    ///   - second: What follows.
    /// - Returns: Both, as one message.
    public static func + (first: SystemdMessage, second: SystemdMessage) -> SystemdMessage {
        SystemdMessage(first.description + "\n" + second.description)
    }
}
