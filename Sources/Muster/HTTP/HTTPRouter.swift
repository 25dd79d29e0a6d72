// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
public import HTTPTypes

/// Chooses the handler of a request by its method and path.
///
/// A pattern is a path whose segments are literal, or `{name}`, which matches one segment, or, as the last one,
/// `{name...}`, which matches the rest. Literal segments come before parameters. A path that no pattern matches is
/// answered with 404, one whose patterns have other methods with 405; HEAD is answered by the handler of GET.
///
/// ```swift
/// routes.get("/items/{id}") { request in
///     .text("item \(request.parameters["id"] ?? "")\n")
/// }
/// ```
public struct HTTPRouter: Sendable {
    /// Answers a request.
    ///
    /// An ``HTTPServer/Failure`` that it throws is the answer; any other error is logged and answered with 500.
    public typealias Handler = @Sendable (HTTPServer.Request) async throws -> HTTPServer.Response

    /// One pattern with one method.
    final class Route: Sendable {
        /// Its place in ``HTTPRouter/routes``.
        let index: Int
        let method: String
        /// The value of the label `route`.
        let pattern: String
        let names: [String]
        let handler: Handler

        init(index: Int, method: String, pattern: String, names: [String], handler: @escaping Handler) {
            self.index = index
            self.method = method
            self.pattern = pattern
            self.names = names
            self.handler = handler
        }
    }

    enum Match {
        case found(Route, [Substring])
        case wrongMethod(allowed: [String])
        case missing
    }

    private struct Node: Sendable {
        var literals: [String: Node] = [:]
        var parameter: [Node] = []
        var methods: [String: Route] = [:]
        /// The routes of `{name...}`.
        var rest: [String: Route] = [:]
    }

    private var root = Node()
    /// The routes without parameters, by their paths.
    private var literals: [String: [String: Route]] = [:]
    private(set) var routes: [Route] = []
    /// What is wrong with the patterns.
    private(set) var problems: [String] = []

    init() {}

    /// Adds a route for GET, and for HEAD.
    public mutating func get(_ pattern: String, _ handler: @escaping Handler) { on(.get, pattern, handler) }

    /// Adds a route for POST.
    public mutating func post(_ pattern: String, _ handler: @escaping Handler) { on(.post, pattern, handler) }

    /// Adds a route for PUT.
    public mutating func put(_ pattern: String, _ handler: @escaping Handler) { on(.put, pattern, handler) }

    /// Adds a route for DELETE.
    public mutating func delete(_ pattern: String, _ handler: @escaping Handler) { on(.delete, pattern, handler) }

    /// Adds a route.
    ///
    /// A pattern that cannot be used, or is there already, keeps the server from starting.
    public mutating func on(_ method: HTTPRequest.Method, _ pattern: String, _ handler: @escaping Handler) {
        guard pattern.utf8.first == UInt8(ascii: "/") else {
            return problems.append("the pattern '\(pattern)' does not begin with a slash")
        }
        let segments = pattern.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        var names: [String] = []
        for (index, segment) in segments.enumerated() where segment.contains("{") || segment.contains("}") {
            guard let parameter = Parameter(segment), !parameter.isRest || index == segments.count - 1,
                !names.contains(parameter.name)
            else {
                return problems.append(
                    """
                    the segment '\(segment)' of the pattern '\(pattern)' is not a parameter: write {name} with a name that \
                    occurs once, or {name...} at the end
                    """)
            }
            names.append(parameter.name)
        }
        let route = Route(
            index: routes.count, method: method.rawValue, pattern: pattern, names: names, handler: handler)
        guard Self.insert(route, method.rawValue, segments[...], &root) else {
            return problems.append("the pattern '\(pattern)' is there already for \(method.rawValue)")
        }
        routes.append(route)
        if names.isEmpty { literals[pattern, default: [:]][method.rawValue] = route }
    }

    private struct Parameter {
        let name: String
        let isRest: Bool

        init?(_ segment: String) {
            guard segment.first == "{", segment.last == "}", segment.count > 2 else { return nil }
            let text = segment.dropFirst().dropLast()
            isRest = text.hasSuffix("...")
            name = String(isRest ? text.dropLast(3) : text)
            guard !name.isEmpty, !name.contains("{"), !name.contains("}") else { return nil }
        }
    }

    private static func insert(
        _ route: Route, _ method: String, _ segments: ArraySlice<String>, _ node: inout Node
    ) -> Bool {
        guard let segment = segments.first else {
            guard node.methods[method] == nil else { return false }
            node.methods[method] = route
            return true
        }
        guard let parameter = Parameter(segment) else {
            return insert(route, method, segments.dropFirst(), &node.literals[segment, default: Node()])
        }
        if parameter.isRest {
            guard node.rest[method] == nil else { return false }
            node.rest[method] = route
            return true
        }
        if node.parameter.isEmpty { node.parameter.append(Node()) }
        return insert(route, method, segments.dropFirst(), &node.parameter[0])
    }

    /// The methods of all routes, as the header Allow lists them.
    var methods: String {
        let methods = Set(routes.map(\.method))
        return methods.union(methods.contains("GET") ? ["HEAD"] : []).sorted().joined(separator: ", ")
    }

    /// Finds the handler.
    ///
    /// - Parameter path: The path, as it stands in the request, without the query.
    func match(_ method: String, _ path: Substring) -> Match {
        if let route = literals[String(path)]?[method] { return .found(route, []) }
        guard path.utf8.first == UInt8(ascii: "/") else { return .missing }
        let segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        var allowed: Set<String> = []
        var values: [Substring] = []
        if let route = Self.find(method, segments[...], root, &values, &allowed) { return .found(route, values) }
        return allowed.isEmpty ? .missing : .wrongMethod(allowed: allowed.sorted())
    }

    private static func find(
        _ method: String, _ segments: ArraySlice<Substring>, _ node: Node, _ values: inout [Substring],
        _ allowed: inout Set<String>
    ) -> Route? {
        guard let segment = segments.first else { return choose(method, node.methods, &allowed) }
        if let next = node.literals[decoded(segment)],
            let route = find(method, segments.dropFirst(), next, &values, &allowed)
        {
            return route
        }
        if let next = node.parameter.first, !segment.isEmpty {
            values.append(segment)
            if let route = find(method, segments.dropFirst(), next, &values, &allowed) { return route }
            values.removeLast()
        }
        guard !node.rest.isEmpty, let route = choose(method, node.rest, &allowed) else { return nil }
        // The segments are parts of one text.
        values.append(segment.base[segment.startIndex..<(segments.last?.endIndex ?? segment.endIndex)])
        return route
    }

    private static func choose(_ method: String, _ methods: [String: Route], _ allowed: inout Set<String>) -> Route? {
        if let route = methods[method] { return route }
        if method == "HEAD", let route = methods["GET"] { return route }
        allowed.formUnion(methods.keys)
        if methods["GET"] != nil { allowed.insert("HEAD") }
        return nil
    }

    /// Text of a path as it is meant. What is not encoded correctly stays as it is.
    static func decoded(_ text: Substring) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
        // After a first segment, so that no text can be taken for anything but a path.
        let components = URLComponents(string: "x:/-" + text, encodingInvalidCharacters: false)
        return components.map { String($0.path.dropFirst(2)) } ?? String(text)
    }
}
