// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// What all suites of this target run with.
let backends = ["cooperative", "threading"]

extension Trait where Self == IssueHandlingTrait {
    /// Writes what the program has said and logged beside what has failed.
    static var transcript: Self {
        .compactMapIssues { issue in
            if let program = TestProgram.current, program.isFirstFailure {
                let text = "----- transcript of the program that follows failed: \(issue)\n\(program.transcript)-----\n"
                FileHandle.standardError.write(Data(text.utf8))
            }
            return issue
        }
    }
}
