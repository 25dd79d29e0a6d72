// SPDX-License-Identifier: Apache-2.0

import CZlib

/// Compresses whole bodies; its memory is used again and again.
///
/// Belongs to one thread.
final class GzipCompressor {
    private let stream: UnsafeMutablePointer<z_stream>

    /// - Returns: `nil` when there is no memory for it.
    init?(level: Int32) {
        // The stream must stay where it is: zlib keeps its address.
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        guard czlib_deflate_init_gzip(stream, level) == Z_OK else {
            stream.deinitialize(count: 1)
            stream.deallocate()
            return nil
        }
    }

    deinit {
        deflateEnd(stream)
        stream.deinitialize(count: 1)
        stream.deallocate()
    }

    /// Compresses a body.
    ///
    /// - Parameters:
    ///   - bytes: The body.
    ///   - storage: Receives the result.
    /// - Returns: Whether it worked; if not, the storage's content has no meaning.
    func compress(_ bytes: UnsafeBufferPointer<UInt8>, into storage: BodyStorage) -> Bool {
        guard bytes.count <= Int(UInt32.max) / 2, deflateReset(stream) == Z_OK else { return false }
        let bound = Int(deflateBound(stream, uLong(bytes.count)))
        storage.reserve(bound)
        stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress)
        stream.pointee.avail_in = UInt32(bytes.count)
        stream.pointee.next_out = storage.pointer.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(bound)
        guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return false }
        storage.count = bound - Int(stream.pointee.avail_out)
        return true
    }
}
