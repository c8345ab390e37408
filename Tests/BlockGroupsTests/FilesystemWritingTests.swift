// File systems of mkfs.btrfs opened for writing: claims become extents that survive, and btrfs check
// agrees. Needs no root.
// Not covered here: refusals to open (WritingRefusalTests), repair (RepairTests), chunks and full
// devices (ChunkWritingTests), files.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs and btrfs check"), .serialized)
struct FilesystemWritingTests {
    private let kib: UInt64 = 1 << 10
    private let mib: UInt64 = 1 << 20

    @Test func openingForWritingAndClosingWritesNothing() throws {
        let image = try MkfsImage(sizes: [256 << 20], files: 3)
        let before = try readFile(image.paths[0])
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            #expect(filesystem.isWritable && filesystem.failure == nil)
            try filesystem.close()
        }
        #expect(try readFile(image.paths[0]) == before)
    }

    @Test(arguments: [
        [], ["-n", "4096"], ["-n", "65536"], ["--csum", "xxhash"], ["--csum", "sha256"],
        ["--csum", "blake2"], ["--mixed"], ["-R", "^free-space-tree"],
        ["-O", "^no-holes"],
    ])
    func whatIsClaimedWrittenAndCommittedIsThereAfterReopening(options: [String]) throws {
        let image = try MkfsImage(sizes: [512 << 20], options, files: 20)
        var extents: [Extent] = []
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            var file = try OrphanFile(filesystem, inode: 1000)
            for index in 0..<10 as Range<UInt64> {
                try file.append(
                    filesystem,
                    bytes: pattern(index, count: Int((index + 1) * 64 * kib))
                )
                if index == 4 { try filesystem.commit() }
            }
            extents = file.extents.map { $0.extent }
            try filesystem.close()
        }
        try image.expectCleanCheck()
        let filesystem = try Filesystem(paths: image.paths)
        for (index, extent) in extents.enumerated() {
            let found = try filesystem.bytes(extent.logical, Int(extent.length))
            #expect(found == pattern(UInt64(index), count: Int(extent.length)))
        }
        try filesystem.cacheFreeSpace()
        for extent in extents {
            let group = try #require(filesystem.allocator.group(at: extent.logical))
            #expect(!group.reference.hasFree(extent.logical, extent.length))
        }
    }

    @Test func whatWasNotCommittedIsNotThere() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let before = try readFile(image.paths[0])
        var extent = Extent(logical: 0, length: 0)
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            var file = try OrphanFile(filesystem, inode: 1000)
            try file.append(filesystem, bytes: pattern(1, count: 65536))
            extent = file.extents[0].extent
        }
        try image.expectCleanCheck()
        let filesystem = try Filesystem(paths: image.paths)
        try filesystem.cacheFreeSpace()
        let group = try #require(filesystem.allocator.group(at: extent.logical))
        #expect(group.reference.hasFree(extent.logical, extent.length))
        // All that changed are the bytes of data, where nothing had been.
        #expect(try filesystem.bytes(extent.logical, 65536) == pattern(1, count: 65536))
        #expect(try readFile(image.paths[0]).count == before.count)
    }

    @Test func droppingAnExtentFreesItsSpaceWithTheCommit() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem.cacheFreeSpace()
        var file = try OrphanFile(filesystem, inode: 1000)
        try filesystem.commit()
        let used = totalUsed(filesystem)
        try file.append(filesystem, bytes: pattern(1, count: 1 << 20))
        let extent = file.extents[0].extent
        let group = try #require(filesystem.allocator.group(at: extent.logical))
        try filesystem.commit()
        try file.removeLast(filesystem)
        #expect(!group.reference.hasFree(extent.logical, extent.length), "free before the commit")
        expectRefusal(.busy) { () throws(FilesystemError) in
            try filesystem.write(extent.logical, [UInt8](repeating: 0, count: 4096))
        }
        try filesystem.commit()
        #expect(group.reference.hasFree(extent.logical, 4096))
        #expect(group.nextFree(endingAbove: extent.logical)?.length ?? 0 >= mib)
        #expect(totalUsed(filesystem) == used)
        try filesystem.close()
        try image.expectCleanCheck()
    }

    private func totalUsed(_ filesystem: Filesystem) -> UInt64 {
        filesystem.source.records.reduce(0) {
            $0 + (filesystem.usedBytes(ofGroupAt: $1.logical) ?? 0)
        }
    }

    @Test func dataGoesOnlyWhereItsCallerClaimedIt() throws {
        let image = try MkfsImage(sizes: [512 << 20], files: 5)
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let sector = [UInt8](repeating: 7, count: 4096)
        let extent = try filesystem.claimData(length: 64 * kib).commit()
        try filesystem.write(extent.logical, sector)
        // Behind the claim; in a group of metadata; nowhere; free again.
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            try filesystem.write(extent.logical + extent.length - 100, sector)
        }
        let metadata = try #require(
            filesystem.source.records.first { $0.flags.contains(.metadata) }
        )
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            try filesystem.write(metadata.logical, sector)
        }
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            try filesystem.write(1 << 60, sector)
        }
        try filesystem.allocator.giveBack(extent)
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            try filesystem.write(extent.logical, sector)
        }
        // What mkfs put there is recorded.
        let data = try #require(
            filesystem.source.records.first { $0.flags.contains(.data) && $0.used > 0 }
        )
        expectRefusal(.busy) { () throws(FilesystemError) in
            try filesystem.write(data.logical, sector)
        }
        try filesystem.close()
        try image.expectCleanCheck()
    }

    @Test func aReadOnlyFileSystemRefusesEveryChange() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let filesystem = try Filesystem(paths: image.paths)
        expectRefusal(.readOnly) { () throws(FilesystemError) in try filesystem.commit() }
        expectRefusal(.readOnly) { () throws(FilesystemError) in
            try filesystem.write(1 << 30, [1])
        }
        expectRefusal(.readOnly) { () throws(FilesystemError) in
            try filesystem.claimData(length: 4096).giveBack()
        }
        expectRefusal(.readOnly) { () throws(FilesystemError) in
            try filesystem.change { (_) throws(FilesystemError) in }
        }
        expectRefusal(.readOnly) { () throws(FilesystemError) in
            try filesystem.removeEmptyGroup(at: 0)
        }
        try filesystem.close()
    }

    @Test func sectorsWrittenInPartsAreSummedByReadingThemBack() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let bytes = pattern(3, count: 64 << 10)
        var logical: UInt64 = 0
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            let extent = try filesystem.claimData(length: 64 * kib).commit()
            logical = extent.logical
            // In odd pieces, so that no sector is written whole but some in the last piece.
            var from = 0
            for length in [1, 4095, 100, 9000, 4096, 20000, 28244] {
                try filesystem.write(logical + UInt64(from), Array(bytes[from..<from + length]))
                from += length
            }
            #expect(from == bytes.count)
            var file = try OrphanFile(filesystem, inode: 1000)
            try file.append(filesystem, extent)
            try filesystem.close()
        }
        try image.expectCleanCheck()
        let filesystem = try Filesystem(paths: image.paths)
        #expect(try filesystem.bytes(logical, bytes.count) == bytes)
        #expect(try filesystem.bytes(logical + 5001, 777) == Array(bytes[5001..<5778]))
        #expect(filesystem.statistics.checksumMismatches == 0)
    }

    @Test func threadsClaimWriteAndRecordWhileOthersCommit() throws {
        let image = try MkfsImage(sizes: [1 << 30])
        let threads = 4
        let rounds = 12
        let found = Collected<[Extent]>(count: threads)
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            let failures = Collected<String>(count: threads)
            onThreads(threads) { thread in
                do {
                    var file = try OrphanFile(filesystem, inode: 1000 + UInt64(thread))
                    for round in 0..<rounds {
                        let seed = UInt64(thread * 1000 + round)
                        try file.append(filesystem, bytes: pattern(seed, count: 96 << 10))
                        if round % 3 == 2 { try file.removeLast(filesystem) }
                        if round % 4 == thread { try filesystem.commit() }
                    }
                    found[thread] = file.extents.map { $0.extent }
                } catch let error as FilesystemError {
                    failures[thread] = error.message
                } catch {
                    failures[thread] = "\(error)"
                }
            }
            for thread in 0..<threads { #expect(failures[thread] == nil) }
            try filesystem.close()
        }
        try image.expectCleanCheck()
        let filesystem = try Filesystem(paths: image.paths)
        for thread in 0..<threads {
            let extents = try #require(found[thread])
            let kept = (0..<rounds).filter { $0 % 3 != 2 }
            #expect(extents.count == kept.count)
            for (extent, round) in zip(extents, kept) {
                let bytes = try filesystem.bytes(extent.logical, Int(extent.length))
                #expect(bytes == pattern(UInt64(thread * 1000 + round), count: 96 << 10))
            }
        }
    }
}

/// One place for each thread's result.
final class Collected<Value>: @unchecked Sendable {
    private var values: [Value?]
    private let lock = NSLock()

    init(count: Int) { values = Array(repeating: nil, count: count) }

    subscript(index: Int) -> Value? {
        get { lock.withLock { values[index] } }
        set { lock.withLock { values[index] = newValue } }
    }
}

/// Runs a body on threads of its own and waits for all of them.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let group = DispatchGroup()
    for index in 0..<count {
        group.enter()
        let thread = Thread {
            body(index)
            group.leave()
        }
        thread.stackSize = 4 << 20
        thread.start()
    }
    group.wait()
}
