// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Glibc
import Hummingbird
import NIOCore
import NIOPosix

// The handler that the benchmark of the HTTP server has, by Hummingbird alone, on one event loop. Says at which port.
let router = Router()
router.get("/") { _, _ in "hello" }
let application = Application(
    router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
    onServerRunning: { channel in
        print(channel.localAddress?.port ?? 0)
        fflush(nil)
    },
    eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup(numberOfThreads: 1)))
try await application.runService(gracefulShutdownSignals: [])
#endif
