// SPDX-License-Identifier: Apache-2.0

import Glibc
import MusterPlatform
import MusterTestSupport
import Testing

@testable import MusterSupervision

@Suite("Control channel")
struct ControlChannelTests {
    static let messages: [ControlMessage] = [
        .stop(until: nil), .stop(until: MonotonicInstant(nanoseconds: 0x0102_0304_0506_0708)), .takeOver(slot: 0),
        .reset(WorkerSettings(["muster.liveness-limit": "10s"])), .consoleRequest("jobs"),
        .startFailed(reason: "no database at 'örtlich'"), .active, .hasReset(succeeded: true), .crashing,
        .recycle(reason: ""), .recycle(reason: "10 000 requests"), .hasReset(succeeded: false),
        .reset(WorkerSettings(["muster.liveness-limit": "10s"])),
    ]

    @Test("Messages arrive in order, each in one piece")
    func order() throws {
        let (supervisor, worker) = try ControlChannel.pair()
        for message in Self.messages { #expect(supervisor.send(message)) }
        for message in Self.messages { #expect(worker.receive() == .message(message)) }
        #expect(worker.receive() == .nothing)
        #expect(worker.send(.ready))
        #expect(supervisor.receive() == .message(.ready))
    }

    @Test("A request comes with its connection, which nobody else keeps open")
    func request() throws {
        let (supervisor, worker) = try ControlChannel.pair()
        let (near, number) = try {
            let pair = try SocketPair()
            #expect(supervisor.send(.consoleRequest("jobs"), with: pair.far))
            return (pair.near, pair.far.rawValue)
        }()
        var taken: OwnedDescriptor?
        if case .request("jobs", let connection) = worker.receive() { taken = connection }
        let connection = try #require(taken)
        #expect(connection.rawValue != number || fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
        poke(connection)
        #expect(drain(near) == 1)
        taken = nil
        _ = consume connection
        // Processes that other tests start may still have it for a moment.
        var end = pollfd(fd: near.rawValue, events: Int16(POLLIN), revents: 0)
        #expect(poll(&end, 1, 60_000) == 1)
        var byte: UInt8 = 0
        #expect(read(near.rawValue, &byte, 1) == 0)
    }

    @Test("A message that nobody has room for is refused, and the next one gets through when there is room again")
    func full() throws {
        let (supervisor, worker) = try ControlChannel.pair()
        var count = 0
        while supervisor.send(.reset(nil)) { count += 1 }
        #expect(count > 0)
        for _ in 0..<count { #expect(worker.receive() == .message(.reset(nil))) }
        #expect(supervisor.send(.takeOver(slot: 1)))
        #expect(worker.receive() == .message(.takeOver(slot: 1)))
    }

    @Test("What was sent before the end is read before the end")
    func closed() throws {
        let (supervisor, worker) = try {
            let (supervisor, worker) = try ControlChannel.pair()
            // Left unread, which resets the connection.
            supervisor.send(.reset(nil))
            worker.send(.ready)
            worker.send(.startFailed(reason: "x"))
            return (supervisor, worker.inodeOrZero)
        }()
        #expect(worker != 0)
        #expect(supervisor.receive() == .message(.ready))
        #expect(supervisor.receive() == .message(.startFailed(reason: "x")))
        #expect(supervisor.receive() == .closed)
        #expect(supervisor.receive() == .closed)
        #expect(!supervisor.send(.takeOver(slot: 1)))
    }

    @Test("Garbage is told as such and keeps nothing from getting through")
    func garbage() throws {
        let (supervisor, worker) = try ControlChannel.pair()
        let packets: [([UInt8], ControlMessageError)] = [
            ([], .empty), ([0], .unknownKind(0)), ([255, 1], .unknownKind(255)),
            ([2, 0], .unreadableSettings), ([3, 0], .wrongLength(kind: 3, bytes: 2)),
            ([7], .wrongLength(kind: 7, bytes: 1)), ([7, 2], .wrongLength(kind: 7, bytes: 2)),
            ([1], .wrongLength(kind: 1, bytes: 1)), ([1, 0, 0, 0, 0, 0], .wrongLength(kind: 1, bytes: 6)),
            ([UInt8](repeating: 6, count: 16_385), .tooLong(bytes: 16_385)),
            ([UInt8](repeating: 6, count: 60_000), .tooLong(bytes: 60_000)),
        ]
        for (packet, error) in packets {
            #expect(send(worker.descriptor.rawValue, packet, packet.count, 0) == packet.count)
            worker.send(.ready)
            #expect(supervisor.receive() == .malformed(error))
            #expect(supervisor.receive() == .message(.ready))
        }
    }

    @Test("Bytes of any kind are a message or an error")
    func fuzz() {
        var generator = SplitMix64(seed: 7)
        for _ in 0..<Scale.of(20_000) {
            let count = Int.random(in: 0...20, using: &generator)
            var packet = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if !packet.isEmpty, Bool.random(using: &generator) {
                packet[0] = UInt8.random(in: 0...9, using: &generator)
            }
            if let message = try? ControlMessage(decoding: packet) {
                #expect((try? ControlMessage(decoding: message.encoded)) == message)
            }
        }
    }

    @Test("A reason that is too long is cut between characters", arguments: ["x", "ö", "€", "😀"])
    func longReason(character: String) throws {
        for lead in 0..<4 {
            let reason = String(repeating: ".", count: lead) + String(repeating: character, count: 1100)
            let packet = ControlMessage.startFailed(reason: reason).encoded
            #expect(packet.count <= 1024)
            #expect(packet.count > 1024 - 4)
            guard case .startFailed(let cut) = try ControlMessage(decoding: packet) else { continue }
            #expect(reason.hasPrefix(cut))
            #expect(!cut.contains("\u{FFFD}"))
        }
    }

    @Test("The descriptors are closed for programs and do not block")
    func flags() throws {
        let (supervisor, worker) = try ControlChannel.pair()
        for channel in [supervisor, worker] {
            #expect(fcntl(channel.descriptor.rawValue, F_GETFD) & FD_CLOEXEC != 0)
            #expect(channel.receive() == .nothing)
        }
        #expect(try supervisor.inode != worker.inode)
    }
}

extension ControlChannel {
    fileprivate var inodeOrZero: UInt64 { (try? inode) ?? 0 }
}
