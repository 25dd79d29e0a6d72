// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Why a program cannot listen where it was told to.
public enum ListenError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An address cannot be read.
    case invalidAddress(String, reason: String)
    /// Somebody else listens at the address already. `setting` names what to change.
    case addressInUse(ListenAddress, setting: String)
    /// A host has no address here. `setting` names what to change.
    case unknownHost(String, reason: String, setting: String)
    /// A path is taken by something that is no socket. `setting` names what to change.
    case notASocket(path: String, setting: String)
    /// An inherited descriptor is no listening stream socket. `setting` names what to change.
    case notListening(descriptor: Int32, setting: String)
    /// systemd has handed over no socket of this name. `given` are the names there are, `setting` what to change.
    case notGiven(name: String, given: [String], setting: String)
    /// systemd has handed over several sockets of this name. `setting` names what to change.
    case ambiguousName(String, descriptors: [Int32], setting: String)
    /// The kernel does not let the program listen at the address. `setting` names what to change.
    case cannotListen(ListenAddress, SystemError, setting: String)
    /// The system gives no descriptor or memory.
    case noResources(SystemError)

    /// What was wrong and what to do.
    public var description: String {
        switch self {
        case .invalidAddress(let address, let reason):
            "'\(address)' is no address to listen at: \(reason)"
        case .addressInUse(.unix(let path), let setting):
            """
            cannot listen at unix:\(path): a running process listens there already; stop it, or set \(setting) to \
            another path
            """
        case .addressInUse(let address, let setting):
            """
            cannot listen at \(address): the port is in use by another socket; stop its owner (`ss -ltnp` shows it), \
            or set \(setting) to another port (0 takes any free one)
            """
        case .unknownHost(let host, let reason, let setting):
            """
            cannot listen at '\(host)': \(reason); set \(setting) to an address of this machine, for example 127.0.0.1
            """
        case .notASocket(let path, let setting):
            """
            cannot listen at unix:\(path): something that is no socket is there, and was left alone; remove it, or \
            set \(setting) to another path
            """
        case .notListening(let descriptor, let setting):
            """
            cannot use descriptor \(descriptor): it is no listening stream socket; check who hands it over, or set \
            \(setting) to an address
            """
        case .notGiven(let name, let given, let setting):
            """
            cannot listen at systemd:\(name): \(Self.list(given)); set FileDescriptorName=\(name) in the socket unit, \
            or set \(setting) to another address
            """
        case .ambiguousName(let name, let descriptors, let setting):
            """
            cannot listen at systemd:\(name): \(descriptors.count) sockets of that name were handed over; give each a \
            unit and a FileDescriptorName of its own, or set \(setting) to one of \
            \(descriptors.map { "fd:\($0)" }.joined(separator: ", "))
            """
        case .cannotListen(let address, let error, let setting):
            "cannot listen at \(address): \(error); \(Self.remedy(for: error, at: address, setting))"
        case .noResources(let error):
            "cannot listen: \(error); the system has no descriptor or memory left for it"
        }
    }

    private static func list(_ names: [String]) -> String {
        if names.isEmpty { return "systemd has handed over no sockets to this process" }
        return "the sockets handed over are named " + names.map { "'\($0)'" }.joined(separator: ", ")
    }

    private static func remedy(for error: SystemError, at address: ListenAddress, _ setting: String) -> String {
        switch (error.code, address) {
        case (EPERM, .tcp(_, let port)) where port < 1024, (EACCES, .tcp(_, let port)) where port < 1024:
            "ports below 1024 need a privilege; set \(setting) to a higher port"
        case (EADDRNOTAVAIL, _):
            "no network interface of this machine has that address; set \(setting) to one that it has"
        case (EAFNOSUPPORT, _):
            "this machine does not speak that protocol; set \(setting) to an address of another one"
        case (ENOENT, .unix):
            "create the directory first, or set \(setting) to a path in one that exists"
        case (EACCES, .unix), (EPERM, .unix), (EROFS, .unix):
            "make the directory writable for this process, or set \(setting) to a path in one that is"
        default:
            "set \(setting) to another address"
        }
    }
}
