// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Muster

/// The command line for services that run with Muster.
@main
struct MusterCommandLine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "muster",
        abstract: "Look at a service that runs with Muster, and check its settings before it starts.",
        discussion: """
            muster status                        how the service at 127.0.0.1:9917 is doing
            muster status --watch unix:/run/mailer.sock
            muster check --unit mailer.service   whether unit and settings go together

            Completions for a shell: muster --generate-completion-script bash (or zsh, fish).
            """,
        version: "muster \(MusterVersion.current)",
        subcommands: [StatusCommand.self, CheckCommand.self])
}
