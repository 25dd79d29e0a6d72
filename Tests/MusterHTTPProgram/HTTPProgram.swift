// SPDX-License-Identifier: Apache-2.0

import Glibc
import Muster

/// Answers HTTP over supervised workers, for the tests of processes and for load.
///
/// `HTTP_ADDRESS`, `HTTP_WORKERS`, `HTTP_BACKEND` and `HTTP_WEB_CONFIG` say where, by how many workers, on which backend,
/// and with which TLS.
@main
struct HTTPProgram {
    static func main() throws {
        Backend.registerDefaultHook { BackendType(environment("HTTP_BACKEND") ?? "cooperative") }
        let launcher = try ProcessLauncher(settings: .load())
        let socket = try launcher.listen(
            "http", on: ListenAddress(parsing: environment("HTTP_ADDRESS") ?? "127.0.0.1:0"))
        let server = HTTPServer(name: "api", socket: socket, webConfigFile: environment("HTTP_WEB_CONFIG")) { routes in
            routes.get("/") { _ in .text("hello") }
            routes.get("/who") { _ in .text("\(Worker.current?.slot ?? 0)") }
            routes.get("/slow/{milliseconds}") { request in
                try await Task.sleep(for: .milliseconds(Int(request.parameters["milliseconds"] ?? "") ?? 0))
                return .text("slow")
            }
            routes.get("/stream/{parts}") { request in
                let parts = Int(request.parameters["parts"] ?? "") ?? 0
                return HTTPServer.Response(
                    body: .parts(
                        AsyncThrowingStream { stream in
                            for _ in 0..<parts { stream.yield([UInt8](repeating: 0x61, count: 1000)) }
                            stream.finish()
                        }))
            }
            routes.post("/count") { request in
                var count = 0
                for try await part in request.body { count += part.count }
                return .text("\(count)")
            }
        }
        try launcher.launchService(server, workers: Int(environment("HTTP_WORKERS") ?? "") ?? 4)
        launcher.whenReady {
            print("ready \(socket.address) \(launcher.monitoring.url ?? "-")")
            fflush(nil)
        }
        launcher.wait().exit()
    }

    private static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
