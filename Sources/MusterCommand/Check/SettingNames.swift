// SPDX-License-Identifier: Apache-2.0

import Configuration
import Muster
import MusterPlatform

/// The settings that there are, asked of the code that reads them.
enum SettingNames {
    /// The keys, `muster.liveness-limit` and so on.
    static let keys: Set<String> = {
        let record = AccessRecord()
        let config = ConfigReader(provider: InMemoryProvider(values: [:]), accessReporter: record)
        // Nothing set is nothing wrong.
        _ = try? MusterSettings(config: config)
        return record.keys.union([MusterSettings.fileKey])
    }()

    /// The keys by the name of their variable, `MUSTER_LIVENESS_LIMIT`.
    static let byVariable = Dictionary(uniqueKeysWithValues: keys.map { (variable($0), $0) })

    /// The keys by their argument, `--muster-liveness-limit`.
    static let byArgument = Dictionary(uniqueKeysWithValues: keys.map { (argument($0), $0) })

    /// Variables of that prefix that are no settings: what the demo's hook, the supervisor and this program use.
    static let otherVariables: Set<String> = [
        "MUSTER_BACKEND", "MUSTER_URL", "MUSTER_PASSWORD",
    ]

    static func variable(_ key: String) -> String {
        String(key.map { $0 == "." || $0 == "-" ? "_" : Character($0.uppercased()) })
    }

    static func argument(_ key: String) -> String { "--" + String(key.map { $0 == "." ? "-" : $0 }) }
}
