// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc

extension EndpointServer {
    // MARK: Requests

    func handle(
        _ connection: OpaquePointer, path: UnsafePointer<CChar>, method: UnsafePointer<CChar>,
        bodySize: UnsafeMutablePointer<Int>, mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        switch mark.pointee {
        case nil:
            // All headers are here. The library wants to be called again before it is given an answer, except for
            // one that ends the connection.
            mark.pointee = Mark.seen
            if let state = state(of: connection) { answering.append(state, at: passStart) }
            guard hasBody(connection) else { return .YES }
            return answer(connection, RouteLabel.other, isServed(method) ? .bodyRefused : .methodNotAllowed)
        case Mark.seen, Mark.scrape:
            // There is no body to be had here; should there be one, it is thrown away.
            bodySize.pointee = 0
            let route = Route(path: String(cString: path))
            if let access, mark.pointee == Mark.seen, let answered = admit(connection, route, access, mark) {
                return answered
            }
            guard isServed(method) else { return answer(connection, RouteLabel.other, .methodNotAllowed) }
            return serve(connection, route, mark)
        case .some(let pointer):
            let suspension = Unmanaged<Suspension>.fromOpaque(pointer).takeUnretainedValue()
            if let login = suspension as? PendingLogin { return go(on: login, path, method, mark) }
            guard let request = suspension as? SuspendedRequest else { return .NO }
            guard let report = request.report else { return answer(connection, RouteLabel.other, .stopping) }
            return answer(request, with: report)
        }
    }

    func completed(
        _ connection: OpaquePointer, mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>,
        reason: MHD_RequestTerminationCode
    ) {
        if mark.pointee == Mark.scrape {
            scrapesUnderWay -= 1
        } else if let pointer = mark.pointee, !Mark.isPlain(pointer) {
            let suspension = Unmanaged<Suspension>.fromOpaque(pointer).takeRetainedValue()
            suspended[ObjectIdentifier(suspension)] = nil
            suspension.cancel()
        }
        mark.pointee = nil
        guard let state = state(of: connection) else { return }
        silent.append(state, at: passStart)
        if let access, !access.isCurrent(state) { return state.hangUp() }
        // The library overlooks an end of the stream that comes together with the request.
        if reason == .REQUEST_TERMINATED_COMPLETED_OK { state.noticeEnd() }
    }

    func isServed(_ method: UnsafePointer<CChar>) -> Bool {
        strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0
    }

    func hasBody(_ connection: OpaquePointer) -> Bool {
        if header("Transfer-Encoding", of: connection) != nil { return true }
        guard let length = header("Content-Length", of: connection) else { return false }
        return strcmp(length, "0") != 0
    }

    func header(_ name: String, of connection: OpaquePointer) -> UnsafePointer<CChar>? {
        MHD_lookup_connection_value(connection, .HEADER_KIND, name)
    }

    func serve(
        _ connection: OpaquePointer, _ route: Route, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        switch route {
        case .index, .status: serveStatus(connection, route, mark)
        case .unknown: answer(connection, .other, .notFound)
        case .metrics: serveMetrics(connection, mark)
        case .health(let level, let endpointName, let check):
            serveHealth(connection, level, endpointName, check, mark)
        }
    }
}
