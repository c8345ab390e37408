//===-- Commit.swift - making the running transaction whole -----------------------------------------===//
// The first stage of a commit: the trees are brought to where the extent tree, the free-space tree, the
// groups, the chunks and the root items tell of every block and extent there is, themselves included.
// Each round changes trees, and so makes new references; once the paths to what changes belong to the
// running transaction, a round changes them in place, and there is nothing more to do.
//
// Locks: the tree mutex.
// Not here: writing (CommitWriter.swift), the order of commits (TreeStore.swift).
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat

/// A commit that is to be written. Nothing changes it any more.
struct FrozenCommit {
    let superBlock: SuperBlock
    let devices: [DeviceItem]
    /// In order of their addresses.
    let blocks: [TreeBlock]
    /// Free once this commit is durable.
    let pinned: [PinnedExtent]
    let removedChunks: [ChunkItem]
    /// Ends of groups, in order: no write goes across one.
    let groupEnds: [UInt64]

    /// Tells the probe how it ended.
    func trace(result: CInt) {
        traceCommit(
            generation: superBlock.generation,
            blocks: blocks.count,
            bytes: blocks.reduce(0) { $0 + $1.bytes.count },
            result: result
        )
    }
}

extension TreeState {
    /// Rounds in which a commit must settle. A dozen is usual: each needs fewer new blocks than the
    /// one before.
    private static let commitRoundsMax = 64

    /// Ends the running transaction and begins the next one.
    ///
    /// - Returns: nil: nothing changed, and the transaction goes on.
    /// - Throws: what leaves the trees half way, and must keep all of it from being committed.
    func freeze() throws(FilesystemError) -> FrozenCommit? {
        let (devices, systemChunks) = try settle()
        guard pool.dirtyCount > 0 else { return nil }
        let committed = try nextSuperBlock(systemChunks)
        let frozen = FrozenCommit(
            superBlock: committed,
            devices: devices,
            blocks: pool.freeze(),
            pinned: pinned.freeze(),
            removedChunks: removedChunks,
            groupEnds: groups.groups.map { $0.record.end }
        )
        beginGeneration(after: committed)
        return frozen
    }

    /// Goes round until nothing is left to record.
    ///
    /// - Returns: the devices and system chunks that the trees now tell of.
    private func settle() throws(FilesystemError) -> ([DeviceItem], [ChunkItem]) {
        for _ in 0..<Self.commitRoundsMax {
            // What the chunk changes of this round make comes in the next one: it may lie in chunks that
            // are made for it, and that nothing has recorded yet.
            let addresses = delayed.addresses
            // Read before the changes are taken: where there are none, this is what was recorded. A
            // chunk that comes later belongs to the next commit.
            let devices = host.deviceItems
            let systemChunks = host.systemChunks
            let changes = host.takeChunkChanges()
            if !changes.isEmpty || devices != recordedDevices {
                try recordChunkChanges(changes, devices)
            }
            for logical in addresses {
                // Freed while others were applied, it is gone.
                guard let change = delayed.take(logical) else { continue }
                try apply(change)
            }
            try writeGroupItems()
            try writeRootItems()
            if changes.isEmpty && delayed.isEmpty { return (devices, systemChunks) }
        }
        throw FilesystemError(
            .corrupt,
            "commit",
            "does not settle within % rounds",
            UInt64(Self.commitRoundsMax)
        )
    }

    /// What the super block says once the trees have settled.
    private func nextSuperBlock(
        _ systemChunks: [ChunkItem]
    ) throws(FilesystemError) -> SuperBlock {
        let needed = SuperBlock.systemChunkArrayBytes(systemChunks)
        guard needed <= SuperBlock.systemChunkArrayBytesMax else {
            throw FilesystemError(
                .noSpace,
                "super block",
                "system chunks take % bytes of %",
                UInt64(needed),
                UInt64(SuperBlock.systemChunkArrayBytesMax)
            )
        }
        var next = superBlock
        let root = trees.root.root
        let chunkRoot = trees.chunk.root
        // A free-space cache of the first version is known to be stale by the generation moving on.
        if next.uuidTreeGeneration == superBlock.generation { next.uuidTreeGeneration = generation }
        next.generation = generation
        next.root = root.logical
        next.rootLevel = root.level
        next.chunkRoot = chunkRoot.logical
        next.chunkRootLevel = chunkRoot.level
        next.chunkRootGeneration = chunkRoot.generation
        next.logRoot = 0
        next.logRootLevel = 0
        next.bytesUsed = groups.bytesUsed
        next.systemChunks = systemChunks
        next.rotateBackup(backupRoots(next))
        return next
    }

    private func backupRoots(_ next: SuperBlock) -> BackupRoots {
        func place(_ root: TreeRoot?) -> BackupRoots.Root {
            guard let root else { return .none }
            return BackupRoots.Root(
                logical: root.logical,
                generation: root.generation,
                level: root.level
            )
        }
        let files = openTrees[ObjectID.filesystemTree]?.tree.root
        return BackupRoots(
            rootTree: place(trees.root.root),
            chunkTree: place(trees.chunk.root),
            extentTree: place(trees.extent.tree.root),
            filesystemTree: place(files),
            deviceTree: place(trees.device.tree.root),
            checksumTree: place(trees.checksum.tree.root),
            totalBytes: next.totalBytes,
            bytesUsed: next.bytesUsed,
            deviceCount: next.deviceCount
        )
    }
}
