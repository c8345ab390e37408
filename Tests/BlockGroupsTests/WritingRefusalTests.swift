// What is not opened for writing, and why; and that nothing was written when it was refused.
// Not covered here: features that are not read either (DamagedImageTests, SuperBlockTests), devices that
// are mounted (ExclusiveTests).

import BGDevices
import BGDiskFormat
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
