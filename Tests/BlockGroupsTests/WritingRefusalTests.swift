// What is not opened for writing, and why; and that nothing was written when it was refused.
// Not covered here: other features that are not read either (DamagedImageTests, SuperBlockTests), devices
// that are mounted (ExclusiveTests).

import BGDevices
import BGDiskFormat
import BGTrees
import Foundation
import BGTestSupport
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"), .serialized)
struct WritingRefusalTests {
    /// Opening for writing is refused with these words, and changes no byte; reading is not.
    private func expectRefused(
        _ image: MkfsImage,
        _ code: FilesystemError.Code,
        _ words: String,
        readable: Bool = true,
        _ location: SourceLocation = #_sourceLocation
    ) throws {
        let before = try image.paths.map { try readFile($0) }
        let message = expectRefusal(code, location) { () throws(FilesystemError) in
            _ = try Filesystem(paths: image.paths, readOnly: false)
        }
        #expect(message.contains(words), "\(message)", sourceLocation: location)
        for (path, bytes) in zip(image.paths, before) {
            #expect(try readFile(path) == bytes, sourceLocation: location)
        }
        if readable { _ = try Filesystem(paths: image.paths) }
    }

    @Test func unknownCompatReadOnlyFeatures() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try image.changeSuperBlocks { $0[180 + 7] = 0x40 }
        try expectRefused(image, .unsupported, "read-only compatible feature")
    }

    @Test func aLogTreeToReplay() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try image.changeSuperBlocks { bytes in
            // Where it would lie does not matter: nobody looks.
            for index in 0..<8 { bytes[96 + index] = bytes[80 + index] }
        }
        try expectRefused(image, .unsupported, "log tree")
    }

    @Test func seedsAndFileSystemsMarkedAsDamaged() throws {
        let seed = try MkfsImage(sizes: [128 << 20])
        try seed.changeSuperBlocks { $0[56 + 4] |= 1 }
        try expectRefused(seed, .unsupported, "seed")
        let damaged = try MkfsImage(sizes: [128 << 20])
        try damaged.changeSuperBlocks { $0[56] |= 4 }
        try expectRefused(damaged, .unsupported, "marked as damaged")
    }

    @Test func anFsidChangeHalfDone() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try image.changeSuperBlocks { $0[56 + 4] |= 1 << 3 }
        try expectRefused(image, .unsupported, "flags", readable: false)
    }

    @Test func aFreeSpaceTreeThatIsNotValid() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try image.changeSuperBlocks { $0[180] &= ~2 }
        try expectRefused(image, .unsupported, "free-space tree")
    }

    @Test func quotas() throws {
        let image = try MkfsImage(sizes: [128 << 20], ["-R", "quota"])
        try expectRefused(image, .unsupported, "quotas")
    }

    @Test func simpleQuotas() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try image.changeSuperBlocks { $0[188 + 2] |= 1 }
        try expectRefused(image, .unsupported, "simple quotas")
    }

    @Test func sectorsOfOtherSizes() throws {
        let image = try MkfsImage(sizes: [256 << 20], ["-s", "16384", "-n", "16384"])
        try expectRefused(image, .unsupported, "sectors of 4096")
    }

    @Test(arguments: ["raid5", "raid6"]) func parity(profile: String) throws {
        let image = try MkfsImage(
            sizes: Array(repeating: 256 << 20, count: 3),
            ["-d", profile, "-m", "raid1"]
        )
        try expectRefused(image, .unsupported, "raid5 and raid6")
    }

    @Test func missingDevices() throws {
        let image = try MkfsImage(sizes: [256 << 20, 256 << 20], ["-d", "raid1", "-m", "raid1"])
        expectRefusal(.missingDevice) { () throws(FilesystemError) in
            _ = try Filesystem(paths: [image.paths[0]], readOnly: false)
        }
        _ = try Filesystem(paths: [image.paths[0]])
    }

    @Test func devicesThatMissedCommits() throws {
        let image = try MkfsImage(sizes: [256 << 20, 256 << 20], ["-d", "raid1", "-m", "raid1"])
        let old = try image.read(device: 1, at: 64 << 10, count: 4096)
        let copy = try image.read(device: 1, at: 64 << 20, count: 4096)
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            for inode in 1000..<1003 as Range<UInt64> {
                _ = try OrphanFile(filesystem, inode: inode)
                try filesystem.commit()
            }
            try filesystem.close()
        }
        try image.write(old, device: 1, at: 64 << 10)
        try image.write(copy, device: 1, at: 64 << 20)
        try expectRefused(image, .corrupt, "behind")
    }

    @Test func countsThatContradictEachOther() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try image.changeSuperBlocks { $0[121] &+= 16 }
        try expectRefused(image, .corrupt, "bytes used")
    }

    /// Gives the root tree's block and the super blocks another generation.
    private func setGeneration(_ generation: UInt64, _ image: MkfsImage) throws {
        let opened = try Volume.open(paths: image.paths, writable: true)
        let volume = try FilesystemReader(opened).volume
        let superBlock = volume.superBlock
        for mirror in 1...(try volume.mirrorCount(logical: superBlock.root)) {
            var block = [UInt8](repeating: 0, count: Int(superBlock.nodeSize))
            var span = block.mutableSpan
            var raw = span.mutableBytes
            try volume.read(logical: superBlock.root, into: &raw, mirror: mirror)
            raw.store(generation, at: 80)
            superBlock.checksumType.seal(block: &raw)
            try block.withUnsafeBytesThrowing { (bytes) throws(FilesystemError) in
                try volume.writeCopy(logical: superBlock.root, mirror: mirror, from: bytes)
            }
        }
        try image.changeSuperBlocks { $0.put(generation, at: 72) }
    }

    @Test(arguments: [UInt64.max - 2, 1 << 63])
    func generationsNearTheLastNumber(generation: UInt64) throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try setGeneration(generation, image)
        try expectRefused(image, .unsupported, "generation \(generation) leaves too few")
    }

    @Test func aLargeGenerationThatLeavesEnough() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try setGeneration(1 << 62, image)
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem.makeDirectory("/folder")
        try filesystem.close()
        #expect(try Filesystem(paths: image.paths).superBlock.generation == (1 << 62) + 1)
    }

    @Test func aTotalOfLessThanTheDevicesHave() throws {
        let image = try MkfsImage(sizes: [256 << 20, 256 << 20], ["-m", "raid1"])
        try image.changeSuperBlocks { $0.put(UInt64((512 << 20) - 4096), at: 112) }
        try expectRefused(image, .corrupt, "device items say \(512 << 20)")
    }

    /// The kernel mounts it.
    @Test func aTotalOfMoreThanTheDevicesHaveIsNone() throws {
        let image = try MkfsImage(sizes: [256 << 20, 256 << 20], ["-m", "raid1"])
        try image.changeSuperBlocks { $0.put(UInt64((512 << 20) + 4096), at: 112) }
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem.makeDirectory("/folder")
        try filesystem.close()
        let files = try Filesystem(paths: image.paths)
        #expect(try files.metadata(of: "/folder").kind == .directory)
        guard Machine.canMount else { return }
        try image.mounted { point in
            #expect(FileManager.default.fileExists(atPath: point + "/folder"))
        }
    }

    @Test func zonedDevices() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        try image.changeSuperBlocks { $0[188 + 1] |= 1 << 4 }
        try expectRefused(image, .unsupported, "incompat feature bits 4096", readable: false)
    }

    @Test func metadataFromBeforeSkinnyExtents() throws {
        let image = try MkfsImage(sizes: [128 << 20], ["-O", "^skinny-metadata"])
        try expectRefused(image, .unsupported, "before skinny extents")
    }

    /// Adds an item as the kernel leaves it behind while something is under way.
    private func interrupted(_ treeID: UInt64, _ key: Key, _ item: [UInt8]) throws -> MkfsImage {
        let image = try MkfsImage(sizes: [128 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem.change { (transaction) throws(FilesystemError) in
            try transaction.tree(treeID).insert(key, item)
        }
        try filesystem.close()
        return image
    }

    /// The state: 0 never started, 1 started, 2 finished, 3 cancelled, 4 suspended.
    @Test(arguments: [UInt64(0), 1, 2, 3, 4])
    func aDeviceReplacementUnderWay(state: UInt64) throws {
        var item = [UInt8](repeating: 0, count: 80)
        item.put(1, at: 0)
        item.put(state, at: 32)
        let key = Key(0, KeyType(rawValue: 250), 0)
        let image = try interrupted(ObjectID.deviceTree, key, item)
        if state == 1 || state == 4 {
            try expectRefused(image, .unsupported, "a device replacement is under way")
        } else {
            try Filesystem(paths: image.paths, readOnly: false).close()
        }
    }

    @Test func aBalanceThatWasInterrupted() throws {
        let key = Key(UInt64(bitPattern: -4), .temporaryItem, 0)
        var item = [UInt8](repeating: 0, count: 448)
        // All of the data.
        item.put(1, at: 0)
        let image = try interrupted(ObjectID.rootTree, key, item)
        try expectRefused(image, .unsupported, "a balance is under way")
    }

    @Test func aSecondWriter() throws {
        let image = try MkfsImage(sizes: [128 << 20])
        let first = try Filesystem(paths: image.paths, readOnly: false)
        expectRefusal(.busy) { () throws(FilesystemError) in
            _ = try Filesystem(paths: image.paths, readOnly: false)
        }
        _ = try Filesystem(paths: image.paths)
        try first.close()
    }
}

extension [UInt8] {
    /// Puts a little-endian number there.
    fileprivate mutating func put(_ value: UInt64, at offset: Int) {
        for index in 0..<8 {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
        }
    }
}
