// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc

/// A bare HTTP server of the same library as Muster's endpoint, on a thread of its own, that answers each request
/// with the same prepared response.
final class StaticServer {
    let url: String
    private let daemon: OpaquePointer
    private let response: OpaquePointer

    init(body: [UInt8]) throws {
        if let problem = cmicrohttpd_load() { throw BenchmarkError(String(cString: problem)) }
        let (socket, port) = try Self.listen()
        var body = body
        guard let response = MHD_create_response_from_buffer(body.count, &body, .RESPMEM_MUST_COPY) else {
            throw BenchmarkError("no response for the static server")
        }
        MHD_add_response_header(response, "Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        var options = [
            MHD_OptionItem(option: .LISTEN_SOCKET, value: Int(socket), ptr_value: nil),
            MHD_OptionItem(option: .END, value: 0, ptr_value: nil),
        ]
        let daemon = options.withUnsafeMutableBufferPointer { options -> OpaquePointer? in
            guard let first = options.baseAddress else { return nil }
            return withVaList([MHD_OPTION.ARRAY.rawValue, first, MHD_OPTION.END.rawValue]) {
                MHD_start_daemon_va(
                    MHD_USE_EPOLL_INTERNAL_THREAD.rawValue, 0, nil, nil, answer, UnsafeMutableRawPointer(response), $0)
            }
        }
        guard let daemon else {
            close(socket)
            MHD_destroy_response(response)
            throw BenchmarkError("the static server could not be started")
        }
        self.daemon = daemon
        self.response = response
        url = "http://127.0.0.1:\(port)/"
    }

    /// Ends the server; to be called once.
    func stop() {
        MHD_stop_daemon(daemon)
        MHD_destroy_response(response)
    }

    private static func listen() throws -> (socket: Int32, port: UInt16) {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw BenchmarkError("no socket: errno \(errno)") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard bind(socket, address, length) == 0, Glibc.listen(socket, 64) == 0 else { return errno }
                return getsockname(socket, address, &length) == 0 ? 0 : errno
            }
        }
        guard code == 0 else {
            close(socket)
            throw BenchmarkError("no listening socket: errno \(code)")
        }
        return (socket, UInt16(bigEndian: address.sin_port))
    }
}

/// Answers in the second call for a request: an answer in the first would close the connection.
private func answer(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?, _ url: UnsafePointer<CChar>?,
    _ method: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?, _ upload: UnsafePointer<CChar>?,
    _ uploadSize: UnsafeMutablePointer<Int>?, _ request: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> MHD_Result {
    guard let context, let request else { return .NO }
    guard request.pointee != nil else {
        request.pointee = context
        return .YES
    }
    return MHD_queue_response(connection, 200, OpaquePointer(context))
}
