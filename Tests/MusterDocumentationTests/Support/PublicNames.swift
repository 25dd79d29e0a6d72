// SPDX-License-Identifier: Apache-2.0

/// The names that a user of Muster can write: what the sources of its libraries declare as public, with the cases of
/// enumerations, the requirements of protocols, and the labels of parameters.
struct PublicNames {
    private static let modules = [
        "Muster", "MusterEndpoint", "MusterExecution", "MusterHummingbird", "MusterMetrics", "MusterNIO",
        "MusterPlatform", "MusterServiceLifecycle", "MusterSupervision", "MusterTestKit",
    ]

    /// What is Swift's, the system's, a route's or a variable of the example, and stands beside Muster's names.
    private static let foreign: Set<String> = [
        "try", "await", "throw", "in", "true", "false", "init", "main", "error", "lldb", "metrics", "seconds", "socket",
        "timer",
    ]

    private(set) var declared: Set<String> = Set(modules)

    init() throws {
        for file in Repository.files(in: Self.modules.map { "Sources/\($0)" }, endingIn: [".swift"]) {
            let text = try Repository.text(file)
            let isProtocol = text.contains("public protocol")
            guard isProtocol || text.contains("public ") else { continue }
            read(text, isProtocol: isProtocol)
        }
    }

    private mutating func read(_ text: String, isProtocol: Bool) {
        var isInParameters = false
        for line in text.split(separator: "\n") {
            let code = line.drop { $0 == " " }
            if code.hasPrefix("//") { continue }
            if code.hasPrefix("case ") || code.hasPrefix("indirect case ") {
                add(wordsOf: code.prefix { $0 != "=" })
            }
            let isPublic = isProtocol || code.hasPrefix("public ")
            if isPublic {
                let names = /\b(?:class|struct|enum|protocol|actor|typealias|func|var|let) ([A-Za-z][A-Za-z0-9]*)/
                if let name = code.firstMatch(of: names) { declared.insert(String(name.1)) }
            }
            let isFunction = isPublic && (code.contains("func ") || code.contains("init(") || code.contains("init?("))
            if isFunction || isInParameters { addLabels(of: code, isFunction: isFunction) }
            if isFunction { isInParameters = code.hasSuffix("(") }
            if code.hasPrefix(")") { isInParameters = false }
        }
    }

    /// Adds the labels of parameters, "label name: Type" or "name: Type".
    private mutating func addLabels(of code: Substring, isFunction: Bool) {
        let parameters = isFunction ? code.drop { $0 != "(" }.dropFirst() : code
        for parameter in parameters.split(separator: ", ") {
            if let label = parameter.prefixMatch(of: /([A-Za-z][A-Za-z0-9]*)(?: [A-Za-z0-9]+)?:/) {
                declared.insert(String(label.1))
            }
        }
    }

    private mutating func add(wordsOf text: Substring) {
        for word in text.matches(of: /[A-Za-z][A-Za-z0-9]*/) { declared.insert(String(word.0)) }
    }

    func contains(_ name: String) -> Bool {
        // What is all in capital letters is a variable of the environment, or a message of systemd's.
        declared.contains(name) || Self.foreign.contains(name) || name.allSatisfy(\.isUppercase)
    }
}
