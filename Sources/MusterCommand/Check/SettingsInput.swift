// SPDX-License-Identifier: Apache-2.0

/// What a program would read its settings from, with the places to name in findings.
public struct SettingsInput: Sendable {
    /// A variable of the environment.
    public struct Variable: Hashable, Sendable {
        /// Its value.
        public var value: String
        /// Where it was set.
        public var place: Finding.Place

        /// Names a variable's value and place.
        ///
        /// - Parameters:
        ///   - value: Its value.
        ///   - place: Where it was set.
        public init(_ value: String, at place: Finding.Place) {
            self.value = value
            self.place = place
        }
    }

    /// The arguments, without the program's name.
    public var arguments: [String]
    /// Where the arguments were found.
    public var argumentsPlace: Finding.Place
    /// The environment.
    public var environment: [String: Variable]
    /// The JSON file; when `nil`, the one that the other two name, if any.
    public var file: String?

    /// Creates an input.
    ///
    /// - Parameters:
    ///   - arguments: The arguments, without the program's name.
    ///   - argumentsPlace: Where they were found.
    ///   - environment: The environment.
    ///   - file: The JSON file; when `nil`, the one that the other two name, if any.
    public init(
        arguments: [String] = [], argumentsPlace: Finding.Place = Finding.Place("arguments"),
        environment: [String: Variable] = [:], file: String? = nil
    ) {
        self.arguments = arguments
        self.argumentsPlace = argumentsPlace
        self.environment = environment
        self.file = file
    }

    /// An environment of which only the values are known, as that of this process.
    ///
    /// - Parameter values: The values by name.
    public static func environment(_ values: [String: String]) -> [String: Variable] {
        values.mapValues { Variable($0, at: Finding.Place("environment")) }
    }
}
