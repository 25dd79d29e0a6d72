// SPDX-License-Identifier: Apache-2.0

#if Hummingbird
import Foundation
import Hummingbird
import Metrics
import Muster
import MusterHummingbird

/// Texts by name, in files, so that all workers have the same.
struct Store: Sendable {
    let folder: URL

    private func file(_ context: some RequestContext) throws -> URL {
        let name = try context.parameters.require("name")
        guard !name.isEmpty, name.allSatisfy({ $0.isLetter || $0.isNumber }) else {
            throw HTTPError(.badRequest, message: "a name has letters and digits only")
        }
        return folder.appendingPathComponent(name)
    }

    func read(_ context: some RequestContext) throws -> String {
        guard let text = try? String(contentsOf: file(context), encoding: .utf8) else { throw HTTPError(.notFound) }
        return text
    }

    func write(_ text: String, _ context: some RequestContext) throws {
        try text.write(to: file(context), atomically: true, encoding: .utf8)
    }

    func remove(_ context: some RequestContext) throws {
        guard (try? FileManager.default.removeItem(at: file(context))) != nil else { throw HTTPError(.notFound) }
    }
}

@Sendable func application(of store: Store) -> some ApplicationProtocol {
    let router = Router()
    router.middlewares.add(MetricsMiddleware())
    router.get("process") { _, _ in "\(getpid())" }
    router.get("items/:name") { _, context in try store.read(context) }
    router.put("items/:name") { request, context in
        let body = try await request.body.collect(upTo: 1 << 20)
        try store.write(String(buffer: body), context)
        return HTTPResponse.Status.noContent
    }
    router.delete("items/:name") { _, context in
        try store.remove(context)
        return HTTPResponse.Status.noContent
    }
    return Application(router: router, configuration: .init(serverName: "store"))
}

ExitStatus {
    MetricsSystem.bootstrap(MetricRegistry.shared.metricsFactory())
    let environment = ProcessInfo.processInfo.environment
    let store = Store(folder: URL(fileURLWithPath: environment["STORE_FOLDER"] ?? NSTemporaryDirectory()))
    let port = environment["STORE_PORT"].flatMap { UInt16($0) } ?? 8080
    let launcher = try ProcessLauncher(settings: .load())
    let socket = try launcher.listen("http", on: .tcp(host: "127.0.0.1", port: port), setting: "STORE_PORT")
    try launcher.launchService(
        HummingbirdService(name: "store", socket: socket) { application(of: store) }, workers: 4)
    let monitoring = launcher.monitoring
    launcher.whenReady {
        print("store at http://\(socket.address), metrics at \(monitoring.url ?? "-")")
        fflush(nil)
    }
    return launcher.wait()
}.exit()
#endif
