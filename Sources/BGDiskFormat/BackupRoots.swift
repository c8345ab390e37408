//===-- BackupRoots.swift - the last few commits' roots, kept in the super block ---------------===//
// Four slots that rescue tools try where the roots of the super block itself cannot be read. They
// are written for them; nothing here reads a tree by way of one, so their values stay unchecked.

/// Where the trees of one commit had their roots.
package struct BackupRoots: Equatable, Sendable {
    package static let byteCount = 168
    /// Slots in a super block.
    package static let slotCount = 4

    /// One tree's root. All zero where there is none.
    package struct Root: Equatable, Sendable {
        package var logical: UInt64
        package var generation: UInt64
        package var level: UInt8

        package static let none = Root(logical: 0, generation: 0, level: 0)

        package init(logical: UInt64, generation: UInt64, level: UInt8) {
            self.logical = logical
            self.generation = generation
            self.level = level
        }
    }

    package var rootTree: Root
    package var chunkTree: Root
    package var extentTree: Root
    package var filesystemTree: Root
    package var deviceTree: Root
    package var checksumTree: Root
    package var totalBytes: UInt64
    package var bytesUsed: UInt64
    package var deviceCount: UInt64

    package init(
        rootTree: Root,
        chunkTree: Root,
        extentTree: Root,
        filesystemTree: Root,
        deviceTree: Root,
        checksumTree: Root,
        totalBytes: UInt64,
        bytesUsed: UInt64,
        deviceCount: UInt64
    ) {
        self.rootTree = rootTree
        self.chunkTree = chunkTree
        self.extentTree = extentTree
        self.filesystemTree = filesystemTree
        self.deviceTree = deviceTree
        self.checksumTree = checksumTree
        self.totalBytes = totalBytes
        self.bytesUsed = bytesUsed
        self.deviceCount = deviceCount
    }

    /// An empty slot.
    package static let none = BackupRoots(
        rootTree: .none,
        chunkTree: .none,
        extentTree: .none,
        filesystemTree: .none,
        deviceTree: .none,
        checksumTree: .none,
        totalBytes: 0,
        bytesUsed: 0,
        deviceCount: 0
    )

    /// Reads the slot at `offset` of a super block.
    init(_ bytes: RawSpan, at offset: Int) {
        func root(_ index: Int) -> Root {
            Root(
                logical: bytes.u64(at: offset + 16 * index),
                generation: bytes.u64(at: offset + 16 * index + 8),
                level: bytes.u8(at: offset + 152 + index)
            )
        }
        rootTree = root(0)
        chunkTree = root(1)
        extentTree = root(2)
        filesystemTree = root(3)
        deviceTree = root(4)
        checksumTree = root(5)
        totalBytes = bytes.u64(at: offset + 96)
        bytesUsed = bytes.u64(at: offset + 104)
        deviceCount = bytes.u64(at: offset + 112)
    }

    /// Writes the slot at `offset` of a super block; bytes without a meaning stay.
    func store(in bytes: inout MutableRawSpan, at offset: Int) {
        func put(_ root: Root, _ index: Int) {
            bytes.store(root.logical, at: offset + 16 * index)
            bytes.store(root.generation, at: offset + 16 * index + 8)
            bytes.store(root.level, at: offset + 152 + index)
        }
        put(rootTree, 0)
        put(chunkTree, 1)
        put(extentTree, 2)
        put(filesystemTree, 3)
        put(deviceTree, 4)
        put(checksumTree, 5)
        bytes.store(totalBytes, at: offset + 96)
        bytes.store(bytesUsed, at: offset + 104)
        bytes.store(deviceCount, at: offset + 112)
    }
}

extension SuperBlock {
    /// Keeps `roots` in the slot whose turn it is: the newest one again where that is of the same
    /// generation of the root tree, otherwise the one behind it.
    package mutating func rotateBackup(_ roots: BackupRoots) {
        var newest = 0
        for slot in 1..<BackupRoots.slotCount
        where backupRoots[slot].rootTree.generation > backupRoots[newest].rootTree.generation {
            newest = slot
        }
        let found = backupRoots[newest].rootTree.generation
        let isFree = found == 0 || found == roots.rootTree.generation
        backupRoots[isFree ? newest : (newest + 1) % BackupRoots.slotCount] = roots
    }
}
