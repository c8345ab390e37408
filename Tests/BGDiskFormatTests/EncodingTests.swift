//===-- EncodingTests.swift - chunks, devices and super blocks written as they were read ----------===//
// Round trips: what is encoded is what was parsed, to the byte on super blocks of mkfs.btrfs (that
// part is skipped where mkfs.btrfs is not installed). BG_SEED replays nothing here: no random part.

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

private let uuid = FilesystemUUID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)
private let other = FilesystemUUID(high: 7, low: 9)

private func chunk(_ profile: Profile, stripes: Int, at logical: UInt64 = 1 << 20) -> ChunkItem {
    ChunkItem(
        logical: logical,
        length: 8 << 20,
        flags: .system | profile.flags,
        profile: profile,
        sectorSize: 4096,
        stripes: (1...stripes).map {
            ChunkStripe(devid: UInt64($0), physical: UInt64($0) << 20, deviceUUID: uuid)
        }
    )
}

/// A super block of a file system on one device that has not been committed yet.
private func formatted(_ type: ChecksumType = .crc32c) -> SuperBlock {
    var device = DeviceItem(
        devid: 1,
        totalBytes: 1 << 30,
        sectorSize: 4096,
        uuid: other,
        filesystemUUID: uuid
    )
    device.bytesUsed = 8 << 20
    return SuperBlock(
        formatting: uuid,
        sectorSize: 4096,
        nodeSize: 16384,
        checksumType: type,
        incompat: .mixedBackref,
        compatReadOnly: .freeSpaceTree,
        label: Array("disk".utf8),
        device: device,
        deviceCount: 1,
        totalBytes: 1 << 30
    )
}

/// What a first commit fills in.
private func committed(_ type: ChecksumType = .crc32c) -> SuperBlock {
    var superBlock = formatted(type)
    superBlock.generation = 1
    superBlock.root = 2 << 20
    superBlock.chunkRoot = 1 << 20
    superBlock.chunkRootGeneration = 1
    superBlock.bytesUsed = 6 * 16384
    superBlock.systemChunks = [chunk(.single, stripes: 1)]
    return superBlock
}

@Suite struct EncodingTests {
    @Test func chunksOfEveryProfileComeBack() throws {
        let cases: [(Profile, Int)] = [
            (.single, 1), (.dup, 2), (.raid0, 3), (.raid1, 2), (.raid1c3, 3), (.raid1c4, 4),
            (.raid10, 4), (.raid5, 3), (.raid6, 5),
        ]
        for (profile, stripes) in cases {
            let item = chunk(profile, stripes: stripes)
            let bytes = item.encoded
            #expect(bytes.count == ChunkItem.byteCount(stripeCount: stripes))
            let found = try ChunkItem(key: item.key, bytes.span.bytes, limits)
            #expect(found == item)
        }
    }

    @Test func deviceItemsAndExtentsComeBack() throws {
        var device = formatted().device
        device.type = 3
        device.generation = 4
        device.startOffset = 5
        device.deviceGroup = 6
        device.seekSpeed = 7
        device.bandwidth = 8
        let bytes = device.encoded
        #expect(try DeviceItem(key: device.key, bytes.span.bytes) == device)

        let extent = DeviceExtent(
            devid: 3,
            physical: 5 << 20,
            length: 1 << 20,
            chunkLogical: 9 << 20,
            chunkTreeUUID: uuid
        )
        let item = extent.encoded
        #expect(try DeviceExtent(key: extent.key, item.span.bytes, limits) == extent)
        #expect(extent.end == 6 << 20)
    }

    @Test(arguments: ChecksumType.allCases)
    func aSuperBlockMadeFromNothingIsAccepted(type: ChecksumType) throws {
        let superBlock = committed(type)
        for copy in 0..<SuperBlock.copyCount {
            let physical = SuperBlock.physical(ofCopy: copy)
            let bytes = superBlock.encoded(forCopy: copy, device: superBlock.device)
            let found = try SuperBlock(bytes.span.bytes, physical: physical)
            #expect(found.physical == physical)
            #expect(found.systemChunks == superBlock.systemChunks)
            #expect(found.device == superBlock.device)
            #expect(found.label == Array("disk".utf8))
            #expect(found.encoded(forCopy: copy, device: found.device) == bytes)
        }
    }

    @Test func eachDeviceHasItsOwnItem() throws {
        let superBlock = committed()
        var second = superBlock.device
        second.devid = 2
        second.bytesUsed = 3 << 20
        let bytes = superBlock.encoded(forCopy: 0, device: second)
        #expect(try SuperBlock(bytes.span.bytes, physical: 65536).device == second)
    }

    @Test func aShorterChunkArrayLeavesNothingBehind() throws {
        var superBlock = committed()
        superBlock.systemChunks.append(chunk(.dup, stripes: 2, at: 64 << 20))
        let long = superBlock.encoded(forCopy: 0, device: superBlock.device)
        var found = try SuperBlock(long.span.bytes, physical: 65536)
        #expect(found.systemChunks.count == 2)
        found.systemChunks.removeLast()
        let bytes = found.encoded(forCopy: 0, device: found.device)
        #expect(bytes == committed().encoded(forCopy: 0, device: found.device))
        #expect(SuperBlock.systemChunkArrayBytes(found.systemChunks) == 97)
    }

    @Test func unknownBytesSurvive() throws {
        var bytes = committed().encoded(forCopy: 0, device: committed().device)
        for offset in [104, 600, 4000] { bytes[offset] = 0x5a }
        var found = try SuperBlock(sealed(bytes, .crc32c).span.bytes, physical: 65536)
        found.generation = 2
        let written = found.encoded(forCopy: 0, device: found.device)
        for offset in [104, 600, 4000] { #expect(written[offset] == 0x5a) }
    }

    @Test func backupsTakeTurnsAndTheSameGenerationIsReplaced() throws {
        func roots(_ generation: UInt64, _ logical: UInt64) -> BackupRoots {
            var roots = BackupRoots.none
            roots.rootTree = .init(logical: logical, generation: generation, level: 1)
            roots.checksumTree = .init(logical: logical + 1, generation: generation, level: 2)
            roots.deviceCount = 3
            return roots
        }
        var superBlock = committed()
        for generation in 1...5 as ClosedRange<UInt64> {
            superBlock.rotateBackup(roots(generation, 4096))
        }
        superBlock.rotateBackup(roots(5, 8192))
        let bytes = superBlock.encoded(forCopy: 0, device: superBlock.device)
        let found = try SuperBlock(bytes.span.bytes, physical: 65536)
        #expect(found.backupRoots.map(\.rootTree.generation) == [5, 2, 3, 4])
        #expect(found.backupRoots[0] == roots(5, 8192))
    }
}

@Suite(.enabled(if: Machine.hasBtrfsProgs, "mkfs.btrfs and btrfs are not installed"))
struct SuperBlockReencodingTests {
    @Test(arguments: [
        ["--csum", "crc32c", "-L", "a label"], ["--csum", "xxhash"], ["--csum", "sha256"],
        ["--csum", "blake2", "-n", "65536"], ["-n", "4096"], ["--mixed", "-n", "4096"],
    ])
    func anUnchangedSuperBlockIsWrittenByteForByte(arguments: [String]) throws {
        let (bytes, _) = try makeSuperBlock(arguments)
        let superBlock = try SuperBlock(bytes.span.bytes, physical: 65536)
        #expect(superBlock.encoded(forCopy: 0, device: superBlock.device) == bytes)
    }
}
