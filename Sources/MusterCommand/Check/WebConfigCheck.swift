// SPDX-License-Identifier: Apache-2.0

import MusterEndpoint

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
