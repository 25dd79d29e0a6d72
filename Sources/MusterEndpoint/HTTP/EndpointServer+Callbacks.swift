// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd

// What the library calls. They are functions of the file's level because C knows no others.

private func server(_ context: UnsafeMutableRawPointer?) -> EndpointServer? {
    context.map { Unmanaged<EndpointServer>.fromOpaque($0).takeUnretainedValue() }
}

func endpointHandleRequest(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?, _ path: UnsafePointer<CChar>?,
    _ method: UnsafePointer<CChar>?, _ version: UnsafePointer<CChar>?, _ body: UnsafePointer<CChar>?,
    _ bodySize: UnsafeMutablePointer<Int>?, _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> MHD_Result {
    guard let server = server(context), let connection, let path, let method, let bodySize, let mark else { return .NO }
    return server.handle(connection, path: path, method: method, bodySize: bodySize, mark: mark)
}

func endpointCompletedRequest(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?,
    _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ reason: MHD_RequestTerminationCode
) {
    guard let server = server(context), let connection, let mark else { return }
    server.completed(connection, mark: mark, reason: reason)
}

func endpointChangedConnection(
    _ context: UnsafeMutableRawPointer?, _ connection: OpaquePointer?,
    _ stored: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ change: MHD_ConnectionNotificationCode
) {
    guard let server = server(context), let connection, let stored else { return }
    if change == .CONNECTION_NOTIFY_STARTED {
        stored.pointee = Unmanaged.passRetained(server.connectionStarted(connection)).toOpaque()
    } else if let pointer = stored.pointee {
        stored.pointee = nil
        server.connectionEnded(Unmanaged<ConnectionState>.fromOpaque(pointer).takeRetainedValue())
    }
}
