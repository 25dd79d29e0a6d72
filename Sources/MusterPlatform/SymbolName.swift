// SPDX-License-Identifier: Apache-2.0

import CMuster
import Glibc

/// How symbols are shown.
enum SymbolName {
    /// What a symbol stands for in the words of its language; of Swift's without what only tells it from others of the
    /// same name.
    static func readable(_ symbol: String) -> String {
        guard let demangled = cmuster_demangle(symbol) else { return symbol }
        defer { free(demangled) }
        let name = String(cString: demangled)
        return symbol.hasPrefix("_Z") ? name : simplified(name)
    }

    private static let prefixes = [
        "@objc ", "merged ", "partial apply forwarder for ", "protocol witness for ", "dispatch thunk of ",
        "method descriptor for ", "vtable thunk for ", "@nonobjc ",
    ]

    /// Without the part of an asynchronous function, specialisations, where private names are from, and the types of results.
    static func simplified(_ name: String) -> String {
        var rest = Array(name.utf8)[...]
        while true {
            if let prefix = prefixes.first(where: { rest.starts(with: $0.utf8) }) {
                rest = rest.dropFirst(prefix.utf8.count)
            } else if let end = endOfSpecialisation(rest) ?? endOfPart(rest) {
                rest = rest[end...]
            } else {
                break
            }
        }
        rest = withoutPlaces(rest)[...]
        if rest.starts(with: "closure #".utf8) || rest.starts(with: "implicit closure #".utf8),
            let place = firstOutside(rest, [" in "]), let number = rest.firstIndex(of: UInt8(ascii: "#")),
            let space = rest[number...].firstIndex(of: UInt8(ascii: " "))
        {
            return text(rest[..<space]) + " in " + simplified(text(rest[(place + 4)...]))
        }
        if rest.starts(with: "reabstraction thunk helper".utf8) { return "reabstraction thunk helper" }
        let end = firstOutside(rest, [" in conformance ", " -> ", " throws", " async", " : "]) ?? rest.endIndex
        return withoutStandardModule(text(rest[..<end]))
    }

    private static func text(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }

    /// Behind `generic specialization <…> of `.
    private static func endOfSpecialisation(_ name: ArraySlice<UInt8>) -> Int? {
        let head = name.prefix { $0 != UInt8(ascii: "<") }
        guard head.count < name.count, text(head).hasSuffix("specialization ") else { return nil }
        // Square brackets need not have their counterparts there.
        var depth = 0
        for index in head.endIndex..<name.endIndex {
            if name[index] == UInt8(ascii: "<") { depth += 1 }
            if name[index] == UInt8(ascii: ">"), name[index - 1] != UInt8(ascii: "-") { depth -= 1 }
            guard depth == 0 else { continue }
            return name[index...].starts(with: "> of ".utf8) ? index + 5 : nil
        }
        return nil
    }

    /// Behind `(1) await resume partial function for `.
    private static func endOfPart(_ name: ArraySlice<UInt8>) -> Int? {
        guard name.first == UInt8(ascii: "("), let close = name.firstIndex(of: UInt8(ascii: ")")) else { return nil }
        let rest = name[(close + 1)...]
        for part in [" await resume partial function for ", " suspend resume partial function for "]
        where rest.starts(with: part.utf8) {
            return rest.startIndex + part.utf8.count
        }
        return nil
    }

    /// `(name in _0123…)` as `name`.
    private static func withoutPlaces(_ name: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var opened: [Int] = []
        var index = name.startIndex
        while index < name.endIndex {
            let byte = name[index]
            if byte == UInt8(ascii: "(") { opened.append(result.count) }
            if byte == UInt8(ascii: ")") { _ = opened.popLast() }
            if byte == UInt8(ascii: " "), let open = opened.last, name[index...].starts(with: " in _".utf8),
                let close = name[index...].firstIndex(of: UInt8(ascii: ")")), close - index > 20,
                name[(index + 5)..<close].allSatisfy({ isHexadecimal($0) })
            {
                result.remove(at: open)
                opened.removeLast()
                index = close + 1
                continue
            }
            result.append(byte)
            index += 1
        }
        return result
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || UInt8(ascii: "A")...UInt8(ascii: "F") ~= byte
    }

    /// Where the first of some texts begins that is in no brackets.
    private static func firstOutside(_ name: ArraySlice<UInt8>, _ texts: [String]) -> Int? {
        var depth = 0
        for index in name.indices {
            switch name[index] {
            case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "<"): depth += 1
            case UInt8(ascii: ")"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: ">") where index == name.startIndex || name[index - 1] != UInt8(ascii: "-"): depth -= 1
            case UInt8(ascii: " ") where depth == 0:
                if texts.contains(where: { name[index...].starts(with: $0.utf8) }) { return index }
            default: break
            }
        }
        return nil
    }

    /// `Int` for `Swift.Int`.
    private static func withoutStandardModule(_ name: String) -> String {
        var result = ""
        var rest = name[...]
        let module = "Swift."
        while let first = rest.first {
            let isInWord = result.last.map { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." } ?? false
            if !isInWord, first == "S", rest.hasPrefix(module) {
                rest = rest.dropFirst(module.count)
            } else {
                result.append(first)
                rest = rest.dropFirst()
            }
        }
        return result
    }
}
