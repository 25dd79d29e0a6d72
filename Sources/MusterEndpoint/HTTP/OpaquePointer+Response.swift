// SPDX-License-Identifier: Apache-2.0

import CMicrohttpd

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
