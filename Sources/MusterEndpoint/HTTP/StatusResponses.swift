// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd

/// The responses that show a status. The one of a report is made once, and shared by those who ask while the report
/// stands. Belongs to the endpoint's thread.
final class StatusResponses {
    private struct Made {
        var at: Double
        var response: OpaquePointer
    }

    private let board: StatusBoard
    private var made: [StatusFormat: Made] = [:]

    init(_ board: StatusBoard) {
        self.board = board
    }

    /// Whether the history may get another point.
    var isPointDue: Bool { board.isPointDue }

    /// Takes a point of the history when one is due.
    func takePoint() { board.takePoint() }

    /// Lets go of what was made; the library keeps what it still sends.
    func forget() {
        for made in made.values { MHD_destroy_response(made.response) }
        made = [:]
    }

    /// The response with the status of now.
    ///
    /// - Parameters:
    ///   - format: What it is written in.
    ///   - finish: Adds the headers that it is given, and what all responses have.
    /// - Returns: The response, which stays this object's; `nil` when it cannot be made.
    func response(
        _ format: StatusFormat, finish: (OpaquePointer, [(name: String, value: String)]) -> Void
    ) -> OpaquePointer? {
        let report = board.report()
        if let known = made[format] {
            if known.at == report.at { return known.response }
            MHD_destroy_response(known.response)
            made[format] = nil
        }
        guard let response = make(format, report) else { return nil }
        finish(response, headers(format))
        made[format] = Made(at: report.at, response: response)
        return response
    }

    private func make(_ format: StatusFormat, _ report: StatusReport) -> OpaquePointer? {
        let body: [UInt8]
        switch format {
        case .html: body = StatusPage(report).bytes
        case .json:
            guard let json = try? report.json() else { return nil }
            body = json
        }
        return body.withUnsafeBytes { bytes in
            MHD_create_response_from_buffer(
                bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
        }
    }

    private func headers(_ format: StatusFormat) -> [(name: String, value: String)] {
        let headers = [
            (name: "Content-Type", value: format.contentType), (name: "Vary", value: "Accept"),
            (name: "Cache-Control", value: "no-store"),
        ]
        guard format == .html else { return headers }
        return headers + [
            (name: "Content-Security-Policy", value: StatusPage.contentSecurityPolicy),
            (name: "Referrer-Policy", value: "no-referrer"),
        ]
    }
}
