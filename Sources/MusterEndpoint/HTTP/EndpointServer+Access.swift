// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd
import Logging
import MusterPlatform

extension EndpointServer {
    // MARK: Who is let in

    /// Takes up a new version of the web config file.
    func refreshAccess() {
        guard let access, access.refresh() else { return }
        if !makeFixedResponses() { logger.error("there is no memory for the endpoint's responses") }
        // Their headers may be other ones now.
        status.forget()
        do {
            try openDaemon()
        } catch {
            logger.error(
                "the endpoint cannot serve what its web config file asks for", metadata: ["error": "\(error)"])
        }
        // Those who came in under other rules have to come again; who is being answered just now, after that.
        var connection = silent.head
        while let present = connection {
            connection = present.next
            if !access.isCurrent(present) { present.hangUp() }
        }
    }

    /// Looks whether a request may be answered.
    ///
    /// - Returns: `nil` if so; what has become of it otherwise.
    func admit(
        _ connection: OpaquePointer, _ route: Route, _ access: AccessControl,
        _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result? {
        refreshAccess()
        guard let state = state(of: connection) else { return .NO }
        let verdict = access.judge(
            route, from: state, authorization: header("Authorization", of: connection), at: .now)
        switch verdict {
        case .granted: return nil
        case .outdated: return .NO
        case .refused(let response): return answer(connection, route.label, response)
        case .badCertificate(let certificate): return refuse(connection, route.label, certificate)
        case .login(let credentials):
            let asked = access.desk.ask(credentials) {
                let login = PendingLogin(connection: connection)
                suspended[ObjectIdentifier(login)] = login
                mark.pointee = Unmanaged<Suspension>.passRetained(login).toOpaque()
                MHD_suspend_connection(connection)
                return login
            }
            switch asked {
            case .granted: return nil
            case .refused: return answer(connection, route.label, .unauthorized)
            case .busy: return answer(connection, route.label, .tooManyLogins)
            case .pending: return .YES
            }
        }
    }

    private func refuse(
        _ connection: OpaquePointer, _ label: RouteLabel, _ certificate: ClientCertificate
    ) -> MHD_Result {
        guard let made = OpaquePointer.response(certificate.refusal) else { return .NO }
        defer { MHD_destroy_response(made) }
        finish(made, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-cache")])
        return queue(connection, label, 403, made)
    }

    /// The outcome of a login is known.
    func resume(_ login: PendingLogin) {
        guard !isStopping, suspended.removeValue(forKey: ObjectIdentifier(login)) != nil else { return }
        MHD_resume_connection(login.connection)
        // The library takes notice of it in its next pass only.
        runPass()
    }

    /// Answers a request that had to wait for its password.
    func go(
        on login: PendingLogin, _ path: UnsafePointer<CChar>, _ method: UnsafePointer<CChar>,
        _ mark: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    ) -> MHD_Result {
        let connection = login.connection
        let route = Route(path: String(cString: path))
        if let pointer = mark.pointee { Unmanaged<Suspension>.fromOpaque(pointer).release() }
        mark.pointee = Mark.seen
        guard let isGranted = login.isGranted else { return answer(connection, route.label, .stopping) }
        guard isGranted else { return answer(connection, route.label, .unauthorized) }
        guard isServed(method) else { return answer(connection, .other, .methodNotAllowed) }
        return serve(connection, route, mark)
    }
}
