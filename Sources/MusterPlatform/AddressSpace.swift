// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// A function that a thread is in, or has called another from.
package struct StackFrame: Hashable, Sendable {
    /// Where in memory.
    package var address: UInt64
    /// The function's name as Swift writes it; `nil` when the image has no name for it.
    package var function: String?
    /// How far into the function, in bytes.
    package var offset: UInt64
    /// The name of the executable's or library's file.
    package var image: String

    /// The function, or what is known instead.
    package var name: String { function ?? "\(image)+0x\(String(offset, radix: 16))" }
}

/// The code of a process at one moment: what makes backtraces of its threads' stacks.
package final class AddressSpace {
    private struct Mapping {
        let range: Range<UInt64>
        let offset: UInt64
        let path: String
    }

    private let mappings: [Mapping]
    private let executable: String?
    private let pid: Int32
    private var images: [String: ElfImage?] = [:]

    /// How many functions of a stack are found.
    package static let deepest = 256
    private static let kernelImage = "[vdso]"

    /// - Returns: `nil` when the process has ended or may not be looked at.
    package init?(pid: Int32) {
        guard let maps = SmallFile.beginning(of: "/proc/\(pid)/maps", limit: 16 << 20), !maps.isEmpty else {
            return nil
        }
        self.pid = pid
        mappings = maps.utf8.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5).map { Substring($0) }
            guard fields.count == 6, fields[1].dropFirst(2).first == "x", let offset = UInt64(fields[2], radix: 16),
                let dash = fields[0].firstIndex(of: "-"), let start = UInt64(fields[0][..<dash], radix: 16),
                let end = UInt64(fields[0][fields[0].index(after: dash)...], radix: 16), start < end
            else { return nil }
            return Mapping(range: start..<end, offset: offset, path: String(fields[5].drop { $0 == " " }))
        }
        executable = SmallFile.target(of: "/proc/\(pid)/exe")
    }

    /// The addresses of the functions on a thread's stack, the innermost first.
    package func backtrace(_ sample: ThreadSample) -> (addresses: [UInt64], isWhole: Bool) {
        var state = FrameState(sample)
        var addresses: [UInt64] = []
        while addresses.count < Self.deepest {
            addresses.append(state.instruction)
            let frames = frames(at: state.instruction)
            if let (frames, bias) = frames, state.isInterrupted,
                let code = frames.image.code(at: state.programCounter &- bias),
                state.leaveUnfinishedFrame(
                    code.dropFirst(), after: code[0], isDescribed: frames.describes(state.programCounter &- bias))
            {
                continue
            }
            let step = frames.map { $0.step(&state, bias: $1) } ?? .unknown
            switch step {
            case .done: continue
            case .end: return (addresses, true)
            case .unknown: if !state.followFramePointer() { return (addresses, false) }
            }
        }
        return (addresses, false)
    }

    /// The names of the functions at some addresses.
    package func frames(at addresses: Set<UInt64>) -> [UInt64: StackFrame] {
        var result: [UInt64: StackFrame] = [:]
        var places: [String: [UInt64: UInt64]] = [:]
        for address in addresses {
            guard let mapping = mapping(at: address) else {
                result[address] = StackFrame(address: address, function: nil, offset: address, image: "?")
                continue
            }
            let offset = address - mapping.range.lowerBound + mapping.offset
            result[address] = StackFrame(address: address, offset: offset, image: Self.fileName(mapping.path))
            guard let place = image(of: mapping)?.address(ofOffset: offset) else { continue }
            places[mapping.path, default: [:]][place] = address
        }
        for (path, addresses) in places {
            for (place, symbol) in images[path]??.symbols(at: Set(addresses.keys)) ?? [:] {
                guard let address = addresses[place] else { continue }
                result[address]?.function = SymbolName.readable(symbol.name)
                result[address]?.offset = symbol.offset
            }
        }
        return result
    }

    private func frames(at address: UInt64) -> (CallFrames, bias: UInt64)? {
        guard let mapping = mapping(at: address), let image = image(of: mapping) else { return nil }
        let offset = address - mapping.range.lowerBound + mapping.offset
        return image.address(ofOffset: offset).map { (CallFrames(image: image), address &- $0) }
    }

    private func mapping(at address: UInt64) -> Mapping? {
        var (low, high) = (0, mappings.count)
        while low < high {
            let middle = (low + high) / 2
            if mappings[middle].range.lowerBound <= address { low = middle + 1 } else { high = middle }
        }
        guard low > 0, mappings[low - 1].range.contains(address) else { return nil }
        return mappings[low - 1]
    }

    private func image(of mapping: Mapping) -> ElfImage? {
        if let known = images[mapping.path] { return known }
        let image: ElfImage? =
            if mapping.path == Self.kernelImage {
                // The kernel gives the same code to all processes.
                cmuster_kernel_image().flatMap {
                    ElfImage(UnsafeRawBufferPointer(start: $0, count: mapping.range.count))
                }
            } else if mapping.path == executable {
                // Also when another file has taken its place.
                ElfImage.ofFile("/proc/\(pid)/exe")
            } else {
                mapping.path.hasPrefix("/") ? ElfImage.ofFile(mapping.path) : nil
            }
        images[mapping.path] = .some(image)
        return image
    }

    private static func fileName(_ path: String) -> String {
        path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
    }
}
