// SPDX-License-Identifier: Apache-2.0

import CCurl
import Glibc
import Muster
import MusterCommand

/// Asks HTTP servers, with libcurl. A connection is kept for the next question.
///
/// Belongs to the thread that made it.
final class CurlClient {
    /// What is asked.
    struct Request {
        let url: String
        /// The Unix socket to ask at; `nil` for the URL's host.
        var socketPath: String?
        /// Whether it is on this machine, so that no proxy leads there.
        var isLocal = true
        /// The body of a form, to be posted.
        var form: String?
        /// The media types that can be read; `nil` for all.
        var accept: String?
    }

    /// An answer, whatever its status.
    struct Answer {
        let status: Int
        let body: [UInt8]
    }

    private let access: Access
    private let limit: Duration
    private let largest: Int
    private let easy: UnsafeMutableRawPointer?
    private let multi: UnsafeMutableRawPointer?
    private var body: [UInt8] = []
    private var isTooLarge = false

    /// - Parameter largest: The longest answer. A status of a thousand workers has some 0.5 MB.
    init(access: Access, limit: Duration, largest: Int = 16 << 20) {
        self.access = access
        self.limit = limit
        self.largest = largest
        curl_global_init(Int(CURL_GLOBAL_DEFAULT))
        easy = curl_easy_init()
        multi = curl_multi_init()
    }

    deinit {
        curl_multi_cleanup(multi)
        curl_easy_cleanup(easy)
    }

    /// Asks for a status.
    func fetch(_ target: StatusTarget, interruptedBy descriptor: Int32?) -> Result<StatusAnswer, FetchFailure> {
        let request = Request(url: target.url, socketPath: target.socketPath, isLocal: target.isLocal)
        return fetch(request, interruptedBy: descriptor).flatMap { answer in
            Result { () throws(FetchFailure) in try StatusAnswer(status: answer.status, body: answer.body) }
        }
    }

    /// Asks once.
    func fetch(_ request: Request, interruptedBy descriptor: Int32?) -> Result<Answer, FetchFailure> {
        guard let easy, let multi else { return .failure(.other(reason: "libcurl cannot be used: out of memory")) }
        body = []
        isTooLarge = false
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CURL_ERROR_SIZE)) { text in
            text.initialize(repeating: 0)
            configure(easy, request)
            let headers = request.accept.flatMap { curl_slist_append(nil, "Accept: \($0)") }
            defer { curl_slist_free_all(headers) }
            if let headers { ccurl_set_headers(easy, headers) }
            ccurl_set_error_text(easy, text.baseAddress)
            defer { ccurl_set_error_text(easy, nil) }
            guard let code = transfer(easy, multi, descriptor) else { return .failure(.interrupted) }
            guard code == CURLE_OK else {
                let said = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                return .failure(
                    failure(code, said.isEmpty ? String(cString: curl_easy_strerror(code)) : said, request))
            }
            return .success(Answer(status: Int(ccurl_number(easy, CURLINFO_RESPONSE_CODE)), body: body))
        }
    }

    private func configure(_ easy: UnsafeMutableRawPointer, _ request: Request) {
        curl_easy_reset(easy)
        ccurl_set_text(easy, CURLOPT_URL, request.url)
        if let form = request.form { ccurl_set_text(easy, CURLOPT_COPYPOSTFIELDS, form) }
        ccurl_set_text(easy, CURLOPT_PROTOCOLS_STR, "http,https")
        ccurl_set_text(easy, CURLOPT_USERAGENT, "muster/\(MusterVersion.current)")
        ccurl_set_text(easy, CURLOPT_ACCEPT_ENCODING, "")
        ccurl_set_number(easy, CURLOPT_NOSIGNAL, 1)
        let (seconds, attoseconds) = limit.components
        ccurl_set_number(easy, CURLOPT_TIMEOUT_MS, Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000))
        // What is on this machine is asked directly, whatever the environment says: a proxy would see the password.
        if request.isLocal { ccurl_set_text(easy, CURLOPT_PROXY, "") }
        if let path = request.socketPath { ccurl_set_text(easy, CURLOPT_UNIX_SOCKET_PATH, path) }
        if let user = access.user {
            ccurl_use_basic_auth(easy)
            ccurl_set_text(easy, CURLOPT_USERNAME, user)
            ccurl_set_text(easy, CURLOPT_PASSWORD, access.password ?? "")
        }
        if let token = access.token { ccurl_use_token(easy, token) }
        if let file = access.caFile { ccurl_set_text(easy, CURLOPT_CAINFO, file) }
        if let file = access.certificate { ccurl_set_text(easy, CURLOPT_SSLCERT, file) }
        if let file = access.key { ccurl_set_text(easy, CURLOPT_SSLKEY, file) }
        if access.isInsecure {
            ccurl_set_number(easy, CURLOPT_SSL_VERIFYPEER, 0)
            ccurl_set_number(easy, CURLOPT_SSL_VERIFYHOST, 0)
        }
        let receiver: ccurl_receiver = { bytes, _, count, context in
            guard let bytes, let context else { return 0 }
            let client = Unmanaged<CurlClient>.fromOpaque(context).takeUnretainedValue()
            return client.receive(UnsafeRawBufferPointer(start: bytes, count: count)) ? count : 0
        }
        ccurl_set_receiver(easy, receiver, Unmanaged.passUnretained(self).toOpaque())
    }

    private func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard body.count + bytes.count <= largest else {
            isTooLarge = true
            return false
        }
        body.append(contentsOf: bytes)
        return true
    }

    /// Carries the transfer out; `nil` when it was interrupted.
    private func transfer(
        _ easy: UnsafeMutableRawPointer, _ multi: UnsafeMutableRawPointer, _ descriptor: Int32?
    ) -> CURLcode? {
        guard curl_multi_add_handle(multi, easy) == CURLM_OK else { return CURLE_OUT_OF_MEMORY }
        defer { curl_multi_remove_handle(multi, easy) }
        var running: Int32 = 0
        while true {
            guard curl_multi_perform(multi, &running) == CURLM_OK else { return CURLE_OUT_OF_MEMORY }
            var result = CURLE_OK
            if ccurl_take_result(multi, &result) != 0 { return result }
            var interruption = curl_waitfd(fd: descriptor ?? -1, events: Int16(CURL_WAIT_POLLIN), revents: 0)
            // libcurl wakes up by itself for its own time-outs.
            guard curl_multi_poll(multi, &interruption, descriptor == nil ? 0 : 1, 60_000, nil) == CURLM_OK else {
                return CURLE_OUT_OF_MEMORY
            }
            if interruption.revents != 0 { return nil }
        }
    }

    private func failure(_ code: CURLcode, _ said: String, _ request: Request) -> FetchFailure {
        if isTooLarge { return .tooLarge(limit: largest) }
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST: return .unknownHost
        case CURLE_COULDNT_CONNECT:
            switch Int32(ccurl_number(easy, CURLINFO_OS_ERRNO)) {
            case ECONNREFUSED: return .refused
            case ENOENT where request.socketPath != nil: return .noSocket
            case EACCES where request.socketPath != nil: return .notPermitted
            case 0: return .unreachable(reason: said)
            case let number: return .unreachable(reason: String(cString: strerror(number)))
            }
        case CURLE_OPERATION_TIMEDOUT: return .timedOut(limit: limit)
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_ISSUER_ERROR: return .untrusted(reason: said)
        case CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CRL_BADFILE: return .badFile(reason: said)
        case CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CIPHER, CURLE_USE_SSL_FAILED: return .tls(reason: said)
        case CURLE_UNSUPPORTED_PROTOCOL, CURLE_WEIRD_SERVER_REPLY, CURLE_HTTP2: return .noHTTP
        case CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_PARTIAL_FILE: return .cutOff(reason: said)
        default: return .other(reason: said)
        }
    }
}
