// SPDX-License-Identifier: Apache-2.0

import Configuration
import MusterEndpoint
import MusterHealth
import MusterPlatform

/// Checks a web config file, with the certificates and keys that it names, as the endpoint would load it.
enum WebConfigCheck {
    static func findings(file: String) -> [Finding] {
        do throws(WebConfigError) {
            let config = try WebConfig.load(file: file)
            return [Finding(.note, Finding.Place(file), config.summary)]
        } catch {
            return [Finding(.error, Finding.Place(error.file, line: error.line), error.reason)]
        }
    }
}

/// Notes which keys are read.
final class AccessRecord: AccessReporter {
    private let seen = Locked<Set<String>>([])

    func report(_ event: AccessEvent) {
        let key = event.metadata.key.components.joined(separator: ".")
        _ = seen.withLock { $0.insert(key) }
    }

    var keys: Set<String> { seen.withLock { $0 } }
}
