// Free space of images made by mkfs.btrfs, and aged by the kernel where that can be: both sources
// tell the same, and so does what btrfs-progs dump.
// Not covered here: damage (DamagedImageTests), the arithmetic of profiles (BGDevicesTests).

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

struct Run: Equatable, CustomStringConvertible {
    let logical: UInt64
    let length: UInt64
    var end: UInt64 { logical + length }
    var description: String { "\(logical)+\(length)" }
}

func freeRuns(
    _ reader: FilesystemReader,
    _ group: BlockGroupRecord,
    _ source: FreeSpaceSource
) throws(FilesystemError) -> [Run] {
    var runs: [Run] = []
    try reader.freeSpace(of: group, source: source) { (logical, length) in
        runs.append(Run(logical: logical, length: length))
    }
    return runs
}

/// The free runs of every group, by its start, from what `btrfs inspect-internal dump-tree` prints
/// of the extent tree; super block copies are left in.
func dumpedFreeRuns(_ image: MkfsImage, _ groups: [BlockGroupRecord]) throws -> [[Run]] {
    let text = try run("btrfs", ["inspect-internal", "dump-tree", "-t", "extent"] + image.paths)
    let dump = try run("btrfs", ["inspect-internal", "dump-super", image.paths[0]])
    let nodeLine = try #require(dump.split(separator: "\n").first { $0.hasPrefix("nodesize") })
    let nodeSize = try #require(UInt64(nodeLine.split(whereSeparator: \.isWhitespace)[1]))
    var extents: [Run] = []
    for line in text.split(separator: "\n") {
        guard let open = line.range(of: "key ("), line.contains("item ") else { continue }
        let fields = line[open.upperBound...].prefix { $0 != ")" }.split(separator: " ")
        guard fields.count == 3, let start = UInt64(fields[0]) else { continue }
        switch fields[1] {
        case "EXTENT_ITEM":
            extents.append(Run(logical: start, length: try #require(UInt64(fields[2]))))
        case "METADATA_ITEM":
            extents.append(Run(logical: start, length: nodeSize))
        default: break
        }
    }
    return groups.map { group in
        var runs: [Run] = []
        var end = group.logical
        for extent in extents where extent.logical >= group.logical && extent.logical < group.end {
            if extent.logical > end { runs.append(Run(logical: end, length: extent.logical - end)) }
            end = extent.end
        }
        if end < group.end { runs.append(Run(logical: end, length: group.end - end)) }
        return runs
    }
}

/// `runs` without the bytes of `holes`.
func cut(_ runs: [Run], _ holes: [LogicalRange]) -> [Run] {
    var result = runs
    for hole in holes {
        result = result.flatMap { run -> [Run] in
            guard hole.logical < run.end, run.logical < hole.end else { return [run] }
            return [
                Run(logical: run.logical, length: max(hole.logical, run.logical) - run.logical),
                Run(logical: min(hole.end, run.end), length: run.end - min(hole.end, run.end)),
            ].filter { $0.length > 0 }
        }
    }
    return result
}

/// Opens the image and holds every claim of this file against it.
@discardableResult
func expectSoundImage(_ image: MkfsImage, freeSpaceTree: Bool = true) throws -> FilesystemReader {
    let reader = try FilesystemReader.open(paths: image.paths)
    #expect(reader.warnings.isEmpty, "\(reader.warnings.map(\.message))")
    #expect(reader.hasFreeSpaceTree == freeSpaceTree)
    #expect(!reader.blockGroups.isEmpty)
    let dumped = try dumpedFreeRuns(image, reader.blockGroups)
    for (group, expected) in zip(reader.blockGroups, dumped) {
        let fromExtents = try freeRuns(reader, group, .extentTree)
        #expect(fromExtents == cut(expected, group.superBlockCopies), "group \(group.logical)")
        #expect(try freeRuns(reader, group, .automatic) == fromExtents)
        if freeSpaceTree {
            #expect(try freeRuns(reader, group, .freeSpaceTree) == fromExtents)
        }
    }
    return reader
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct FreeSpaceTests {
    @Test(arguments: ["crc32c", "xxhash", "sha256", "blake2"])
    func everyChecksumTypeIsRead(checksum: String) throws {
        try expectSoundImage(MkfsImage(sizes: [256 << 20], ["--csum", checksum], files: 50))
    }

    @Test(arguments: [4096, 8192, 16384, 32768, 65536])
    func everyNodeSizeIsRead(nodeSize: Int) throws {
        try expectSoundImage(MkfsImage(sizes: [256 << 20], ["-n", "\(nodeSize)"], files: 500))
    }

    @Test func deepTreesAreRead() throws {
        let image = try MkfsImage(sizes: [256 << 20], ["-n", "4096"], files: 8000)
        let reader = try expectSoundImage(image)
        #expect(reader.extentTreeLevel >= 2)
    }

    @Test func mixedGroupsAreRead() throws {
        let reader = try expectSoundImage(
            MkfsImage(sizes: [64 << 20], ["--mixed", "-n", "4096"], files: 100)
        )
        #expect(reader.blockGroups.contains { $0.flags.isMixed })
    }

    @Test func fatMetadataItemsAreRead() throws {
        try expectSoundImage(
            MkfsImage(sizes: [256 << 20], ["-O", "^skinny-metadata", "-n", "4096"], files: 500)
        )
    }

    @Test func withoutAFreeSpaceTreeTheExtentTreeIsRead() throws {
        let image = try MkfsImage(sizes: [256 << 20], ["-R", "^free-space-tree"], files: 100)
        let reader = try expectSoundImage(image, freeSpaceTree: false)
        #expect(throws: FilesystemError.self) {
            _ = try freeRuns(reader, reader.blockGroups[0], .freeSpaceTree)
        }
    }

    @Test func aChangedMetadataUUIDIsRead() throws {
        let image = try MkfsImage(sizes: [256 << 20], files: 20)
        try run("btrfstune", ["-f", "-m", image.paths[0]])
        try expectSoundImage(image)
    }

    @Test(arguments: [
        ("single", "single", 2), ("raid0", "raid0", 3), ("raid1", "raid1", 2),
        ("raid1c3", "raid1c3", 3), ("raid1c4", "raid1c4", 4), ("raid10", "raid10", 4),
        ("raid5", "raid5", 3), ("raid6", "raid6", 4), ("raid0", "dup", 2),
    ])
    func everyProfileIsReadInAnyOrderOfDevices(data: String, metadata: String, count: Int) throws {
        let sizes = Array(repeating: 512 << 20, count: count)
        let image = try MkfsImage(sizes: sizes, ["-d", data, "-m", metadata])
        let reader = try expectSoundImage(image)
        let reversed = try FilesystemReader.open(paths: image.paths.reversed())
        #expect(reversed.blockGroups == reader.blockGroups)
    }

    @Test func superBlockCopiesAreNeverFree() throws {
        // Copies at 64 KiB, 64 MiB and (sparse) 256 GiB.
        let reader = try expectSoundImage(MkfsImage(sizes: [300 << 30], ["--mixed", "-n", "4096"]))
        for group in reader.blockGroups {
            for run in try freeRuns(reader, group, .automatic) {
                for copy in group.superBlockCopies {
                    #expect(run.end <= copy.logical || copy.end <= run.logical)
                }
            }
        }
    }

    @Test func manyThreadsListFreeSpaceAtOnce() async throws {
        let image = try MkfsImage(sizes: [256 << 20], ["-n", "4096"], files: 1000)
        let reader = try FilesystemReader.open(paths: image.paths)
        let expected = try reader.blockGroups.map { try freeRuns(reader, $0, .automatic) }
        await withTaskGroup(of: Bool.self) { tasks in
            for number in 0..<8 {
                tasks.addTask {
                    let source: FreeSpaceSource = number % 2 == 0 ? .freeSpaceTree : .extentTree
                    for (group, runs) in zip(reader.blockGroups, expected) {
                        guard (try? freeRuns(reader, group, source)) == runs else {
                            return false
                        }
                    }
                    return true
                }
            }
            for await same in tasks { #expect(same) }
        }
    }
}
