// Images that the kernel has written to: deeper trees, bitmaps, many block groups, a log tree.
// These need root and loop mounts, and are skipped where there are none.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"), .serialized)
struct AgedImageTests {
    @Test(arguments: [
        (["-n", "4096"], 1), ([], 1), (["-R", "^free-space-tree"], 1),
        (["--mixed", "-n", "4096"], 1), (["-m", "raid1c3", "-d", "raid0"], 3),
        (["-m", "raid10", "-d", "raid10"], 4), (["-m", "raid6", "-d", "raid6"], 4),
    ])
    func everySourceTellsTheSameOfAnAgedImage(options: [String], devices: Int) throws {
        var random = SeededGenerator.printed("aging \(options)")
        let image = try MkfsImage(sizes: Array(repeating: 512 << 20, count: devices), options)
        try image.mounted { point in
            try image.age(point, files: 1500, &random)
        }
        let hasTree = !options.contains("^free-space-tree")
        try expectSoundImage(image, freeSpaceTree: hasTree)
        if hasTree {
            let dump = try run(
                "btrfs",
                ["inspect-internal", "dump-tree", "-t", "10"] + image.paths
            )
            #expect(dump.contains("FREE_SPACE_BITMAP"), "not aged enough for bitmaps")
        }
    }

    @Test func twoHundredBlockGroupsOfASparseImageTakeFewReads() throws {
        let image = try MkfsImage(sizes: [300 << 30])
        try image.mounted { point in
            try run("fallocate", ["-l", "198G", point + "/large"])
        }
        try expectSoundImage(image)
        let device = try MemoryDevice(image)
        let reader = try FilesystemReader(Volume(devices: [device]))
        #expect(reader.blockGroups.count >= 200)
        // Two searches of two blocks a group at the most, if nothing were remembered.
        #expect(device.readCount < 2 * reader.blockGroups.count, "\(device.readCount) reads")
        #expect(device.readBytes < 4 << 20, "\(device.readBytes) bytes")
    }

    @Test func anImageWithSnapshotsThatWasBalancedIsRead() throws {
        var random = SeededGenerator.printed("snapshots")
        let image = try MkfsImage(sizes: [512 << 20], ["-n", "4096"])
        try image.mounted { point in
            try run("btrfs", ["subvolume", "create", point + "/sub"])
            try image.age(point + "/sub", files: 500, &random)
            try run("btrfs", ["subvolume", "snapshot", point + "/sub", point + "/snapshot"])
            for number in 500..<600 {
                try Data(repeating: 1, count: 8192)
                    .write(to: URL(fileURLWithPath: "\(point)/sub/file\(number)"))
            }
            try run("btrfs", ["balance", "start", "--full-balance", point])
        }
        try expectSoundImage(image)
    }

    @Test func anImageWithALogTreeIsRead() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        let copy = image.paths[0] + ".copy"
        var opened: FilesystemReader?
        // A sync of everything by another test commits the log away before it is copied: try again.
        for attempt in 0..<10 as Range<UInt8> where (opened?.superBlock.logRoot ?? 0) == 0 {
            try image.mounted { point in
                let path = point + "/a\(attempt)"
                try Data(repeating: 1, count: 100_000).write(to: URL(fileURLWithPath: path))
                try run("sync", ["-f", point])
                try Data(repeating: 2, count: 100_000).write(to: URL(fileURLWithPath: path + "b"))
                // One file's sync goes to the log tree; the file system's state is older.
                try run("sync", [path + "b"])
                try run("cp", ["--sparse=always", image.paths[0], copy])
            }
            opened = try FilesystemReader.open(paths: [copy])
        }
        let reader = try #require(opened)
        #expect(reader.superBlock.logRoot != 0)
        for group in reader.blockGroups {
            #expect(
                try freeRuns(reader, group, .freeSpaceTree)
                    == freeRuns(reader, group, .extentTree)
            )
        }
    }
}
