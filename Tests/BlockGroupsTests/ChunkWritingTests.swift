// Chunks that a file system needed while it was written, of every profile; groups that went again; and
// devices filled to the last sector, emptied, and filled again.
// Not covered here: where a chunk is put (BGDevicesTests), many threads on a full device.

import BGDevices
import BGDiskFormat
import Foundation
import BGTestSupport
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs and btrfs check"), .serialized)
struct ChunkWritingTests {
    private let mib: UInt64 = 1 << 20

    /// Data chunks of this profile are made, filled in part, and found again.
    @Test(arguments: [
        ("single", "single", [700]), ("single", "dup", [700]), ("dup", "dup", [700]),
        ("raid0", "raid1", [500, 700, 900]), ("raid1", "raid1", [500, 700, 900]),
        ("raid1c3", "raid1c3", [500, 700, 900]), ("raid1c4", "raid1c4", [500, 600, 700, 800]),
        ("raid10", "raid10", [500, 600, 700, 800]),
    ])
    func chunksOfEveryProfileAreMadeWhenTheyAreNeeded(
        data: String,
        metadata: String,
        sizes: [Int]
    ) throws {
        let image = try MkfsImage(
            sizes: sizes.map { $0 << 20 },
            ["-d", data, "-m", metadata]
        )
        var extents: [Extent] = []
        var chunkCount = 0
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            let before = filesystem.source.records
            var file = try OrphanFile(filesystem, inode: 1000)
            var added = 0
            var index: UInt64 = 0
            // Ends: every round takes 8 MiB of a few hundred.
            while added < 2 {
                let extent = try filesystem.claimData(length: 8 * mib).commit()
                try filesystem.write(extent.logical, pattern(index, count: 65536))
                try file.append(filesystem, extent)
                index += 1
                added = filesystem.source.records.count - before.count
            }
            chunkCount = filesystem.source.records.count
            extents = file.extents.map { $0.extent }
            try filesystem.close()
        }
        try image.expectCleanCheck()
        let filesystem = try Filesystem(paths: image.paths)
        #expect(filesystem.reader.blockGroups.count == chunkCount)
        for (index, extent) in extents.enumerated() {
            #expect(
                try filesystem.bytes(extent.logical, 65536) == pattern(UInt64(index), count: 65536)
            )
            let flags = try #require(filesystem.allocator.group(at: extent.logical)?.flags)
            #expect(flags.words.lowercased() == "data|" + data)
        }
    }

    @Test func anEmptyGroupIsTakenAwayAndItsHoleUsedAgain() throws {
        let image = try MkfsImage(sizes: [1 << 30])
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            var file = try OrphanFile(filesystem, inode: 1000)
            let before = Set(filesystem.source.records.map { $0.logical })
            while filesystem.source.records.count == before.count {
                try file.append(filesystem, try filesystem.claimData(length: 8 * mib).commit())
            }
            let made = try #require(
                filesystem.source.records.first { !before.contains($0.logical) }
            )
            expectRefusal(.busy) { () throws(FilesystemError) in
                try filesystem.removeEmptyGroup(at: made.logical)
            }
            try filesystem.commit()
            while file.size > 0 { try file.removeLast(filesystem) }
            // What the commit will free is still in it.
            expectRefusal(.busy) { () throws(FilesystemError) in
                try filesystem.removeEmptyGroup(at: made.logical)
            }
            try filesystem.commit()
            try filesystem.removeEmptyGroup(at: made.logical)
            expectRefusal(.notFound) { () throws(FilesystemError) in
                try filesystem.removeEmptyGroup(at: made.logical)
            }
            #expect(filesystem.allocator.group(at: made.logical) == nil)
            try filesystem.commit()
            // One that no commit saw comes and goes.
            while filesystem.source.records.count == before.count {
                try file.append(filesystem, try filesystem.claimData(length: 8 * mib).commit())
            }
            try filesystem.close()
        }
        try image.expectCleanCheck()
    }

    @Test func theLastGroupsOfMetadataAndSystemStay() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        for record in filesystem.source.records where !record.flags.contains(.data) {
            expectRefusal(.busy) { () throws(FilesystemError) in
                try filesystem.removeEmptyGroup(at: record.logical)
            }
        }
        try filesystem.close()
    }

    @Test func threadsThatTakeGroupsAwayAtOnceLeaveThoseInUseUsable() throws {
        let device = MemoryDevice(byteCount: 1 << 30)
        try Filesystem.format(devices: [device])
        let filesystem = try openFilesystem([device], readOnly: false)
        for round in 0..<10 {
            var claims: [Extent] = []
            while filesystem.source.records.count < 8 {
                claims.append(try filesystem.claimData(length: 64 * mib).commit())
            }
            // One group stays in use, the others are empty.
            let kept = claims.removeLast()
            for claim in claims { try filesystem.allocator.giveBack(claim) }
            let group = try #require(filesystem.allocator.group(at: kept.logical))
            DispatchQueue.concurrentPerform(iterations: 4) { thread in
                for _ in 0..<2000 {
                    do throws(FilesystemError) {
                        try filesystem.removeEmptyGroup(at: group.logical)
                        Issue.record("it is in use")
                    } catch {}
                }
                for leaving in filesystem.source.beginRemovingEmptyGroups(
                    sparing: .metadata,
                    keeping: 0,
                    in: filesystem.allocator
                ) {
                    try? filesystem.source.finishRemoving(leaving, from: filesystem.allocator)
                }
            }
            #expect(!group.isReadOnly, "round \(round)")
            let left = filesystem.source.records
            #expect(left.filter { $0.flags.contains(.data) }.map { $0.logical } == [group.logical])
            try filesystem.allocator.giveBack(kept)
            try filesystem.commit()
        }
        try filesystem.close()
        #expect(try faults([device]) == [])
    }

    /// Fills with data until nothing more fits, empties, and does it again; the free space comes back
    /// to the byte.
    @Test(arguments: [([], 1), (["--mixed"], 1), (["-d", "raid1", "-m", "raid1"], 2)])
    func fillingAndEmptyingOverAndOverNeverWedges(options: [String], devices: Int) throws {
        let image = try MkfsImage(sizes: Array(repeating: 256 << 20, count: devices), options)
        var freeAfter: [UInt64] = []
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            for round in 0..<3 {
                var file = try OrphanFile(filesystem, inode: 1000 + UInt64(round))
                let filled = try fill(filesystem, &file)
                #expect(filled > 60 * mib, "round \(round): \(filled) bytes")
                try filesystem.commit()
                if round == 0 { freeAfter.append(0) }
                while file.size > 0 { try file.removeLast(filesystem) }
                try filesystem.commit()
                freeAfter.append(freeDataBytes(filesystem))
            }
            try filesystem.close()
        }
        #expect(freeAfter[1] == freeAfter[2] && freeAfter[2] == freeAfter[3], "\(freeAfter)")
        try image.expectCleanCheck()
    }

    private func fill(
        _ filesystem: Filesystem,
        _ file: inout OrphanFile
    ) throws -> UInt64 {
        var length: UInt64 = 4 * mib
        var filled: UInt64 = 0
        while length >= 4096 {
            var claimed: Extent?
            do throws(FilesystemError) {
                let extent = try filesystem.claimData(length: length).commit()
                claimed = extent
                try file.append(filesystem, extent)
                filled += length
            } catch {
                #expect(error.code == .noSpace, "\(error.message)")
                if let claimed { try filesystem.allocator.giveBack(claimed) }
                length /= 8
            }
        }
        return filled
    }

    private func freeDataBytes(_ filesystem: Filesystem) -> UInt64 {
        var sum: UInt64 = 0
        filesystem.allocator.forEachGroup { group in
            if group.flags.contains(.data) { sum += group.statistics.freeBytes }
            return true
        }
        return sum
    }

    /// A device full of empty data groups still has room for metadata.
    @Test func metadataTakesTheHolesOfEmptyDataGroups() throws {
        let image = try MkfsImage(sizes: [512 << 20], ["-m", "single"])
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            var file = try OrphanFile(filesystem, inode: 1000)
            _ = try fill(filesystem, &file)
            try filesystem.commit()
            while file.size > 0 { try file.removeLast(filesystem) }
            try filesystem.commit()
            let before = metadataBytes(filesystem)
            // Items until there is more metadata than there ever was room for.
            var inode: UInt64 = 5000
            while metadataBytes(filesystem) == before {
                try addItems(filesystem, inode)
                inode += 1
                try #require(inode < 100_000)
            }
            try filesystem.close()
        }
        try image.expectCleanCheck()
    }

    private func metadataBytes(_ filesystem: Filesystem) -> UInt64 {
        filesystem.source.records.reduce(0) {
            $0 + ($1.flags.contains(.metadata) ? $1.length : 0)
        }
    }

    /// An orphan with 3 KiB of inline data.
    private func addItems(_ filesystem: Filesystem, _ inode: UInt64) throws(FilesystemError) {
        _ = try OrphanFile(filesystem, inode: inode, inlineBytes: 2048)
    }
}
