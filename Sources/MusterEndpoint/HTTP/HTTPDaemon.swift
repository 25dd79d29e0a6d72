// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Glibc
import MusterPlatform

/// A daemon of the library: it has no thread and accepts nothing itself.
///
/// Belongs to the endpoint's thread.
final class HTTPDaemon {
    let pointer: OpaquePointer
    let isSecure: Bool
    var watch: EventLoop.Watch?

    /// Starts a daemon.
    ///
    /// - Parameters:
    ///   - configuration: The limits.
    ///   - tls: Certificate and key; `nil` for no TLS.
    ///   - context: What the library's callbacks are given.
    init(
        _ configuration: EndpointConfiguration, _ tls: TLSSettings?, context: UnsafeMutableRawPointer
    ) throws(SystemError) {
        isSecure = tls != nil
        func start(_ certificate: UnsafePointer<CChar>?, _ key: UnsafePointer<CChar>?) -> OpaquePointer? {
            cmicrohttpd_start(
                UInt32(configuration.connectionLimit), UInt32(configuration.perAddressConnectionLimit),
                configuration.requestSizeLimit, certificate, key, endpointHandleRequest, endpointCompletedRequest,
                endpointChangedConnection, context)
        }
        let started =
            if let tls {
                // The library wants them once more at its start; each connection is given those of its time.
                String(decoding: tls.certificate.bytes, as: UTF8.self).withCString { certificate in
                    String(decoding: tls.key.bytes, as: UTF8.self).withCString { start(certificate, $0) }
                }
            } else {
                start(nil, nil)
            }
        guard let started else { throw SystemError("MHD_start_daemon") }
        pointer = started
    }

    /// The descriptor that is readable when there is something to do.
    var descriptor: Int32 { cmicrohttpd_epoll_descriptor(pointer) }

    /// Whether it has something to do at once.
    var isUnfinished: Bool {
        var timeout: UInt64 = 0
        return MHD_get_timeout(pointer, &timeout) == .YES && timeout == 0
    }

    /// Ends it and its connections.
    func stop() {
        MHD_stop_daemon(pointer)
    }
}
