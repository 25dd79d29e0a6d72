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

/// Connections in the same phase, the one that entered it first at the head: the order of their deadlines, as all
/// get the same time.
final class ConnectionList {
    private(set) var head: ConnectionState?
    private unowned(unsafe) var tail: ConnectionState?

    /// Moves a connection here.
    func append(_ connection: ConnectionState, at now: Int64) {
        connection.leave()
        connection.since = now
        connection.list = self
        connection.previous = tail
        if let tail { tail.next = connection } else { head = connection }
        tail = connection
    }

    func remove(_ connection: ConnectionState) {
        let next = connection.next
        let previous = connection.previous
        if let previous { previous.next = next } else { head = next }
        if let next { next.previous = previous } else { tail = previous }
        connection.next = nil
        connection.previous = nil
        connection.list = nil
    }
}

/// What the endpoint knows of one connection: whether it is silent or being answered, and since when.
///
/// Belongs to the endpoint's thread.
final class ConnectionState {
    let descriptor: Int32
    /// When the present phase began, in monotonic nanoseconds.
    var since: Int64 = 0
    var list: ConnectionList?
    var next: ConnectionState?
    unowned(unsafe) var previous: ConnectionState?
    /// What its TLS works with; `nil` for a connection without.
    var material: TLSMaterial?
    /// What the handshake has found out about the client.
    var client = ClientCertificate.missing
    /// Whether the handshake lets everybody in, so that each request has to be looked at.
    var isLenient = false

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Ends the connection: the library sees a hang-up and closes it.
    ///
    /// The descriptor is the library's, and open as long as this object is in a list.
    func hangUp() {
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// Wakes the library if the client has said that it will send no more.
    ///
    /// The library watches for changes, and takes a read that fills less than its buffer for the last one, so that it
    /// does not see an end that has come before that read. What it still has to answer is answered.
    func noticeEnd() {
        var byte: UInt8 = 0
        if recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 0 {
            shutdown(descriptor, Int32(SHUT_RD))
        }
    }

    /// Leaves the list it is in.
    func leave() {
        list?.remove(self)
    }
}

/// A response of the library.
extension OpaquePointer {
    /// Makes a response with a copy of a text as its body; `nil` for want of memory.
    static func response(_ text: String) -> OpaquePointer? {
        var body = text
        return body.withUTF8 { bytes in
            MHD_create_response_from_buffer(
                bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
        }
    }

    /// Adds a header to a response.
    func add(_ name: String, _ value: String) {
        // It fails for want of memory only, and then the response goes without.
        _ = MHD_add_response_header(self, name, value)
    }
}
