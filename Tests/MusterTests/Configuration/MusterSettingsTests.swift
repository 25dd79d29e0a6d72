// SPDX-License-Identifier: Apache-2.0

import Configuration
import Glibc
import Muster
import Testing

@Suite("Settings")
struct MusterSettingsTests {
    private func settings(
        environment: [String: String] = [:], arguments: [String] = []
    ) throws -> MusterSettings {
        try MusterSettings(
            config: ConfigReader(providers: [
                CommandLineArgumentsProvider(arguments: ["program"] + arguments),
                EnvironmentVariablesProvider(environmentVariables: environment),
            ]))
    }

    private func refusal(environment: [String: String] = [:], arguments: [String] = []) -> SettingsError? {
        #expect(throws: SettingsError.self) { try settings(environment: environment, arguments: arguments) }
    }

    @Test("Without any, the defaults hold")
    func defaults() throws {
        let settings = try settings()
        #expect(settings.endpoint?.address == .tcp(host: "127.0.0.1", port: 9917))
        #expect(settings.gracefulShutdownTimeout == .seconds(60))
        #expect(settings.livenessLimit == .seconds(10))
        #expect(settings.restartMethod == .reload)
        #expect(settings.logOptions)
    }

    @Test("Each can be set in the environment")
    func environment() throws {
        let settings = try settings(environment: [
            "MUSTER_ENDPOINT_ADDRESS": "[::1]:8080", "MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT": "0",
            "MUSTER_LIVENESS_LIMIT": "500ms", "MUSTER_RESTART_METHOD": "mutate", "MUSTER_LOG_OPTIONS": "no",
        ])
        #expect(settings.endpoint?.address == .tcp(host: "::1", port: 8080))
        #expect(settings.gracefulShutdownTimeout == .zero)
        #expect(settings.livenessLimit == .milliseconds(500))
        #expect(settings.restartMethod == .mutate)
        #expect(!settings.logOptions)
    }

    @Test("Each can be set by an argument, in both spellings")
    func arguments() throws {
        let settings = try settings(arguments: [
            "--muster-endpoint-address", "unix:/run/muster.sock", "--muster-graceful-shutdown-timeout=2m",
            "--muster-liveness-limit", "1h", "--muster-restart-method=mutate", "--muster-log-options", "false",
        ])
        #expect(settings.endpoint?.address == .unix(path: "/run/muster.sock"))
        #expect(settings.gracefulShutdownTimeout == .seconds(120))
        #expect(settings.livenessLimit == .seconds(3600))
        #expect(settings.restartMethod == .mutate)
        #expect(!settings.logOptions)
    }

    @Test("The endpoint's web config file and open probes can be set, and an empty path is none")
    func webConfig() throws {
        let settings = try settings(
            environment: ["MUSTER_ENDPOINT_WEB_CONFIG_FILE": "/etc/muster/web.yml"],
            arguments: ["--muster-endpoint-open-probes=true"])
        #expect(settings.endpoint?.webConfigFile == "/etc/muster/web.yml")
        #expect(settings.endpoint?.webConfigFileSetting.contains("--muster-endpoint-web-config-file") == true)
        #expect(settings.endpoint?.opensProbes == true)
        let empty = try self.settings(environment: ["MUSTER_ENDPOINT_WEB_CONFIG_FILE": ""])
        #expect(empty.endpoint?.webConfigFile == nil)
        #expect(empty.endpoint?.opensProbes == false)
        #expect(refusal(arguments: ["--muster-endpoint-open-probes=perhaps"]) != nil)
        let off = try self.settings(environment: [
            "MUSTER_ENDPOINT_ADDRESS": "off", "MUSTER_ENDPOINT_WEB_CONFIG_FILE": "/etc/muster/web.yml",
        ])
        #expect(off.endpoint == nil)
    }

    @Test("Arguments count more than the environment")
    func precedence() throws {
        let settings = try settings(
            environment: ["MUSTER_LIVENESS_LIMIT": "1s", "MUSTER_RESTART_METHOD": "mutate"],
            arguments: ["--muster-liveness-limit", "2s"])
        #expect(settings.livenessLimit == .seconds(2))
        #expect(settings.restartMethod == .mutate)
    }

    @Test("An argument that is a flag is true")
    func flag() throws {
        #expect(
            try settings(environment: ["MUSTER_LOG_OPTIONS": "off"], arguments: ["--muster-log-options"]).logOptions)
    }

    @Test("The endpoint can be turned off, and names its setting when it cannot listen")
    func endpoint() throws {
        #expect(try settings(environment: ["MUSTER_ENDPOINT_ADDRESS": "off"]).endpoint == nil)
        let endpoint = try settings(environment: ["MUSTER_ENDPOINT_ADDRESS": "127.0.0.1:1"]).endpoint
        #expect(
            endpoint?.addressSetting
                == "'muster.endpoint.address' (environment MUSTER_ENDPOINT_ADDRESS, argument --muster-endpoint-address)"
        )
    }

    @Test("A boolean has several spellings", arguments: ["true", "TRUE", "yes", "on", "1"])
    func booleans(text: String) throws {
        #expect(try settings(environment: ["MUSTER_LOG_OPTIONS": text]).logOptions)
    }

    @Test(
        "A bad value is refused with the setting in all its spellings, the value, and what is expected",
        arguments: [
            (
                "muster.endpoint.address", "MUSTER_ENDPOINT_ADDRESS", "--muster-endpoint-address", "127.0.0.1",
                "HOST:PORT"
            ),
            (
                "muster.endpoint.address", "MUSTER_ENDPOINT_ADDRESS", "--muster-endpoint-address", ":99999",
                "unix:PATH, systemd:NAME, fd:N or off"
            ),
            (
                "muster.graceful-shutdown-timeout", "MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT",
                "--muster-graceful-shutdown-timeout", "soon", "a duration such as"
            ),
            (
                "muster.graceful-shutdown-timeout", "MUSTER_GRACEFUL_SHUTDOWN_TIMEOUT",
                "--muster-graceful-shutdown-timeout", "-1", "a duration such as"
            ),
            ("muster.liveness-limit", "MUSTER_LIVENESS_LIMIT", "--muster-liveness-limit", "", "a duration such as"),
            ("muster.liveness-limit", "MUSTER_LIVENESS_LIMIT", "--muster-liveness-limit", "0ms", "above zero"),
            (
                "muster.restart-method", "MUSTER_RESTART_METHOD", "--muster-restart-method", "bogus",
                "one of 'reload', 'mutate'"
            ),
            ("muster.log-options", "MUSTER_LOG_OPTIONS", "--muster-log-options", "maybe", "true or false"),
        ])
    func bad(key: String, environment: String, argument: String, value: String, expectation: String) throws {
        for error in [
            refusal(environment: [environment: value]), refusal(arguments: ["\(argument)=\(value)"]),
        ] {
            #expect(error?.key == key)
            #expect(error?.value == value)
            let text = try #require(error).description
            #expect(text.hasPrefix("setting '\(key)' (environment \(environment), argument \(argument)) is '\(value)'"))
            #expect(text.contains(expectation), "\(text)")
        }
    }

    @Test("A setting given twice is refused")
    func twice() {
        let error = refusal(arguments: ["--muster-liveness-limit", "1s", "--muster-liveness-limit", "2s"])
        #expect(error?.key == "muster.liveness-limit")
        #expect(error?.expected == "one value")
    }

    // MARK: Files

    private func withFile(_ text: String, _ body: (String) throws -> Void) throws {
        var template = Array("/tmp/muster-settings-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        try #require(descriptor >= 0)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            close(descriptor)
            unlink(path)
        }
        var bytes = Array(text.utf8)
        try #require(write(descriptor, &bytes, bytes.count) == bytes.count)
        try body(path)
    }

    @Test("A file is read, with text, numbers and booleans as JSON has them")
    func file() throws {
        let text = """
            {"muster": {"endpoint": {"address": "off"}, "graceful-shutdown-timeout": 30, "liveness-limit": 2.5,
             "restart-method": "mutate", "log-options": false}}
            """
        try withFile(text) { path in
            let settings = try MusterSettings.load(file: path)
            #expect(settings.endpoint == nil)
            #expect(settings.gracefulShutdownTimeout == .seconds(30))
            #expect(settings.livenessLimit == .milliseconds(2500))
            #expect(settings.restartMethod == .mutate)
            #expect(!settings.logOptions)
        }
    }

    @Test("A bad value in a file is refused, not passed over")
    func badFile() throws {
        try withFile(#"{"muster": {"liveness-limit": -3}}"#) { path in
            let error = #expect(throws: SettingsError.self) { try MusterSettings.load(file: path) }
            #expect(error?.value == "-3")
        }
        try withFile(#"{"muster": {"restart-method": ["reload", "mutate"]}}"#) { path in
            #expect(throws: SettingsError.self) { try MusterSettings.load(file: path) }
        }
    }

    @Test("A file that is missing, or no JSON, is an error")
    func noFile() throws {
        #expect(throws: (any Error).self) { try MusterSettings.load(file: "/nonexistent/muster.json") }
        try withFile("{") { path in
            #expect(throws: (any Error).self) { try MusterSettings.load(file: path) }
        }
    }

    @Test("Without a file, the program's own arguments and environment are read")
    func load() throws {
        #expect(try MusterSettings.load().restartMethod == .reload)
    }
}
