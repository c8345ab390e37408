//===-- ReserveTests.swift - a commit finds the metadata that it needs, whatever came before ---------===//
// Each test brings a file system to where its commit needs much and little is left, in a way that once
// made a commit fail, or a change be refused for nothing.
//
// Not covered: how near the bounds are to what commits take.
//===-------------------------------------------------------------------------------------------===//

import BGAllocation
import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees
@testable import BlockGroups

/// A commit succeeds, and takes no more metadata than was foretold.
private func expectCommit(_ filesystem: Filesystem, _ device: MemoryDevice) throws {
    func freeBytes() -> UInt64 { filesystem.source.freeMetadataBytes(in: filesystem.allocator) }
    let foretold = try filesystem.readTrees { (transaction) throws(FilesystemError) in
        transaction.reserve.bytes
    }
    let before = freeBytes()
    // Before what it frees comes back, and while nobody makes a chunk.
    var after: UInt64?
    device.onFlush = { after = after ?? freeBytes() }
    try filesystem.commit()
    device.onFlush = nil
    #expect(filesystem.failure == nil)
    let taken = before - min(before, try #require(after, "nothing was committed"))
    print("a commit took \(taken) bytes, foretold were \(foretold)")
    #expect(taken <= foretold)
}

private func expectSound(_ filesystem: Filesystem, _ device: MemoryDevice) throws {
    try expectCommit(filesystem, device)
    try filesystem.close()
}

@Suite(.serialized) struct ReserveTests {
    @Test func anEmptyGroupThatTheNextCommitNeedsStays() throws {
        let device = MemoryDevice(byteCount: 512 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096)
        let files = try ["/many", "/between"].map { try filesystem.createFile(FilePath($0)) }
        try filesystem.recordSectors(files, count: 24_000, sumBytes: 4)
        try filesystem.commit()
        let used = try filesystem.readTrees { (transaction) throws(FilesystemError) in
            try transaction.tree(ObjectID.extentTree).root.logical
        }
        let first = try #require(filesystem.allocator.group(at: used)).logical
        let space = try ScarceSpace(filesystem)
        // So much that a second group of metadata is made.
        let secondBytes: UInt64 = 70 << 20
        let isMade = try filesystem.source.growMetadata(to: secondBytes, in: filesystem.allocator)
        try #require(isMade)
        space.takeData()
        space.takeMetadata()
        // The first has a little, the second is wholly free.
        let second = try #require(filesystem.source.metadataGroups.first { $0 != first })
        var left: UInt64 = 1 << 20
        try space.giveBack { extent in
            guard filesystem.allocator.group(at: extent.logical)?.logical == first else {
                return true
            }
            guard left >= extent.length else { return false }
            left -= extent.length
            return true
        }
        try files[0].truncate(to: 0)
        #expect(try filesystem.bytesForRemoving > 1 << 20, "the first would do")
        let words = expectRefusal(.busy) { () throws(FilesystemError) in
            try filesystem.removeEmptyGroup(at: second)
        }
        #expect(words.contains("the next commit may need its space"), "\(words)")
        // Whoever looks for space commits before anything is taken away.
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            _ = try filesystem.claimData(length: 300 << 20)
        }
        try filesystem.close()
    }

    @Test func claimsOfDataInMixedGroupsLeaveWhatTheCommitNeeds() throws {
        let device = MemoryDevice(byteCount: 4 << 30)
        let count = 32_000
        let (filesystem, file, space) = try makeScarceMixed(device, count: count)
        let bytes = count * 4096
        // Enough to write over one file, which drops all its parts.
        var isWritten = false
        while !isWritten {
            try #require(space.makeRoom(space.freeBytes + (4 << 20)))
            do throws(FilesystemError) {
                try file.write(at: 0, [UInt8](repeating: 1, count: bytes))
                isWritten = true
            } catch {
                try #require(error.code == .noSpace)
            }
        }
        #expect(try filesystem.pendingReferences > count / 2)
        expectRefusal(.noSpace) { () throws(FilesystemError) in
            while true {
                _ = try filesystem.claimData(length: 1 << 20, lengthMin: 4096).commit()
            }
        }
        // The last of them committed, looking for space.
        #expect(try filesystem.pendingReferences == 0)
        #expect(filesystem.failure == nil)
        try filesystem.close()
    }

    @Test func mixedGroupsFillUpWithSmallWrites() throws {
        let device = MemoryDevice(byteCount: 1 << 30)
        let filesystem = try makeFilesystem(device, nodeSize: 4096) { $0.isMixed = true }
        let files = try ["/one", "/two"].map { try filesystem.createFile(FilePath($0)) }
        let sector = [UInt8](repeating: 1, count: 4096)
        // What was pending in between must not be kept for ever.
        for index in 0..<12_000 { try files[index % 2].write(at: index * 4096, sector) }
        try expectSound(filesystem, device)
        #expect(try faults([device]) == [])
    }

    /// The first change of a leaf that a snapshot shares changes the references of all in it.
    @Test(arguments: [ChangeSort.attaching, .truncating])
    func aLeafThatASnapshotSharesIsCopied(_ sort: ChangeSort) throws {
        let device = MemoryDevice(byteCount: 4 << 30)
        let filesystem = try makeFilesystem(device)
        let file = try filesystem.createFile("/many")
        // Neighbours in the file lie far apart, so that each has a leaf of the extent tree for itself.
        try filesystem.recordSectors([file], count: 100_000, stride: 7919, sumBytes: 0)
        try filesystem.commit()
        try filesystem.takeSnapshot()
        let bytes = [UInt8](repeating: 3, count: 32_768)
        let extent = try filesystem.claimData(length: UInt64(bytes.count)).commit()
        try filesystem.write(extent.logical, bytes)
        let space = try ScarceSpace(filesystem)
        space.takeData()
        space.takeMetadata()
        let size = try file.metadata.size
        // Over the end of one leaf and the beginning of the next.
        let leaf = try filesystem.leafBegin(after: size / 2)
        if sort == .truncating { space.makeRoom(try filesystem.bytesForRemoving) }
        var refusals = 0
        while true {
            try #require(
                space.makeRoom(space.freeBytes + (512 << 10)),
                "refused with all the space"
            )
            do throws(FilesystemError) {
                switch sort {
                case .attaching: try file.attach(extent, at: leaf - 16_384)
                case .truncating: try file.truncate(to: size - 4096)
                }
                break
            } catch {
                try #require(error.code == .noSpace, "\(error.message)")
                refusals += 1
            }
        }
        #expect(try filesystem.pendingReferences > 150, "nothing was shared")
        // Ordinary changes leave enough for what frees, and need more themselves than there was.
        #expect((refusals == 0) == (sort == .truncating))
        try expectSound(filesystem, device)
    }

    enum ChangeSort { case attaching, truncating }

    @Test func anExtentWithVeryManyLeavesOfChecksumsGoes() throws {
        let device = MemoryDevice(byteCount: 40 << 30)
        let filesystem = try makeFilesystem(device, nodeSize: 4096) { $0.checksumType = .sha256 }
        let file = try filesystem.createFile("/large")
        let length: UInt64 = 128 << 20
        let count = 64
        var extents: [Extent] = []
        for index in 0..<count {
            let extent = try filesystem.claimData(length: length).commit()
            extents.append(extent)
            try filesystem.changeFiles { (_) throws(FilesystemError) in
            } apply: { (change, _: Void) throws(FilesystemError) in
                let written = WrittenExtent(
                    extent: extent,
                    start: UInt64(index) * length,
                    checksums: []
                )
                _ = try change.insertExtent(written, of: file.inodeNumber)
                try change.updateInode(file.inodeNumber) {
                    $0.size = UInt64(index + 1) * length
                    $0.byteCount = $0.size
                }
            }
        }
        // In turn, so that the leaves of one extent lie apart.
        let perChange = 100
        let sectors = Int(length / 4096)
        for low in stride(from: 0, to: sectors, by: perChange) {
            let sums = [UInt8](repeating: 5, count: min(perChange, sectors - low) * 32)
            try filesystem.change(itemBytes: 1 << 18) { (transaction) throws(FilesystemError) in
                for extent in extents {
                    try transaction.setChecksums(
                        logical: extent.logical + UInt64(low) * 4096,
                        sums
                    )
                }
            }
        }
        try filesystem.commit()
        try file.truncate(to: length * UInt64(count - 1))
        try expectCommit(filesystem, device)
        let space = try ScarceSpace(filesystem)
        space.takeData()
        space.takeMetadata()
        try #require(space.makeRoom(try filesystem.bytesForRemoving))
        try file.truncate(to: length * UInt64(count / 2))
        try expectSound(filesystem, device)
    }

    /// As deduplication makes it.
    @Test func anExtentThatVeryManyPartsReferTo() throws {
        let device = MemoryDevice(byteCount: 512 << 20)
        let filesystem = try makeFilesystem(device, nodeSize: 4096)
        let file = try filesystem.createFile("/many")
        let number = file.inodeNumber
        let extent = try filesystem.claimData(length: 4096).commit()
        let perChange = 1000
        for first in stride(from: 0, to: 16_000, by: perChange) {
            try filesystem.changeFiles(itemBytes: UInt64(perChange) << 8) {
                (_) throws(FilesystemError) in
            } apply: { (change, _: Void) throws(FilesystemError) in
                for index in first..<first + perChange {
                    let start = UInt64(index) * 4096
                    let item = FileExtentItem(
                        generation: change.generation,
                        logical: extent.logical,
                        diskBytes: 4096,
                        length: 4096
                    )
                    let reference = DataReference(
                        logical: extent.logical,
                        length: 4096,
                        root: ObjectID.filesystemTree,
                        inode: number,
                        offset: start
                    )
                    if index == 0 {
                        try change.transaction.recordExtent(reference)
                    } else {
                        try change.transaction.addReference(reference)
                    }
                    try change.tree.insert(Key(number, .extentData, start), item.encoded)
                }
                try change.updateInode(number) {
                    $0.size = UInt64(first + perChange) * 4096
                    $0.byteCount = $0.size
                }
            }
        }
        #expect(try filesystem.pendingReferences > 16_000, "counted as one")
        try filesystem.commit()
        let space = try ScarceSpace(filesystem)
        space.takeData()
        space.takeMetadata()
        try #require(space.makeRoom(try filesystem.bytesForRemoving))
        try file.truncate(to: 0)
        try expectSound(filesystem, device)
    }

    @Test func whatACrashLeftGivesWayToWritesOfAFullFileSystem() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        do {
            let filesystem = try makeFilesystem(device)
            let small = try filesystem.createFile("/small")
            try small.write(at: 0, [UInt8](repeating: 1, count: 8192))
            let all = try filesystem.createFile("/all")
            var at = 0
            for length in [1 << 20, 1 << 12] {
                let piece = [UInt8](repeating: 1, count: length)
                expectRefusal(.noSpace) { () throws(FilesystemError) in
                    while true {
                        try all.write(at: at, piece)
                        at += length
                    }
                }
            }
            // Open, it loses its name only; a power failure follows.
            try filesystem.removeFile("/all")
            try filesystem.commit()
        }
        let left = MemoryDevice(over: device)
        let filesystem = try openFilesystem([left], readOnly: false)
        let small = try filesystem.openFile("/small")
        try small.write(at: 0, [UInt8](repeating: 2, count: 8192))
        try filesystem.claimData(length: 16 << 20).giveBack()
        try small.close()
        try expectSound(filesystem, left)
        #expect(try faults([left]) == [])
    }
}

extension Filesystem {
    /// A snapshot of tree 5, as the kernel makes them, with no name in any directory; and its commit.
    fileprivate func takeSnapshot() throws {
        let store = try trees()
        let state = store.state
        try store.change { (transaction) throws(FilesystemError) in
            let snapshot = ObjectID.firstFree
            var item = try transaction.rootItem(of: ObjectID.filesystemTree)
            let original = try transaction.tree(ObjectID.filesystemTree).root
            let root = try state.block(.root(of: original))
            let tree = Tree(
                TreeRoot(treeID: snapshot, logical: 0, level: 0, generation: 0),
                in: state
            )
            let copy = try state.allocateBlock(of: tree, level: root.level, hint: 0)
            copy.bytes.replaceSubrange(96..., with: root.bytes[96...])
            for child in try state.children(of: copy) {
                state.addReference(to: child, child.implicit(of: snapshot), 1)
            }
            tree.setRoot(copy)
            item.lastSnapshot = transaction.generation
            try transaction.setRootItem(item, of: ObjectID.filesystemTree)
            item.objectid = snapshot
            let key = Key(snapshot, .rootItem, transaction.generation)
            try state.trees.root.insert(key, item.encoded)
            let open = OpenTree(tree, key: key, item: item, recordedRoot: tree.root)
            open.isItemChanged = true
            state.openTrees[snapshot] = open
        }
        try commit()
        try commit()
    }

    /// Where in a file a leaf of tree 5 begins, above an offset: a pointer of its root.
    fileprivate func leafBegin(after offset: UInt64) throws -> UInt64 {
        let state = try trees().state
        let found = try readTrees { (transaction) throws(FilesystemError) -> UInt64? in
            let tree = try transaction.tree(ObjectID.filesystemTree)
            let root = try state.block(.root(of: tree.root))
            return (0..<root.itemCount).lazy.map { root.key($0) }.first {
                $0.type == .extentData && $0.offset > offset
            }?.offset
        }
        return try #require(found)
    }
}
