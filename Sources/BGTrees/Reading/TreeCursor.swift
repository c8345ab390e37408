//===-- TreeCursor.swift - a position in a tree -------------------------------------------------===//
// Seeks the first item at or above a key, then walks forward. The path from the root is kept, one
// block and slot a level; nothing recurses.
//
// Why a walk over damaged bytes ends, and soon:
//   1. A child's level is one below its parent's (checked on reading): a descent is at most eight
//      blocks.
//   2. A child's keys start at its parent's key and end before the next one, and keys ascend
//      strictly in every block: a walk never returns to a key, so no non-empty block is met twice.
//   3. The blocks a walk moves on to are counted, and the count is bounded by what the file
//      system says it uses.
//
// Threads: none; each thread has its own reader and cursors.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

/// Where a tree starts: what its root item, or the super block, says of it.
package struct TreeRoot: Sendable, Equatable {
    /// Object id of the tree; every block of a tree that is not shared names it as its owner.
    package let treeID: UInt64
    package let logical: UInt64
    package let level: UInt8
    package let generation: UInt64

    package init(treeID: UInt64, logical: UInt64, level: UInt8, generation: UInt64) {
        self.treeID = treeID
        self.logical = logical
        self.level = level
        self.generation = generation
    }
}

extension SuperBlock {
    package var rootTreeRoot: TreeRoot {
        TreeRoot(
            treeID: ObjectID.rootTree,
            logical: root,
            level: rootLevel,
            generation: generation
        )
    }

    package var chunkTreeRoot: TreeRoot {
        TreeRoot(
            treeID: ObjectID.chunkTree,
            logical: chunkRoot,
            level: chunkRootLevel,
            generation: chunkRootGeneration
        )
    }
}

package struct TreeCursor {
    private struct Step {
        let block: TreeBlock
        var slot: Int
        /// Every key below this block is under this one; nil in the last block of its level.
        let upperBound: Key?
    }

    private let blocks: any TreeBlockProvider
    private let root: TreeRoot
    /// From the root down; the last step is a leaf while the cursor stands on an item.
    private var path: [Step] = []
    private var blocksLeft: Int

    package init(_ blocks: any TreeBlockProvider, _ root: TreeRoot) {
        self.blocks = blocks
        self.root = root
        blocksLeft = blocks.geometry.blocksMax
        path.reserveCapacity(TreeBlock.Layout.levelsMax)
    }

    /// The leaf and slot of the item the cursor stands on.
    ///
    /// Valid only after `seek` or `next` returned true.
    package var leaf: TreeBlock { path[path.count - 1].block }
    package var slot: Int { path[path.count - 1].slot }
    package var key: Key { leaf.key(slot) }

    /// Calls `body` with the data of the item the cursor stands on.
    package func withItem<Result>(
        _ body: (RawSpan) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try leaf.withItem(slot, body)
    }

    /// Moves to the first item whose key is `key` or above.
    ///
    /// - Returns: false when the tree has none; the cursor then stands nowhere.
    /// - Complexity: one block a level, mostly from the provider's cache
    package mutating func seek(_ key: Key) throws(FilesystemError) -> Bool {
        let slot = try descend(to: key)
        return slot < leaf.itemCount ? true : try nextLeaf()
    }

    /// Moves to the last item whose key is `key` or below.
    ///
    /// - Returns: false when the tree has none; the cursor then stands nowhere.
    /// - Complexity: one block a level, mostly from the provider's cache
    package mutating func seekLast(atOrBelow key: Key) throws(FilesystemError) -> Bool {
        let slot = try descend(to: key)
        if slot < leaf.itemCount, leaf.key(slot) == key { return true }
        // A leaf begins at or below the key unless every key of the tree is above it.
        guard slot > 0 else {
            path.removeAll(keepingCapacity: true)
            return false
        }
        path[path.count - 1].slot = slot - 1
        return true
    }

    /// Goes down to the leaf that may hold `key`.
    ///
    /// - Returns: the first slot at or above it, which may be behind the leaf's last.
    private mutating func descend(to key: Key) throws(FilesystemError) -> Int {
        path.removeAll(keepingCapacity: true)
        blocksLeft = blocks.geometry.blocksMax
        var block = try blocks.block(.root(of: root))
        var upperBound: Key?
        while !block.isLeaf {
            // The child that may hold `key` is the last one that starts at or below it.
            var slot = block.lowerBound(key)
            if slot == block.itemCount || block.key(slot) != key {
                slot = slot > 0 ? slot - 1 : 0
            }
            path.append(Step(block: block, slot: slot, upperBound: upperBound))
            (block, upperBound) = try child(of: path[path.count - 1])
        }
        let slot = block.lowerBound(key)
        path.append(Step(block: block, slot: slot, upperBound: upperBound))
        return slot
    }

    /// Moves to the next item.
    ///
    /// - Returns: false behind the last one; the cursor then stands nowhere.
    package mutating func next() throws(FilesystemError) -> Bool {
        guard let last = path.indices.last else { return false }
        path[last].slot += 1
        return path[last].slot < path[last].block.itemCount ? true : try nextLeaf()
    }

    /// Leaves the used-up leaf at the end of the path for the first item of the next one.
    private mutating func nextLeaf() throws(FilesystemError) -> Bool {
        path.removeLast()
        while let last = path.indices.last {
            path[last].slot += 1
            if path[last].slot < path[last].block.itemCount { break }
            path.removeLast()
        }
        guard !path.isEmpty else { return false }
        while !path[path.count - 1].block.isLeaf {
            guard blocksLeft > 0 else {
                throw FilesystemError(
                    .corrupt,
                    "tree",
                    "has more blocks than the file system uses",
                    root: root.treeID,
                    logical: root.logical
                )
            }
            blocksLeft -= 1
            let (block, upperBound) = try child(of: path[path.count - 1])
            path.append(Step(block: block, slot: 0, upperBound: upperBound))
        }
        // Only a root may be empty (checked on reading), and a root has no next leaf.
        return true
    }

    /// Reads the child that `step` points at; with it comes the bound that its keys stay under.
    private func child(of step: Step) throws(FilesystemError) -> (TreeBlock, Key?) {
        let parent = step.block
        let isLast = step.slot + 1 == parent.itemCount
        let upperBound = isLast ? step.upperBound : parent.key(step.slot + 1)
        let block = try blocks.block(
            BlockExpectation(
                logical: parent.childLogical(step.slot),
                level: parent.level - 1,
                generation: parent.childGeneration(step.slot),
                treeID: root.treeID,
                firstKey: parent.key(step.slot),
                upperBound: upperBound
            )
        )
        return (block, upperBound)
    }
}
