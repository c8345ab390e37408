//===-- TreeState.swift - the trees and the running transaction -----------------------------------===//
// Everything that the tree mutex guards: the open trees, the blocks in memory, what is to change about
// references, the groups. It is the space that trees take their blocks from.
//
// Invariants:
//   1. A block that carries the running generation is dirty in the pool; every other is immutable.
//   2. What an earlier generation wrote is never given back here, only pinned.
//   3. A change of references is recorded in `delayed` together with the change of the tree, and
//      nothing throws between the two.
//
// Locks: the tree mutex is held around every call.
// Not here: the mutex and the order of commits (TreeStore.swift).
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// A tree with its root item.
final class OpenTree {
    let tree: Tree
    /// Of the root item.
    let key: Key
    /// As it is to be; the place of the root is filled in when it is written.
    var item: RootItem
    /// The root tree says something else of the item.
    var isItemChanged = false
    /// What the root tree says.
    var recordedRoot: TreeRoot

    init(_ tree: Tree, key: Key, item: RootItem, recordedRoot: TreeRoot) {
        self.tree = tree
        self.key = key
        self.item = item
        self.recordedRoot = recordedRoot
    }
}

/// The trees without which nothing can be changed.
struct CoreTrees {
    let root: Tree
    let chunk: Tree
    let extent: OpenTree
    let device: OpenTree
    let checksum: OpenTree
    /// nil: none, or one that is not in order and is left for the kernel to make anew.
    let freeSpace: OpenTree?
    /// nil: block groups are in the extent tree.
    let blockGroup: OpenTree?
}

final class TreeState: TreeSpace {
    let host: any TransactionHost
    /// Of the last commit that was begun; while formatting before the first: what to start from.
    var superBlock: SuperBlock
    private(set) var generation: UInt64
    private(set) var geometry: TreeGeometry
    let chunkTreeUUID: FilesystemUUID
    /// By object id; the core trees are among them.
    var openTrees: [UInt64: OpenTree] = [:]
    /// nil before opening has come so far, and after `close`.
    private var core: CoreTrees?

    var pool: BlockPool
    var delayed = DelayedReferences()
    var pinned = PinnedExtents()
    var groups: GroupTable
    /// Tree blocks of the running transaction that the extent tree has an item for.
    var recordedBlocks: Set<UInt64> = []
    /// Device items as the chunk tree has them.
    var recordedDevices: [DeviceItem]
    /// Chunks that the running transaction records the removal of.
    var removedChunks: [ChunkItem] = []
    /// The first failure that left something half done.
    private(set) var failure: FilesystemError?
    /// Where the last tree block was claimed: the next one goes behind it.
    private var nextHint: UInt64 = 0

    var nodeBytes: UInt64 { UInt64(superBlock.nodeSize) }
    var sectorBytes: UInt64 { UInt64(superBlock.sectorSize) }

    var trees: CoreTrees {
        guard let core else { preconditionFailure("the trees are open") }
        return core
    }

    /// - Parameter generation: the running one.
    init(
        _ superBlock: SuperBlock,
        generation: UInt64,
        groups: [GroupRecord],
        recordedDevices: [DeviceItem],
        chunkTreeUUID: FilesystemUUID,
        host: any TransactionHost
    ) {
        self.host = host
        self.superBlock = superBlock
        self.generation = generation
        self.chunkTreeUUID = chunkTreeUUID
        self.recordedDevices = recordedDevices
        self.groups = GroupTable(groups)
        geometry = Self.geometry(superBlock, generation: generation)
        pool = BlockPool(nodeSize: Int(superBlock.nodeSize))
    }

    private static func geometry(_ superBlock: SuperBlock, generation: UInt64) -> TreeGeometry {
        var limits = superBlock.limits
        limits.generation = generation
        return TreeGeometry(
            limits: limits,
            checksumType: superBlock.checksumType,
            metadataUUID: superBlock.metadataUUID,
            // Blocks come and go: only the devices bound them.
            blocksMax: Int(clamping: superBlock.totalBytes / UInt64(superBlock.nodeSize) + 64)
        )
    }

    func setCore(_ trees: CoreTrees) { core = trees }

    /// Lets go of the trees, which hold on to this object.
    func close() {
        core = nil
        openTrees = [:]
    }

    /// Something is half changed: nothing of this is ever committed.
    func fail(_ error: FilesystemError) {
        failure = failure ?? error
        host.didFail()
    }

    /// Goes on to the next generation.
    func beginGeneration(after committed: SuperBlock) {
        superBlock = committed
        generation = committed.generation + 1
        geometry = Self.geometry(committed, generation: generation)
        recordedBlocks = []
        removedChunks = []
    }

    // MARK: TreeSpace

    func block(_ expected: BlockExpectation) throws(FilesystemError) -> TreeBlock {
        if let block = pool[expected.logical] {
            try block.check(against: expected)
            return block
        }
        // What lies on a device is of an earlier generation.
        let block = try TreeReader.readBlock(
            expected,
            from: host,
            Self.geometry(superBlock, generation: generation - 1)
        )
        pool.insertClean(block)
        return block
    }

    func allocateBlock(
        of tree: Tree,
        level: UInt8,
        hint: UInt64
    ) throws(FilesystemError) -> TreeBlock {
        let logical = try claim(for: tree, hint: hint)
        return adopt(
            TreeBlock(
                empty: logical,
                level: level,
                owner: tree.treeID,
                generation: generation,
                geometry: geometry,
                chunkTreeUUID: chunkTreeUUID
            ),
            of: tree
        )
    }

    func blockForChange(
        _ block: TreeBlock,
        of tree: Tree
    ) throws(FilesystemError) -> TreeBlock {
        if block.generation == generation {
            guard pool.isDirty(block) else {
                throw FilesystemError(
                    .corrupt,
                    "tree block",
                    "generation % was never committed",
                    generation,
                    root: tree.treeID,
                    logical: block.logical
                )
            }
            return block
        }
        let sharing = try sharing(of: block, in: tree)
        try prepareToFree(block.logical, nodeBytes)
        let logical = try claim(for: tree, hint: 0)
        // The block itself looked free, or did when another was copied.
        guard logical != block.logical, delayed[block.logical]?.isNew != true else {
            throw failed(claimOf: block.logical, for: tree)
        }
        let copy = adopt(
            TreeBlock(copying: block, to: logical, owner: tree.treeID, generation: generation),
            of: tree
        )
        recordCopy(of: block, in: tree, sharing)
        return copy
    }

    func freeBlock(_ block: TreeBlock, of tree: Tree) throws(FilesystemError) {
        precondition(block.generation == generation, "only own blocks are freed")
        pool.removeDirty(block.logical)
        openTrees[tree.treeID]?.item.bytesUsed &-= nodeBytes
        openTrees[tree.treeID]?.isItemChanged = true
        let isKnown = delayed.add(
            logical: block.logical,
            length: nodeBytes,
            level: block.level,
            .treeBlock(root: tree.treeID),
            -1
        )
        if !isKnown { host.giveBack(logical: block.logical, length: nodeBytes) }
    }

    // MARK: blocks

    private func claim(for tree: Tree, hint: UInt64) throws(FilesystemError) -> UInt64 {
        let type: ChunkFlags = tree.treeID == ObjectID.chunkTree ? .system : .metadata
        let logical = try host.claimTreeBlock(
            type,
            hint: hint != 0 ? hint : type == .system ? 0 : nextHint
        )
        precondition(logical.isAligned(to: superBlock.sectorSize))
        guard delayed[logical] == nil, !pool.isInUse(logical) else {
            throw failed(claimOf: logical, for: tree)
        }
        if type == .metadata { nextHint = logical + nodeBytes }
        return logical
    }

    /// A block in use was claimed: only free space that contradicts the trees makes it look free.
    /// Nothing of this is committed, since who uses it may be written over.
    private func failed(claimOf logical: UInt64, for tree: Tree) -> FilesystemError {
        let error = FilesystemError(
            .corrupt,
            "tree block",
            "in use, but not recorded",
            root: tree.treeID,
            logical: logical
        )
        fail(error)
        return error
    }

    /// Makes a block at a claimed address dirty, and referenced by its tree.
    private func adopt(_ block: TreeBlock, of tree: Tree) -> TreeBlock {
        pool.insertDirty(block)
        delayed.insertNew(
            logical: block.logical,
            length: nodeBytes,
            level: block.level,
            .treeBlock(root: tree.treeID)
        )
        if let open = openTrees[tree.treeID] {
            open.item.bytesUsed &+= nodeBytes
            open.isItemChanged = true
        }
        return block
    }

    /// Before a committed range is freed: makes sure that it can come back after the commit.
    func prepareToFree(_ logical: UInt64, _ length: UInt64) throws(FilesystemError) {
        let group = try groups.index(holding: logical, length: length)
        guard !groups[group].isPrepared else { return }
        try host.prepareToFree(logical: logical, length: length)
        groups.setPrepared(group)
    }
}
