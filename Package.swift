// swift-tools-version: 6.2

import PackageDescription

let swiftSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

// The sanitizers' runs leave the executables, and what only they depend on, out.
let hasExecutables = Context.environment["MUSTER_WITHOUT_EXECUTABLES"] == nil

let package = Package(
    name: "muster",
    products: [
        .library(name: "Muster", targets: ["Muster"]),
        .library(name: "MusterTestKit", targets: ["MusterTestKit"]),
        .library(name: "MusterMetrics", targets: ["MusterMetrics"]),
        .library(name: "MusterServiceLifecycle", targets: ["MusterServiceLifecycle"]),
        .library(name: "MusterNIO", targets: ["MusterNIO"]),
        .library(name: "MusterHummingbird", targets: ["MusterHummingbird"]),
    ],
    traits: [
        .trait(
            name: "ServiceLifecycle",
            description: "MusterServiceLifecycle: run swift-service-lifecycle's services, and be one."),
        .trait(name: "NIO", description: "MusterNIO: serve with SwiftNIO on a socket that workers share."),
        .trait(
            name: "Hummingbird",
            description: "MusterHummingbird: run Hummingbird's applications on a socket that workers share.",
            enabledTraits: ["NIO", "ServiceLifecycle"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics.git", from: "2.13.0"),
        // Without its default trait for JSON files, which Muster reads itself: it alone would link all of Foundation.
        .package(
            url: "https://github.com/apple/swift-configuration.git", from: "1.4.0", traits: ["CommandLineArguments"]),
        .package(url: "https://github.com/apple/swift-collections.git", from: "1.2.0"),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.4.0"),
        // Two small modules without Foundation.
        .package(url: "https://github.com/apple/swift-distributed-tracing.git", from: "1.7.2"),
        // Not built without their traits.
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.9.0"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.0", traits: []),
    ],
    targets: [
        // Floor 0: C. A target belongs to the floor of the last comment above it; scripts/shape reads them.
        // Compiled against libmicrohttpd-dev; the library itself is loaded when an endpoint is first started.
        .target(name: "CMicrohttpd"),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        // From their archives, so that a worker, which needs neither, loads no further library when it starts.
        .target(name: "CYaml", linkerSettings: [.linkedLibrary(":libyaml.a")]),
        .target(name: "CCrypt", linkerSettings: [.linkedLibrary(":libcrypt.a")]),
        // Loaded like libmicrohttpd, whose TLS it is.
        .target(name: "CGnuTLS"),
        .target(name: "CMuster"),
        .target(name: "MusterLock", swiftSettings: swiftSettings),

        // Floor 1: the operating system in Swift's terms.
        .target(
            name: "MusterPlatform",
            dependencies: [
                "CMuster", "MusterLock", .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings,
            linkerSettings: [.linkedLibrary("dispatch")]),

        // Floor 2: metrics.
        .target(
            name: "MusterMetrics",
            dependencies: [
                "MusterLock", "CMuster", "MusterPlatform",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Instrumentation", package: "swift-distributed-tracing"),
            ],
            swiftSettings: swiftSettings),

        // Floor 3: health, the engines, and HTTP. They do not import each other.
        .target(
            name: "MusterHealth",
            dependencies: [
                "MusterLock", "CMuster", "MusterPlatform", "MusterMetrics",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "MusterExecution",
            dependencies: [
                "MusterLock", "CMuster", "MusterPlatform", "MusterMetrics",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Instrumentation", package: "swift-distributed-tracing"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),

        .target(
            name: "MusterHTTP",
            dependencies: ["CMicrohttpd", "CGnuTLS", "MusterPlatform"],
            swiftSettings: swiftSettings),

        // Floor 4: the endpoint, and supervision. They do not import each other.
        .target(
            name: "MusterEndpoint",
            dependencies: [
                "MusterLock", "CGnuTLS", "CYaml", "CCrypt", "CZlib", "MusterPlatform", "MusterMetrics", "MusterHealth",
                "MusterHTTP",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "MusterSupervision",
            dependencies: [
                "MusterLock", "CMuster", "MusterPlatform", "MusterMetrics", "MusterHealth",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),

        // Floor 5: what a service author imports.
        .target(
            name: "Muster",
            dependencies: [
                "MusterLock", "CMuster", "MusterPlatform", "MusterMetrics", "MusterExecution", "MusterHealth",
                "MusterHTTP",
                "MusterEndpoint", "MusterSupervision",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Instrumentation", package: "swift-distributed-tracing"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
            ],
            swiftSettings: swiftSettings),

        // Floor 5 again: comparisons, for the command line alone; services do not link it.
        .target(
            name: "MusterCompare", dependencies: ["MusterPlatform", "MusterMetrics"], swiftSettings: swiftSettings),

        // Floor 6: beside the executables.
        .target(
            name: "MusterTestKit",
            dependencies: [
                "MusterLock", "MusterPlatform", "MusterMetrics", "MusterExecution", "MusterSupervision", "Muster",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),

        // Empty without the trait.
        .target(
            name: "MusterServiceLifecycle",
            dependencies: [
                "MusterLock", "Muster",
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
            ],
            swiftSettings: swiftSettings),

        .target(
            name: "MusterNIO",
            dependencies: [
                "MusterLock", "CMuster", "Muster", "MusterPlatform",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["NIO"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["NIO"])),
            ],
            swiftSettings: swiftSettings),

        // Floor 7: above the two bridges.
        .target(
            name: "MusterHummingbird",
            dependencies: [
                "MusterLock", "Muster", "MusterNIO", "MusterPlatform", "MusterServiceLifecycle",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Hummingbird", package: "hummingbird", condition: .when(traits: ["Hummingbird"])),
                .product(name: "HummingbirdCore", package: "hummingbird", condition: .when(traits: ["Hummingbird"])),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Hummingbird"])),
                .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["Hummingbird"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["Hummingbird"])),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["Hummingbird"])),
            ],
            swiftSettings: swiftSettings),

        // Floor 6 again.
        // The parts of the command line that are tested without starting it.
        .target(
            name: "MusterCommand",
            dependencies: [
                "Muster", "MusterCompare", "MusterEndpoint", "MusterPlatform", "MusterSupervision",
                .product(name: "Configuration", package: "swift-configuration"),
            ],
            swiftSettings: swiftSettings),

        // The parts of the demo that are tested without starting it.
        .target(
            name: "MusterDemoSupport", dependencies: [.product(name: "Logging", package: "swift-log")],
            swiftSettings: swiftSettings),

        // Tests. This one is used by several of them.
        .target(
            name: "MusterTestSupport", dependencies: ["MusterLock", "MusterPlatform", "MusterTestKit"],
            path: "Tests/MusterTestSupport", swiftSettings: swiftSettings),
        // The program that the tests of processes drive.
        .executableTarget(
            name: "muster-test-program",
            dependencies: ["MusterLock", "Muster", .product(name: "Logging", package: "swift-log")],
            path: "Tests/MusterTestProgram", swiftSettings: swiftSettings),
        // An example: a service of oslo.service's, ported by the migration page, and run by a test of processes.
        .executableTarget(
            name: "muster-ported-service", dependencies: ["Muster"], path: "Tests/MusterPortedService",
            exclude: ["mailer.py"], swiftSettings: swiftSettings),
        // An example: HTTP over four workers, in a few lines; driven by tests of processes and by wrk.
        .executableTarget(
            name: "muster-http-program",
            dependencies: ["Muster"], path: "Tests/MusterHTTPProgram", swiftSettings: swiftSettings),
        .executableTarget(
            name: "muster-asynchronous-program", dependencies: ["Muster"], path: "Tests/MusterAsynchronousProgram",
            swiftSettings: swiftSettings),
        // An example: a backend of one's own, which the demo offers and the engines' tests check.
        .target(
            name: "MusterGlobalPoolBackend",
            dependencies: ["Muster", "MusterExecution", "MusterMetrics", "MusterPlatform"],
            path: "Tests/MusterGlobalPoolBackend", swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterPlatformTests",
            dependencies: [
                "MusterLock", "MusterPlatform", "MusterTestSupport", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterMetricsTests",
            dependencies: [
                "MusterLock", "MusterMetrics", "MusterPlatform", "MusterTestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Metrics", package: "swift-metrics"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterExecutionTests",
            dependencies: [
                "MusterLock", "MusterExecution", "MusterPlatform", "MusterMetrics", "MusterTestKit",
                "MusterTestSupport",
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterHTTPTests", dependencies: ["MusterHTTP", "MusterPlatform", "MusterTestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterEndpointTests",
            dependencies: [
                "MusterLock", "MusterEndpoint", "MusterHTTP", "MusterHealth", "MusterMetrics", "MusterPlatform",
                "MusterTestSupport",
                "CZlib",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterSupervisionTests",
            dependencies: [
                "MusterLock", "MusterSupervision", "MusterHealth", "MusterPlatform", "MusterMetrics",
                "MusterTestSupport",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterTests",
            dependencies: [
                "MusterLock", "Muster", "MusterGlobalPoolBackend", "MusterTestKit", "MusterExecution", "MusterHealth",
                "MusterMetrics", "MusterPlatform", "MusterSupervision", "MusterTestSupport",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "InMemoryLogging", package: "swift-log"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
                .product(name: "Instrumentation", package: "swift-distributed-tracing"),
                .product(name: "Tracing", package: "swift-distributed-tracing"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterCompareTests", dependencies: ["MusterCompare", "MusterTestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterCommandTests",
            dependencies: [
                "MusterCommand", "MusterCompare", "Muster", "MusterEndpoint", "MusterHealth", "MusterPlatform",
                "MusterTestSupport",
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "muster-lifecycle-program",
            dependencies: [
                "MusterServiceLifecycle", "Muster",
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
            ],
            path: "Tests/MusterLifecycleProgram", swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterServiceLifecycleTests",
            dependencies: [
                "MusterLock", "muster-lifecycle-program", "MusterServiceLifecycle", "Muster", "MusterTestKit",
                "MusterTestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
                .product(
                    name: "ServiceLifecycleTestKit", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
            ],
            swiftSettings: swiftSettings),
        // An example: a store as a Hummingbird application, run by a test of processes.
        .executableTarget(
            name: "muster-hummingbird-program",
            dependencies: [
                "MusterHummingbird", "Muster",
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "Hummingbird", package: "hummingbird", condition: .when(traits: ["Hummingbird"])),
            ],
            path: "Tests/MusterHummingbirdProgram", swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterHummingbirdTests",
            dependencies: [
                "MusterLock", "muster-hummingbird-program", "MusterHummingbird", "MusterNIO", "Muster",
                "MusterExecution",
                "MusterPlatform", "MusterTestKit", "MusterTestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Hummingbird", package: "hummingbird", condition: .when(traits: ["Hummingbird"])),
                .product(name: "HummingbirdCore", package: "hummingbird", condition: .when(traits: ["Hummingbird"])),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Hummingbird"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["Hummingbird"])),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterIntegrationTests",
            dependencies: [
                "MusterLock", "MusterCompare", "MusterPlatform", "MusterDemoSupport", "MusterTestSupport",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        // What is in deploy/, with the tools that read it.
        .testTarget(
            name: "MusterDeployTests",
            dependencies: [
                "Muster", "MusterTestSupport", .product(name: "Configuration", package: "swift-configuration"),
            ],
            exclude: ["Schemas", "make-base-image", "yaml-to-json.py"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "MusterDashboardTests", dependencies: ["MusterTestSupport"], exclude: ["promql.py"],
            swiftSettings: swiftSettings),
        // Builds a package as the documentation tells one to, and compares its pages with the code.
        .testTarget(
            name: "MusterDocumentationTests",
            dependencies: [
                "Muster", "MusterTestSupport", .product(name: "Configuration", package: "swift-configuration"),
            ],
            swiftSettings: swiftSettings),
        // Drives the program above; `swift test` builds that one, too.
        .testTarget(
            name: "MusterProcessTests",
            dependencies: ["MusterLock", "MusterPlatform", "MusterTestKit", "MusterTestSupport"],
            swiftSettings: swiftSettings),
    ]
)

if hasExecutables {
    // Floor 7: executables.
    package.products += [
        .executable(name: "muster", targets: ["muster"]),
        .executable(name: "muster-demo", targets: ["muster-demo"]),
    ]
    package.dependencies += [
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.5.0")
    ]
    package.targets += [
        // Floor 0 again. Without pkg-config, which would print a warning in every other build.
        .systemLibrary(name: "CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        // From archives, as libyaml: the command line is one file, where editing lines is not its main purpose.
        .target(
            name: "CEdit",
            linkerSettings: ["edit", "tinfo", "bsd", "md"].map { .linkedLibrary(":lib\($0).a") }),
        // Floor 7 again.
        .executableTarget(
            name: "muster",
            dependencies: [
                "MusterLock", "CCurl", "CEdit", "CMuster", "MusterPlatform", "MusterSupervision", "MusterCompare",
                "MusterCommand", "Muster",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "muster-demo",
            dependencies: [
                "MusterLock", "Muster", "MusterDemoSupport", "MusterGlobalPoolBackend",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        // Floor 0 for the benchmarks' C functions.
        .target(name: "CMusterBench"),
        // Floor 7 again.
        .executableTarget(
            name: "muster-bench",
            dependencies: [
                "MusterLock", "CMusterBench", "CMicrohttpd", "MusterPlatform", "MusterMetrics", "MusterExecution",
                "MusterEndpoint", "MusterHealth", "MusterSupervision", "Muster",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: swiftSettings),
        // Muster's side of scripts/peers.
        .executableTarget(name: "muster-peer", dependencies: ["Muster"], swiftSettings: swiftSettings),
        // What `muster-bench` compares the HTTP server with.
        .executableTarget(
            name: "muster-bench-hummingbird",
            dependencies: [
                .product(name: "Hummingbird", package: "hummingbird", condition: .when(traits: ["Hummingbird"])),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Hummingbird"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["Hummingbird"])),
            ],
            swiftSettings: swiftSettings),
    ]
}

// The sanitizers look at the runtime: what drives finished programs and tools says nothing there, and takes long to
// build.
if Context.environment["MUSTER_ONLY_RUNTIME_TESTS"] != nil {
    let others: Set = [
        "muster-test-program", "muster-ported-service", "muster-asynchronous-program", "muster-http-program",
        "MusterProcessTests", "MusterIntegrationTests", "muster-hummingbird-program", "MusterHummingbirdTests",
        "MusterDeployTests",
        "MusterDashboardTests", "MusterDocumentationTests", "MusterCommand", "MusterCommandTests", "MusterDemoSupport",
        "MusterCompare", "MusterCompareTests",
    ]
    package.targets.removeAll { others.contains($0.name) }
}
