//===-- ScarceSpaceTests.swift - what happens where space is short, or seems to be -------------------===//
// Mixed groups, groups that are to stay, and files without a name that a crash left: nothing of these turns
// a file system read-only, and nothing is refused while there is space.
//===-------------------------------------------------------------------------------------------===//

import BGAllocation
import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees
@testable import BlockGroups

@Suite struct ScarceSpaceTests {
    // MARK: mixed groups

    @Test(arguments: [192, 1024])
    func aMixedFileSystemFillsUp(megabytes: Int) throws {
        let device = MemoryDevice(byteCount: UInt64(megabytes) << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096) { $0.isMixed = true }
        let file = try filesystem.createFile("/all")
        var at = 0
        for length in [1 << 20, 1 << 16, 1 << 12] {
            let piece = [UInt8](repeating: 1, count: length)
            expectRefusal(.noSpace) { () throws(FilesystemError) in
                while true {
                    try file.write(at: at, piece)
                    at += length
                }
            }
        }
        #expect(at >> 20 > megabytes * 85 / 100)
        try filesystem.removeFile("/all")
        try file.close()
        try filesystem.claimData(length: 1 << 20).giveBack()
        try filesystem.close()
        #expect(try faults([device]) == [])
    }

    @Test func claimsAloneLeaveRoomForTheirCommit() throws {
        let device = MemoryDevice(byteCount: 192 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096) { $0.isMixed = true }
        var claimed: UInt64 = 0
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            while true {
                let claim = try filesystem.claimData(length: 1 << 20, lengthMin: 4096)
                claimed += claim.commit().length
            }
        }
        #expect(claimed > 160 << 20)
        try filesystem.commit()
        #expect(filesystem.failure == nil)
    }

    @Test func aRefusedChangeKeepsNothingBack() throws {
        let device = MemoryDevice(byteCount: 1 << 30)
        let count = 16_000
        let (filesystem, file, space) = try makeScarceMixed(device, count: count)
        let bytes = UInt64(count) * 4096
        try #require(space.makeRoom(bytes + 2 * (try filesystem.bytesForRemoving)))
        try filesystem.claimData(length: bytes).giveBack()
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            try file.write(at: 0, [UInt8](repeating: 1, count: Int(bytes)))
        }
        try filesystem.claimData(length: bytes).giveBack()
    }

    /// One that may get less than it asks for gets what the last hole has.
    @Test func aLongClaimIsNotRefusedWhereAShortOneIsNot() throws {
        let device = MemoryDevice(byteCount: 400 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096) { $0.isMixed = true }
        let source = filesystem.source
        let long: UInt64 = 128 << 20
        // Ends: each round takes half of what is to be had, until only a hole is left, and a short one.
        while true {
            let kept = try filesystem.readTrees { filesystem.bytesToKeep($0) }
            let free = source.freeMetadataBytes(in: filesystem.allocator)
            let spare = free - min(free, kept)
            let hole = source.chunks.withLock { source.space?.unallocatedBytes ?? 0 }
            try #require(hole > 1 << 20)
            if hole < long, spare < 4096 { break }
            _ = try filesystem.claimData(length: max(spare / 2, 4096) & ~4095).commit()
        }
        let claim = try filesystem.claimData(length: long, lengthMin: 4096)
        #expect(claim.length >= 4096)
        claim.giveBack()
    }

    @Test(arguments: [false, true])
    func aClaimOfMoreBytesThanNumbersCountIsRefused(isMixed: Bool) throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096) { $0.isMixed = isMixed }
        for lengthMin in [0, 1 << 62] as [UInt64] {
            expectRefusal(.noSpace) { () throws(FilesystemError) in
                try filesystem.claimData(length: .max - 4095, lengthMin: lengthMin).giveBack()
            }
        }
    }

    // MARK: groups

    /// The first thing that such a commit records is the chunk of data, and that takes metadata.
    @Test func aCommitThatFindsNoMetadataMakesAChunkForIt() throws {
        let device = MemoryDevice(byteCount: 2 << 30)
        let filesystem = try makeFilesystem(device, nodeSize: 4096)
        let before = filesystem.source.records.count
        var claims: [Extent] = []
        while filesystem.source.records.count == before {
            let request = ClaimRequest(length: 8 << 20, flags: .data)
            claims.append(try filesystem.allocator.claim(request).commit())
        }
        // As whoever claims metadata himself may leave it: none in the groups that there are.
        let groups = filesystem.source.metadataGroups
        var taken: [Extent] = []
        for logical in groups {
            let group = try #require(filesystem.allocator.group(at: logical))
            try group.cache()
            while group.statistics.freeBytes > 0 {
                let request = ClaimRequest(length: 4096, flags: .metadata)
                taken.append(try filesystem.allocator.claim(request).commit())
            }
        }
        #expect(filesystem.source.metadataGroups == groups, "a chunk was made meanwhile")
        try filesystem.commit()
        #expect(filesystem.failure == nil)
        for claim in claims + taken { try filesystem.allocator.giveBack(claim) }
        try filesystem.makeDirectory("/folder")
        try filesystem.close()
        #expect(try faults([device]) == [])
    }

    @Test func anEmptySystemGroupThatTheNextCommitNeedsStays() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096)
        let source = filesystem.source
        let first = try #require(source.systemGroups.first)
        try source.makeChunk(source.chunkFlags(for: .system), in: filesystem.allocator)
        try filesystem.commit()
        let second = try #require(source.systemGroups.first { $0 != first })
        let space = try ScarceSpace(filesystem)
        space.takeData()
        let group = try #require(filesystem.allocator.group(at: first))
        let request = ClaimRequest(length: 4096, flags: .system)
        while group.statistics.freeBytes > 0 {
            let claim = try filesystem.allocator.claim(request).commit()
            if claim.logical >= second { try filesystem.allocator.giveBack(claim) }
        }
        let words = expectRefusal(.busy) { () throws(FilesystemError) in
            try filesystem.removeEmptyGroup(at: second)
        }
        #expect(words.contains("the next commit may need its space"), "\(words)")
        try filesystem.makeDirectory("/folder")
        try filesystem.close()
    }

    /// Only a commit makes the hole usable, and nothing else is there to be committed.
    @Test func theHoleOfAGroupThatWasTakenAwayIsFoundWithoutACommitOfTheCallers() throws {
        let device = MemoryDevice(byteCount: 512 << 20)
        let filesystem = try makeFilesystem(device)
        let source = filesystem.source
        let first = source.metadataGroups
        try source.makeChunk(source.chunkFlags(for: .metadata), in: filesystem.allocator)
        try filesystem.commit()
        let second = try #require(source.metadataGroups.first { !first.contains($0) })
        let space = try ScarceSpace(filesystem)
        space.takeData()
        try #require(source.chunks.withLock { source.space?.hasRoom(.data) } == false)
        try filesystem.removeEmptyGroup(at: second)
        try filesystem.claimData(length: 1 << 20).giveBack()
        try filesystem.close()
        #expect(try faults([device]) == [])
    }

    @Test func withoutATreeOfFilesTooWhatIsMissingIsSpace() throws {
        let device = MemoryDevice(byteCount: 512 << 20)
        do {
            let filesystem = try makeFilesystem(device)
            let state = try filesystem.trees().state
            try filesystem.change { (transaction) throws(FilesystemError) in
                guard let open = state.openTrees[ObjectID.filesystemTree] else { return }
                state.openTrees[ObjectID.filesystemTree] = nil
                try state.trees.root.remove(open.key)
            }
            try filesystem.commit()
        }
        let filesystem = try openFilesystem([device], readOnly: false)
        try filesystem.claimData(length: 1 << 20).giveBack()
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            _ = try filesystem.claimData(length: 1 << 40)
        }
    }

    // MARK: what a crash left

    /// - Parameter isInode: the leaf with the orphan's inode is damaged, otherwise one with its last parts.
    @Test(arguments: [false, true])
    func anOrphanThatCannotBeReadKeepsNobodyFromChanges(isInode: Bool) throws {
        let device = MemoryDevice(byteCount: 512 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096)
        let files = try ["/before", "/orphan", "/after"].map { try filesystem.createFile($0) }
        for file in files { try filesystem.recordSectors([file], count: 2000, sumBytes: 4) }
        try filesystem.removeFile("/orphan")
        try filesystem.commit()
        let number = files[1].inodeNumber
        let key = isInode ? Key(number, .inodeItem, 0) : Key(number, .extentData, 1999 * 4096)
        let leaf = try filesystem.leaf(holding: key)
        let place = try #require(
            device.treeBlocks(filesystem.superBlock).first { $0.logical == leaf }
        )
        let garbage = [UInt8](repeating: 7, count: 64)
        garbage.withUnsafeBytes { device.store(physical: UInt64(place.physical + 1000), $0) }
        let again = try openFilesystem([MemoryDevice(over: device)], readOnly: false)
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            _ = try again.claimData(length: 1 << 40)
        }
        for name in ["/one", "/two"] as [FilePath] { try again.makeDirectory(name) }
        try again.close()
        withExtendedLifetime(files) {}
    }

    /// Each is tried once for each call that lacks space, whatever becomes of the others.
    @Test func orphansThatCannotBeRemovedDoNotMultiplyTheWork() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096)
        var files: [File] = []
        for number in 0..<22 {
            let path = FilePath("/orphan\(number)")
            files.append(try filesystem.createFile(path))
            try files[number].write(at: 0, [UInt8](repeating: 1, count: 8192))
            try filesystem.removeFile(path)
        }
        try filesystem.commit()
        let left = MemoryDevice(over: device)
        let again = try openFilesystem([left], readOnly: false)
        let space = try ScarceSpace(again)
        space.takeData()
        space.takeMetadata()
        let start = ContinuousClock.now
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            _ = try again.claimData(length: 1 << 40)
        }
        #expect(start.duration(to: .now) < .seconds(10))
        try space.giveBack { _ in true }
        // Now they go, and what they had is free.
        try again.claimData(length: 8192 * UInt64(files.count)).giveBack()
        try again.close()
        #expect(try faults([left]) == [])
        withExtendedLifetime(files) {}
    }

    @Test func anOrphanWhoseRemovalFailedGoesLater() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096)
        let file = try filesystem.createFile("/a")
        try file.write(at: 0, [UInt8](repeating: 1, count: 8 << 20))
        try filesystem.removeFile("/a")
        try filesystem.commit()
        let space = try ScarceSpace(filesystem)
        space.takeData()
        space.takeMetadata()
        try #require(space.makeRoom(16 * 4096))
        expectRefusal(.noSpace) { () throws(FilesystemError) in try file.close() }
        try space.giveBack { _ in true }
        // Data is full but for what the file had.
        try filesystem.claimData(length: 1 << 20).giveBack()
        try filesystem.close()
        #expect(try faults([device]) == [])
    }
}

extension Filesystem {
    /// The leaf of tree 5 that a key is in.
    fileprivate func leaf(holding key: Key) throws(FilesystemError) -> UInt64 {
        try readTrees { (transaction) throws(FilesystemError) in
            var path = TreePath()
            _ = try transaction.tree(ObjectID.filesystemTree).find(key, &path)
            return path.leaf.logical
        }
    }
}
