//===-- OpeningTests.swift - super block copies, sets of devices, what is refused -------------===//
// Skipped where btrfs-progs is not installed, except what needs no image.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

private func rewriteSuperBlock(
    _ device: MemoryDevice,
    at physical: UInt64,
    _ change: (inout [UInt8]) -> Void
) throws {
    var bytes = [UInt8](repeating: 0, count: 4096)
    try readWhole(&bytes, from: device, physical: physical)
    change(&bytes)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    ChecksumType.crc32c.seal(block: &raw)
    try device.write(physical: physical, bytes)
}

@Suite(.enabled(if: Machine.hasBtrfsProgs, "mkfs.btrfs and btrfs are not installed"))
struct OpeningTests {
    let zeros = [UInt8](repeating: 0, count: 4096)

    @Test func aDamagedPrimaryFallsBackToTheCopyWithAWarning() throws {
        let image = try Image(deviceCount: 1, [])
        let device = try image.memoryDevices()[0]
        try device.write(physical: 66_000, [1, 2, 3])
        let volume = try Volume(devices: [device])
        #expect(volume.superBlock.physical == 64 << 20)
        #expect(
            volume.warnings.map { $0.message } == [
                "corrupt super block: device=0 physical=65536, checksum does not match"
            ]
        )
        try volume.loadChunkLeaf()
    }

    @Test func theCopyAt256GiBServesWhereTheOthersAreDamaged() throws {
        let image = try Image(deviceCount: 1, megabytes: 300 << 10, [])
        let file = try #require(FileHandle(forUpdatingAtPath: image.paths[0]))
        for offset: UInt64 in [66_000, 64 << 20 + 1000] {
            try file.seek(toOffset: offset)
            try file.write(contentsOf: Data([1, 2, 3]))
        }
        let volume = try Volume.open(paths: image.paths)
        #expect(volume.superBlock.physical == 256 << 30)
        #expect(volume.warnings.count == 2)
    }

    @Test func aWipedDeviceAmongOthersCountsAsMissing() throws {
        let image = try Image(deviceCount: 2, ["-m", "raid1", "-d", "raid1"])
        let devices = try image.memoryDevices()
        let volume = try Volume(devices: [
            MemoryDevice(byteCount: devices[0].byteCount), devices[1],
        ])
        try volume.loadChunkLeaf()
        #expect(volume.missingDevids == [1])
        #expect(volume.devices.map { $0.index } == [1])
        #expect(
            volume.warnings.map { $0.message } == [
                "device: device=0, no btrfs file system on it",
                "volume: 1 devices given, the file system has 2",
            ]
        )
        _ = try volume.treeBlock(volume.superBlock.root)
    }

    @Test func theNewestValidCopyWins() throws {
        let image = try Image(deviceCount: 1, [])
        let device = try image.memoryDevices()[0]
        let sound = try Volume(devices: [device]).superBlock
        #expect(sound.physical == 65536)
        try rewriteSuperBlock(device, at: 64 << 20) { $0[72] += 1 }
        let newer = try Volume(devices: [device]).superBlock
        #expect(newer.physical == 64 << 20 && newer.generation == sound.generation + 1)
        // A newer copy that is damaged does not count.
        try device.write(physical: 64 << 20 + 3000, [9])
        #expect(try Volume(devices: [device]).superBlock.generation == sound.generation)
    }

    @Test func aCopyOfAnotherFileSystemIsPassedBy() throws {
        let image = try Image(deviceCount: 1, [])
        let device = try image.memoryDevices()[0]
        try rewriteSuperBlock(device, at: 64 << 20) {
            $0[72] += 9
            $0[32] ^= 1
            $0[283] ^= 1
        }
        #expect(try Volume(devices: [device]).superBlock.physical == 65536)
    }

    @Test func anUnknownFeatureIsNotHiddenByAnOlderCopy() throws {
        let image = try Image(deviceCount: 1, [])
        let device = try image.memoryDevices()[0]
        try rewriteSuperBlock(device, at: 65536) { $0[190] = 1 << 1 }
        #expect(failure { _ = try Volume(devices: [device]) }?.code == .unsupported)
    }

    @Test func withoutAnyCopyTheErrorSaysWhy() throws {
        let image = try Image(deviceCount: 1, [])
        let device = try image.memoryDevices()[0]
        try device.write(physical: 66_000, [1])
        try device.write(physical: 64 << 20 + 100, [1, 2, 3])
        let damaged = failure { _ = try Volume(devices: [device]) }
        #expect(damaged?.code == .corrupt)
        let empty = failure { _ = try Volume(devices: [MemoryDevice(byteCount: 1 << 30)]) }
        #expect(empty?.message == "device: device=0, no btrfs file system on it")
        #expect(failure { _ = try Volume(devices: []) }?.code == .invalidArgument)
        let tiny = failure { _ = try Volume(devices: [MemoryDevice(byteCount: 100)]) }
        #expect(tiny?.code == .invalidArgument)
    }

    @Test func pathsThatCannotBeOpenedAreNamedByNumber() throws {
        let image = try Image(deviceCount: 1, [])
        let missing = failure {
            _ = try Volume.open(paths: image.paths + ["/nonexistent/image"])
        }
        #expect(missing?.code == .notFound && missing?.deviceIndex == 1)
        let folder = failure { _ = try Volume.open(paths: ["/tmp"]) }
        #expect(folder?.code == .invalidArgument)
    }

    @Test func theSameDeviceTwiceIsRefused() throws {
        let image = try Image(deviceCount: 2, ["-m", "raid1"])
        let error = failure {
            _ = try Volume.open(paths: [image.paths[0], image.paths[1], image.paths[0]])
        }
        #expect(error?.code == .invalidArgument && error?.deviceIndex == 2)
    }

    @Test func devicesOfTwoFileSystemsAreRefused() throws {
        let a = try Image(deviceCount: 1, [])
        let b = try Image(deviceCount: 1, [])
        let error = failure { _ = try Volume.open(paths: a.paths + b.paths) }
        #expect(error?.code == .invalidArgument && error?.deviceIndex == 1)
    }

    @Test func aTruncatedDeviceIsRefusedWithBothSizes() throws {
        let image = try Image(deviceCount: 1, [])
        let file = try #require(FileHandle(forUpdatingAtPath: image.paths[0]))
        try file.truncate(atOffset: 100 << 20)
        let error = failure { _ = try Volume.open(paths: image.paths) }
        #expect(
            error?.message
                == "corrupt device: device=0 devid=1, has 104857600 bytes, its super block says 314572800"
        )
    }

    @Test func aStaleDeviceIsReportedAndTheNewestSuperBlockWins() throws {
        let image = try Image(deviceCount: 2, ["-m", "raid1", "-d", "raid1"])
        let devices = try image.memoryDevices()
        try rewriteSuperBlock(devices[1], at: 65536) { $0[72] += 3 }
        let volume = try Volume(devices: devices)
        #expect(volume.superBlock.device.devid == 2)
        #expect(volume.warnings.count == 1)
        #expect(volume.warnings.first?.deviceIndex == 0)
    }

    @Test func aChunkPastItsDeviceOrOverAnotherIsRefused() throws {
        let image = try Image(deviceCount: 1, [])
        let volume = try Volume.open(paths: image.paths)
        try volume.loadChunkLeaf()
        let known = try volume.chunk(.data).item
        try volume.addChunk(known)
        var overlapping = known
        overlapping.logical += 4096
        #expect(failure { try volume.addChunk(overlapping) }?.code == .corrupt)
        var past = known
        past.logical = 1 << 40
        past.stripes[0].physical = 300 << 20
        #expect(failure { try volume.addChunk(past) }?.code == .corrupt)
        #expect(failure { _ = try volume.bytes(1 << 41, 1) }?.code == .invalidArgument)
        let block = failure { _ = try volume.treeBlock(1 << 41) }
        #expect(block?.code == .corrupt)
        let wrapped = failure { _ = try volume.bytes(UInt64.max - 10, 100) }
        #expect(wrapped?.code == .invalidArgument)
    }

    @Test func mutatedImagesOpenOrFailButNeverTrap() throws {
        let image = try Image(deviceCount: 2, ["-m", "raid1", "-d", "raid0"])
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        var failed = 0
        for _ in 0..<300 {
            let devices = try image.memoryDevices()
            for device in devices {
                for physical: UInt64 in [65536, 64 << 20] {
                    try rewriteSuperBlock(device, at: physical) { bytes in
                        for _ in 0..<Int.random(in: 0...2, using: &random) {
                            bytes[Int.random(in: 72..<1100, using: &random)] =
                                UInt8(truncatingIfNeeded: random.next())
                        }
                    }
                }
            }
            let error = failure {
                let volume = try Volume(devices: devices)
                try volume.loadChunkLeaf()
            }
            if error != nil { failed += 1 }
        }
        #expect(failed > 0, "seed \(testSeed)")
    }
}

@Suite struct SuperBlockCopyTests {
    /// Which stripe-length pieces of the chunk, or rows with parity, have a stripe over a copy.
    private func covered(_ chunk: Chunk) -> [LogicalRange] {
        let item = chunk.item
        let striped = item.profile.parityStripes > 0
        let unit = striped ? stripeLength * UInt64(item.dataStripes) : stripeLength
        var ranges: [LogicalRange] = []
        for start in stride(from: UInt64(0), to: item.length, by: Int(unit)) {
            let place = chunk.place(offset: start)
            let indices =
                striped
                ? Array(item.stripes.indices)
                : (1...item.profile.copies).map { chunk.stripeIndex(of: place, mirror: $0) }
            let hit = indices.contains { index in
                let physical = item.stripes[index].physical + place.stripeOffset
                return (0..<3).contains {
                    let copy = SuperBlock.physical(ofCopy: $0)
                    return copy >= physical && copy < physical + stripeLength
                }
            }
            guard hit else { continue }
            let range = LogicalRange(
                logical: item.logical + start,
                length: min(unit, item.length - start)
            )
            if let last = ranges.last, last.end == range.logical {
                ranges[ranges.count - 1].length += range.length
            } else {
                ranges.append(range)
            }
        }
        return ranges
    }

    @Test(arguments: Profile.allCases) func exclusionsAreThePiecesUnderACopy(
        profile: Profile
    ) throws {
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        let counts: [Profile: [Int]] = [
            .single: [1], .dup: [2], .raid0: [1, 2, 3, 5], .raid1: [2], .raid1c3: [3],
            .raid1c4: [4], .raid10: [2, 4, 6], .raid5: [2, 3, 5], .raid6: [3, 4, 6],
        ]
        var found = 0
        for _ in 0..<60 {
            let count = try #require(counts[profile]?.randomElement(using: &random))
            let data = profile.dataStripes(of: count)
            let rows = UInt64.random(in: 1...80, using: &random)
            let stripes = (0..<count).map { index in
                // Near a copy, before or behind it.
                let copy = SuperBlock.physical(ofCopy: Int.random(in: 1...2, using: &random))
                let back = stripeLength * UInt64.random(in: 0...100, using: &random)
                return ChunkStripe(
                    devid: UInt64(index + 1),
                    physical: copy + 2 * stripeLength - back,
                    deviceUUID: .zero
                )
            }
            let item = ChunkItem(
                logical: 1 << 30,
                length: rows * stripeLength * UInt64(data),
                flags: .data | profile.flags,
                profile: profile,
                sectorSize: 4096,
                stripes: stripes
            )
            let chunk = Chunk(item, devices: stripes.map { _ in nil })
            let ranges = superBlockCopies(in: item)
            #expect(ranges == covered(chunk), "seed \(testSeed)")
            found += ranges.count
        }
        #expect(found > 0, "seed \(testSeed)")
    }

    @Test func theFirstStripeLengthOfTheAddressSpaceIsExcluded() {
        let stripe = ChunkStripe(devid: 1, physical: 1 << 20, deviceUUID: .zero)
        let item = ChunkItem(
            logical: 0,
            length: 4 << 20,
            flags: .system,
            profile: .single,
            sectorSize: 4096,
            stripes: [stripe]
        )
        #expect(superBlockCopies(in: item) == [LogicalRange(logical: 0, length: 65536)])
    }

    @Test func aChunkAwayFromEveryCopyHasNone() {
        let stripe = ChunkStripe(devid: 1, physical: 1 << 20, deviceUUID: .zero)
        let item = ChunkItem(
            logical: 1 << 20,
            length: 8 << 20,
            flags: .data,
            profile: .single,
            sectorSize: 4096,
            stripes: [stripe]
        )
        #expect(superBlockCopies(in: item).isEmpty)
    }
}
