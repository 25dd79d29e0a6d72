// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import MusterPlatform

extension EndpointServer {
    // MARK: Health

    func serveHealth(
        _ connection: OpaquePointer, _ level: HealthLevel, _ endpointName: String, _ check: String?,
        _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        let query = Query(connection)
        guard !query.isExcessive else {
            return answer(connection, Route.label(of: level), .tooManyExclusions)
        }
        let negotiation =
            header("Accept", of: connection).map {
                acceptedHealth.value(of: $0) { HealthNegotiation(accept: $0) }
            } ?? .text
        let request = SuspendedRequest(
            connection: connection, endpointName: endpointName, query: query, negotiation: negotiation)
        let evaluation = health.evaluate(
            level, excluding: check == nil ? query.excluded : [], only: check, on: loop
        ) { [loop, weak self] report in
            if loop.isCurrent, request.isBeingAsked {
                request.report = report
            } else {
                loop.submit { [weak self] in self?.resume(request, with: report) }
            }
        }
        request.isBeingAsked = false
        if let report = request.report { return answer(request, with: report) }
        request.evaluation = evaluation
        suspended[ObjectIdentifier(request)] = request
        mark.pointee = Unmanaged<Suspension>.passRetained(request).toOpaque()
        MHD_suspend_connection(connection)
        return .YES
    }

    func resume(_ request: SuspendedRequest, with report: HealthReport) {
        guard suspended.removeValue(forKey: ObjectIdentifier(request)) != nil else { return }
        request.report = report
        request.evaluation = nil
        MHD_resume_connection(request.connection)
        // The library takes notice of it in its next pass only.
        runPass()
    }

    func answer(_ request: SuspendedRequest, with report: HealthReport) -> MHD_Result {
        let label = Route.label(of: report.level)
        guard !report.entries.isEmpty else { return answer(request.connection, label, .notFound) }
        metrics?.note(report)
        let isVerbose = request.query.isVerbose
        if report.isPassing, !isVerbose, request.negotiation == .text {
            return answer(request.connection, label, .healthy)
        }
        let made = OpaquePointer.response(
            request.negotiation == .text
                ? report.text(isVerbose: isVerbose, endpointName: request.endpointName)
                : report.json(isVerbose: isVerbose, now: health.now))
        guard let made else { return .NO }
        defer { MHD_destroy_response(made) }
        finish(
            made,
            [("Content-Type", request.negotiation.contentType), ("Vary", "Accept"), ("Cache-Control", "no-cache")])
        return queue(request.connection, label, report.isPassing ? 200 : 503, made)
    }
}
