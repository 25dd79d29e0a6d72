// SPDX-License-Identifier: Apache-2.0

public import MusterPlatform

/// Why the endpoint could not be started.
public enum EndpointError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An address cannot be read.
    case invalidAddress(String, reason: String)
    /// A limit or duration makes no sense.
    case invalidSetting(String, reason: String)
    /// Somebody else listens at the address already. `setting` names what to change.
    case addressInUse(EndpointAddress, setting: String)
    /// A host has no address here. `setting` names what to change.
    case unknownHost(String, reason: String, setting: String)
    /// A path is taken by something that is no socket. `setting` names what to change.
    case notASocket(path: String, setting: String)
    /// An inherited descriptor is no listening stream socket. `setting` names what to change.
    case notListening(descriptor: Int32, setting: String)
    /// systemd has handed over no socket, or several, of the name asked for.
    case notHandedOver(ListenError)
    /// The kernel does not let the endpoint listen at the address. `setting` names what to change.
    case cannotListen(EndpointAddress, SystemError, setting: String)
    /// The system gives no descriptor, thread or memory.
    case noResources(SystemError)
    /// libmicrohttpd is not on the machine, or not one that can be used.
    case noLibrary(reason: String)
    /// The web config file cannot be used. `setting` names what says which file.
    case invalidWebConfig(WebConfigError, setting: String)
    /// The endpoint is running.
    case alreadyStarted(EndpointAddress)

    /// The error of the socket, in the endpoint's terms.
    init(_ error: ListenError) {
        self =
            switch error {
            case .invalidAddress(let address, let reason): .invalidAddress(address, reason: reason)
            case .addressInUse(let address, let setting): .addressInUse(address, setting: setting)
            case .unknownHost(let host, let reason, let setting): .unknownHost(host, reason: reason, setting: setting)
            case .notASocket(let path, let setting): .notASocket(path: path, setting: setting)
            case .notListening(let descriptor, let setting): .notListening(descriptor: descriptor, setting: setting)
            case .cannotListen(let address, let error, let setting): .cannotListen(address, error, setting: setting)
            case .notGiven, .ambiguousName: .notHandedOver(error)
            case .noResources(let error): .noResources(error)
            }
    }

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .invalidAddress(let address, let reason):
            ListenError.invalidAddress(address, reason: reason).description
        case .invalidSetting(let setting, let reason):
            "the endpoint's \(setting) \(reason)"
        case .addressInUse(let address, let setting):
            "the endpoint \(ListenError.addressInUse(address, setting: setting))"
        case .unknownHost(let host, let reason, let setting):
            "the endpoint \(ListenError.unknownHost(host, reason: reason, setting: setting))"
        case .notASocket(let path, let setting):
            "the endpoint \(ListenError.notASocket(path: path, setting: setting))"
        case .notListening(let descriptor, let setting):
            "the endpoint \(ListenError.notListening(descriptor: descriptor, setting: setting))"
        case .notHandedOver(let error):
            "the endpoint \(error)"
        case .cannotListen(let address, let error, let setting):
            "the endpoint \(ListenError.cannotListen(address, error, setting: setting))"
        case .noResources(let error):
            "the endpoint cannot be started: \(error); the system has no descriptor, thread or memory left for it"
        case .noLibrary(let reason):
            "the endpoint needs libmicrohttpd 0.9.75 or later (Debian's libmicrohttpd12), which cannot be loaded: \(reason)"
        case .invalidWebConfig(let error, let setting):
            "the endpoint's web config file (\(setting)) cannot be used: \(error)"
        case .alreadyStarted(let address):
            "the endpoint has been started already, at \(address); stop it first"
        }
    }
}
