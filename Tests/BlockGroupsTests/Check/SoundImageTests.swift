// Nothing is found on sound images: of mkfs.btrfs with every profile, node size, checksum type and
// feature, and, with root, of the kernel after it has done all that makes trees hard: snapshots that
// share blocks and were changed since, clones, compression, preallocation, hard links past what one
// item holds, attributes, holes, files without checksums, subvolumes inside snapshots, balance,
// deleting, quotas, both kinds of free-space cache.
// Then faults in what snapshots share, held against btrfs check.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

private func faults(_ image: MkfsImage) throws -> [String] {
    var lines: [String] = []
    let summary = try Filesystem.check(
        paths: image.paths,
        CheckOptions(verifiesData: true, readsAllCopies: true)
    ) { if !$0.isRemark { lines.append($0.message) } }
    #expect(summary.faults == UInt64(lines.count))
    #expect(summary.isComplete && summary.treeBlocks >= 8)
    return lines
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct SoundImageTests {
    static let kinds: [([String], Int)] = [
        ([], 1), (["-n", "4096"], 1), (["-n", "65536"], 1), (["--csum", "xxhash"], 1),
        (["--csum", "sha256"], 1), (["--csum", "blake2"], 1), (["--mixed", "-n", "4096"], 1),
        (["-R", "^free-space-tree"], 1), (["-O", "^skinny-metadata"], 1), (["-O", "^no-holes"], 1),
        (["-d", "raid0", "-m", "raid1"], 2), (["-d", "raid1", "-m", "raid1"], 2),
        (["-d", "raid1c3", "-m", "raid1c3"], 3), (["-d", "raid1c4", "-m", "raid1c4"], 4),
        (["-d", "raid10", "-m", "raid10"], 4), (["-d", "raid5", "-m", "raid5"], 3),
        (["-d", "raid6", "-m", "raid6"], 4),
    ]

    @Test(arguments: kinds)
    func nothingIsFoundOnWhatMkfsMakes(options: [String], devices: Int) throws {
        let image = try MkfsImage(
            sizes: Array(repeating: 300 << 20, count: devices),
            options,
            files: devices == 1 ? 60 : 0
        )
        #expect(try faults(image) == [])
    }

    @Test func aCheckThatIsStoppedSaysSo() throws {
        let image = try MkfsImage(sizes: [300 << 20], files: 10)
        let summary = try Filesystem.check(paths: image.paths, progress: { _ in false }) { _ in }
        #expect(!summary.isComplete)
    }

    @Test func aBadCopyIsFoundAmongGoodOnes() throws {
        let image = try MkfsImage(sizes: [300 << 20], ["-m", "dup", "-d", "single"], files: 10)
        let editor = try ImageEditor(image)
        let leaf = try editor.leaves(5)[0]
        try editor.editBlock(leaf, seals: false, copies: 1..<2) { $0[300] ^= 1 }
        // Nobody reads the second copy but who asks for all.
        #expect(try editor.check().allSatisfy { $0.isRemark })
        let found = try editor.check(CheckOptions(readsAllCopies: true)).filter { !$0.isRemark }
        #expect(found.map { $0.kind } == [.treeBlockCopy])
        try editor.restore()
        // An older super block is a remark, a damaged one a fault.
        try editor.editSuper(copies: 1..<2) { $0.add(72, UInt64(bitPattern: -1)) }
        #expect(try editor.check().contains { $0.kind == .superBlock && $0.isRemark })
        try editor.restore()
        try editor.editSuper(copies: 1..<2) { $0.add(120, 4096) }
        #expect(try editor.check().contains { $0.kind == .superBlock && !$0.isRemark })
    }
}

@Suite(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"), .serialized)
struct SoundKernelImageTests {
    static let kinds: [([String], Int, String)] = [
        ([], 1, ""), (["-n", "4096"], 1, "balance"), (["-n", "4096"], 1, "delete"),
        (["--mixed", "-n", "4096"], 1, ""), (["-R", "^free-space-tree"], 1, "balance delete"),
        (["-O", "^no-holes"], 1, ""),
        (["-O", "^skinny-metadata", "--csum", "sha256"], 1, "balance"),
        ([], 1, "quota"), (["-d", "raid1", "-m", "raid1"], 2, "balance"),
        (["-d", "raid10", "-m", "raid10"], 4, ""), (["-d", "raid5", "-m", "raid6"], 4, ""),
    ]

    @Test(arguments: kinds)
    func nothingIsFoundOnWhatTheKernelMade(options: [String], devices: Int, extra: String) throws {
        let image = try MkfsImage(sizes: Array(repeating: 400 << 20, count: devices), options)
        try image.mounted { try live(in: $0, extra) }
        #expect(try faults(image) == [])
    }

    @Test func faultsInWhatSnapshotsShareAreFoundAsBtrfsCheckFindsThem() throws {
        let image = try MkfsImage(
            sizes: [300 << 20],
            ["-n", "4096", "-m", "single", "-d", "single"]
        )
        try image.mounted { try live(in: $0, "") }
        var random = SeededGenerator.printed("shared items")
        let editor = try ImageEditor(image)
        try editor.compareWithBtrfsCheck(40, [1, 2, 5, 7, 10, 256, 257, 258], &random)
    }

    /// What makes trees hard; `extra` names more of it.
    private func live(in point: String, _ extra: String) throws {
        try run(
            "bash",
            [testScript("Referee/hard-trees"), point] + extra.split(separator: " ").map(String.init)
        )
    }
}
