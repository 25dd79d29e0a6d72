// SPDX-License-Identifier: Apache-2.0

/// Why no backend could be selected.
public enum BackendError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Nothing is registered under the name.
    case unknown(BackendType, registered: [BackendType])
    /// The backend could not be set up.
    case failed(BackendType, reason: String)
    /// The default hook, or the set-up of a backend, asked for the backend that it was to choose.
    case selectionInProgress
    /// The name belongs to a backend already.
    case nameTaken(BackendType)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .unknown(let type, let registered):
            """
            Unknown backend: '\(type)'; registered are \(registered.map { "'\($0)'" }.joined(separator: ", ")). \
            Register one of your own with Backend.register(_:_:) before it is selected
            """
        case .failed(let type, let reason):
            "backend '\(type)' could not be set up: \(reason)"
        case .selectionInProgress:
            """
            the backend is being selected by this very thread: a default hook or a backend's set-up must not use \
            the backend (start services, create jobs, look components up)
            """
        case .nameTaken(let type):
            "a backend named '\(type)' is registered already: choose another name"
        }
    }
}
