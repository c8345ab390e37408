//===-- WritingTests.swift - bytes to every copy, flushes, super blocks ---------------------------===//
// Volumes on devices in memory with one chunk of each profile, written by logical address and read
// back copy by copy; the order in which super blocks become durable; what is refused.
// Not here: raid5 and raid6, which are refused. BG_SEED replays the random part.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

private let fsid = FilesystemUUID(high: 1, low: 2)
private let chunkLogical: UInt64 = 16 << 20
private let stripeBytes: UInt64 = 4 << 20
private let madeToFail = FilesystemError(.io, "device", "made to fail")

/// A volume on devices in memory, with one data chunk.
private final class Fixture {
    enum Call: Equatable {
        case write(device: Int, physical: UInt64)
        case flush(device: Int)
    }

    let devices: [MemoryDevice]
    private let recording: Recording
    let items: [DeviceItem]
    let superBlock: SuperBlock
    let volume: Volume
    let chunk: ChunkItem

    init(_ profile: Profile, stripes: Int, bytes: UInt64 = 80 << 20) throws {
        let deviceCount = profile == .dup ? 1 : stripes
        devices = (0..<deviceCount).map { _ in MemoryDevice(byteCount: bytes) }
        recording = Recording(devices)
        items = (1...deviceCount).map {
            DeviceItem(
                devid: UInt64($0),
                totalBytes: bytes,
                sectorSize: 4096,
                uuid: FilesystemUUID(high: 3, low: UInt64($0)),
                filesystemUUID: fsid
            )
        }
        var made = SuperBlock(
            formatting: fsid,
            sectorSize: 4096,
            nodeSize: 16384,
            checksumType: .crc32c,
            incompat: .mixedBackref,
            compatReadOnly: .freeSpaceTree,
            label: [],
            device: items[0],
            deviceCount: UInt64(deviceCount),
            totalBytes: bytes * UInt64(deviceCount)
        )
        made.generation = 1
        made.root = 1 << 20
        made.chunkRoot = 2 << 20
        made.bytesUsed = 6 * 16384
        let items = self.items
        func stripe(_ index: Int) -> ChunkStripe {
            let device = items[index % items.count]
            return ChunkStripe(
                devid: device.devid,
                physical: 2 << 20 + UInt64(index) * 8 << 20,
                deviceUUID: device.uuid
            )
        }
        chunk = ChunkItem(
            logical: chunkLogical,
            length: stripeBytes * UInt64(profile.dataStripes(of: stripes)),
            flags: .data | profile.flags,
            profile: profile,
            sectorSize: 4096,
            stripes: (0..<stripes).map(stripe)
        )
        var system = chunk
        system.logical = 1 << 20
        system.length = 4 << 20
        system.flags = .system
        system.profile = .single
        system.stripes = [stripe(0)]
        system.stripes[0].physical = 64 << 20
        made.systemChunks = [system]
        superBlock = made
        volume = Volume(formatting: made, devices: devices, items: items)
        try volume.addChunk(chunk)
    }

    deinit { recording.stop() }

    /// What all devices were asked for, in order, but reads.
    var calls: [Call] {
        recording.events.compactMap { event in
            switch event {
            case .write(let device, let physical, _): .write(device: device, physical: physical)
            case .flush(let device): .flush(device: device)
            case .mark: nil
            }
        }
    }

    func write(_ logical: UInt64, _ bytes: [UInt8]) throws(FilesystemError) {
        try volume.write(logical: logical, bytes.span.bytes)
    }
}

private let profiles: [(Profile, Int)] = [
    (.single, 1), (.dup, 2), (.raid0, 3), (.raid1, 2), (.raid1c3, 3), (.raid1c4, 4), (.raid10, 4),
]

@Suite struct WritingTests {
    @Test func everyCopyHoldsWhatWasWritten() throws {
        var random = SeededGenerator(state: testSeed)
        for (profile, stripes) in profiles {
            let fixture = try Fixture(profile, stripes: stripes)
            let length = Int(fixture.chunk.length)
            var model = [UInt8](repeating: 0, count: length)
            for _ in 0..<20 {
                let start = Int.random(in: 0..<length, using: &random)
                let count = min(length - start, Int.random(in: 1...400_000, using: &random))
                let byte = UInt8.random(in: 1...255, using: &random)
                let bytes = (0..<count).map { byte &+ UInt8(truncatingIfNeeded: $0 / 4093) }
                model.replaceSubrange(start..<start + count, with: bytes)
                try fixture.write(chunkLogical + UInt64(start), bytes)
            }
            for mirror in 1...profile.copies {
                let found = try fixture.volume.bytes(chunkLogical, length, mirror: mirror)
                #expect(found == model, "\(profile), mirror \(mirror), seed \(testSeed)")
            }
        }
    }

    @Test func aWriteMayCrossIntoTheNextChunk() throws {
        let fixture = try Fixture(.raid1, stripes: 2)
        var next = fixture.chunk
        next.logical = fixture.chunk.end
        next.stripes = next.stripes.map {
            ChunkStripe(devid: $0.devid, physical: 40 << 20, deviceUUID: $0.deviceUUID)
        }
        try fixture.volume.addChunk(next)
        let bytes = [UInt8](repeating: 0x77, count: 20_000)
        try fixture.write(next.logical - 10_000, bytes)
        for mirror in 1...2 {
            let found = try fixture.volume.bytes(next.logical - 10_000, 20_000, mirror: mirror)
            #expect(found == bytes)
        }
    }

    @Test func oneCopyIsRepairedAlone() throws {
        for (profile, stripes) in profiles where profile.copies > 1 {
            let fixture = try Fixture(profile, stripes: stripes)
            let good = [UInt8](repeating: 0x11, count: 200_000)
            let bad = [UInt8](repeating: 0x22, count: 200_000)
            try fixture.write(chunkLogical, good)
            try bad.withUnsafeBytes {
                try fixture.volume.writeCopy(logical: chunkLogical, mirror: 2, from: $0)
            }
            for mirror in 1...profile.copies {
                let found = try fixture.volume.bytes(chunkLogical, 200_000, mirror: mirror)
                #expect(found == (mirror == 2 ? bad : good))
            }
            let none = profile.copies + 1
            let error = failure {
                try bad.withUnsafeBytes {
                    try fixture.volume.writeCopy(logical: chunkLogical, mirror: none, from: $0)
                }
            }
            #expect(error?.code == .invalidArgument)
        }
    }

    @Test func whatIsRefusedWritesNothing() throws {
        let fixture = try Fixture(.raid1, stripes: 2)
        let bytes = [UInt8](repeating: 1, count: 8192)
        let unmapped = failure { try fixture.write(fixture.chunk.end - 4096, bytes) }
        #expect(unmapped?.code == .invalidArgument)
        #expect(unmapped?.logical == fixture.chunk.end)
        #expect(failure { try fixture.write(UInt64.max - 4095, bytes) }?.code == .invalidArgument)
        for profile in [Profile.raid5, .raid6] {
            var parity = fixture.chunk
            parity.logical = 1 << 40
            parity.profile = profile
            parity.flags = .data | profile.flags
            parity.stripes = [0, 1, 0, 1].map { index in
                let item = fixture.items[index]
                return ChunkStripe(devid: item.devid, physical: 50 << 20, deviceUUID: item.uuid)
            }
            try fixture.volume.addChunk(parity)
            #expect(failure { try fixture.write(1 << 40, bytes) }?.code == .unsupported)
            try fixture.volume.removeChunk(logical: 1 << 40)
        }
        var degraded = fixture.chunk
        degraded.logical = 1 << 41
        degraded.stripes[1].devid = 9
        try fixture.volume.addChunk(degraded)
        let missing = failure { try fixture.write(1 << 41, bytes) }
        #expect(missing?.code == .missingDevice && missing?.devid == 9)
        #expect(fixture.calls.isEmpty)
    }

    @Test func aChunkThatWasRemovedIsNotMapped() throws {
        let fixture = try Fixture(.single, stripes: 1)
        try fixture.volume.removeChunk(logical: chunkLogical)
        #expect(failure { try fixture.write(chunkLogical, [1]) }?.code == .invalidArgument)
        let error = failure { try fixture.volume.removeChunk(logical: chunkLogical) }
        #expect(error?.code == .notFound)
        try fixture.volume.addChunk(fixture.chunk)
        try fixture.write(chunkLogical, [1])
    }

    @Test func aFailedCopyFailsTheWriteAndIsCounted() throws {
        let fixture = try Fixture(.raid1, stripes: 2)
        fixture.devices[1].onWrite = { (_, _) throws(FilesystemError) in throw madeToFail }
        let error = failure { try fixture.write(chunkLogical + 4096, [1, 2, 3]) }
        #expect(error?.code == .io && error?.devid == 2 && error?.logical == chunkLogical + 4096)
        let counts = fixture.volume.statistics.writeErrors
        #expect(counts.map(\.devid) == [1, 2] && counts.map(\.count) == [0, 1])
    }
}

@Suite struct FlushTests {
    @Test func onlyDevicesThatWereWrittenAreFlushed() throws {
        let fixture = try Fixture(.raid0, stripes: 3)
        try fixture.volume.flush()
        #expect(fixture.calls.isEmpty)
        try fixture.write(chunkLogical + 65536, [1])
        try fixture.volume.flush()
        try fixture.volume.flush()
        let stripe = fixture.chunk.stripes[1].physical
        #expect(fixture.calls == [.write(device: 1, physical: stripe), .flush(device: 1)])
    }

    @Test func aFlushThatFailedOnceNeverSucceedsAgain() throws {
        let fixture = try Fixture(.single, stripes: 1)
        try fixture.write(chunkLogical, [1])
        fixture.devices[0].onFlush = { () throws(FilesystemError) in throw madeToFail }
        #expect(failure { try fixture.volume.flush() }?.code == .io)
        fixture.devices[0].onFlush = nil
        try fixture.write(chunkLogical, [1])
        #expect(failure { try fixture.volume.flush() }?.code == .io)
        #expect(fixture.volume.devices[0].writeErrors == 2)
    }

    @Test func superBlocksComeAfterWhatTheyReferToPrimariesFirst() throws {
        let fixture = try Fixture(.raid1, stripes: 2)
        try fixture.write(chunkLogical, [1])
        let before = fixture.calls.count
        try fixture.volume.writeSuperBlocks(fixture.superBlock, devices: fixture.items.reversed())
        func copies(_ physical: UInt64) -> [Fixture.Call] {
            (0...1).map { .write(device: $0, physical: physical) }
        }
        let flushes: [Fixture.Call] = [.flush(device: 0), .flush(device: 1)]
        let primaries = flushes + copies(64 << 10) + flushes
        #expect(Array(fixture.calls[before...]) == primaries + copies(64 << 20) + flushes)
        for (index, device) in fixture.devices.enumerated() {
            for copy in 0...1 {
                let physical = SuperBlock.physical(ofCopy: copy)
                var bytes = [UInt8](repeating: 0, count: SuperBlock.byteCount)
                try readWhole(&bytes, from: device, physical: physical)
                let found = try SuperBlock(bytes.span.bytes, physical: physical)
                #expect(found.device == fixture.items[index])
            }
        }
        let reopened = try Volume(devices: fixture.devices)
        #expect(reopened.superBlock.generation == 1 && reopened.warnings.isEmpty)
    }

    @Test func aCopyThatPassesTheDevicesEndIsNotWritten() throws {
        let bytes: UInt64 = 64 << 20 + 4096
        for (total, copies) in [(bytes, 2), (bytes - 4096, 1)] {
            let fixture = try Fixture(.single, stripes: 1, bytes: bytes)
            var item = fixture.items[0]
            item.totalBytes = total
            try fixture.volume.writeSuperBlocks(fixture.superBlock, devices: [item])
            let writes = fixture.calls.filter { $0 != .flush(device: 0) }
            #expect(writes.count == copies)
        }
    }

    @Test func aDeviceWithoutAnItemIsRefused() throws {
        let fixture = try Fixture(.raid1, stripes: 2)
        let error = failure {
            try fixture.volume.writeSuperBlocks(fixture.superBlock, devices: [fixture.items[0]])
        }
        #expect(error?.code == .invalidArgument && error?.devid == 2)
        #expect(fixture.calls.isEmpty)
    }
}
