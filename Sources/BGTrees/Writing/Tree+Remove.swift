//===-- Tree+Remove.swift - removing items, and letting go of blocks that run empty -------------===//
// Removing needs no new block but for the copies of the path, and never fails half-way. Merging what
// is left with a neighbour is done when it can be had; where it cannot, for want of space, say, the
// block stays sparse.
//
// A block is unlinked first and freed then, so that the tree is whole whatever freeing says.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

extension Tree {
    /// Removes an item.
    ///
    /// - Throws: `.notFound`; what TreeSpace throws, and then the item is still there (see Tree.swift
    ///   for the one exception).
    package func remove(_ key: Key) throws(FilesystemError) {
        var path = TreePath()
        try findExisting(key, &path)
        try makeChangeable(&path)
        try removeItems(&path, path.slot..<(path.slot + 1))
    }

    /// Removes every item from `low` through `high`, a leaf at a time, in order.
    ///
    /// - Returns: how many there were.
    /// - Throws: what TreeSpace throws; items that were removed before that stay removed, and
    ///   calling again goes on with the rest.
    @discardableResult
    package func removeAll(from low: Key, through high: Key) throws(FilesystemError) -> Int {
        var count = 0
        // Ends, because each round but the last removes an item.
        while true {
            var path = TreePath()
            guard try findFirst(atOrAbove: low, &path) else { return count }
            let leaf = path.leaf
            var end = leaf.lowerBound(high)
            if end < leaf.itemCount && leaf.key(end) == high { end += 1 }
            guard path.slot < end else { return count }
            try makeChangeable(&path)
            count += end - path.slot
            try removeItems(&path, path.slot..<end)
        }
    }

    /// Removes items of the path's leaf, all of whose blocks are changeable.
    private func removeItems(
        _ path: inout TreePath,
        _ slots: Range<Int>
    ) throws(FilesystemError) {
        let leaf = path.leaf
        leaf.removeItems(slots)
        if leaf.itemCount > 0 {
            if slots.lowerBound == 0 { updateKeysAbove(path, level: 0, firstKey: leaf.key(0)) }
            remember(path)
            try mergeIfSparse(&path)
        } else if path.rootLevel > 0 {
            try unlink(&path, level: 0)
        }
    }

    /// Merges the path's leaf with a neighbour if less than a third of it is in use.
    func mergeIfSparse(_ path: inout TreePath) throws(FilesystemError) {
        if path.leaf.bytesUsed < path.leaf.dataSize / 3 { try merge(&path, level: 0) }
    }

    /// Moves everything in the path's block on `level` into a neighbour if one has the room.
    private func merge(_ path: inout TreePath, level: Int) throws(FilesystemError) {
        guard level < path.rootLevel else { return }
        let block = path[level]
        let own = path.slot(level + 1)
        let parent = path[level + 1]
        for slot in [own - 1, own + 1] where slot >= 0 && slot < parent.itemCount {
            guard let beside = changeableNeighbour(path, level: level, slot: slot) else { continue }
            lastPath = nil
            let at = slot < own ? beside.itemCount : 0
            if block.isLeaf {
                block.moveItems(0..<block.itemCount, to: beside, at: at)
            } else {
                block.movePointers(0..<block.itemCount, to: beside, at: at)
            }
            // The block's range now starts the neighbour's; unlinking moves that into its place.
            if slot > own { parent.setKey(slot, beside.key(0)) }
            return try unlink(&path, level: level)
        }
    }

    /// The neighbour in `slot` of the parent, changeable, if it has room for all of the block's
    /// entries. Merging is not needed, so whatever fails here is a reason not to; where it was
    /// damage, who needs the block will be told.
    private func changeableNeighbour(
        _ path: borrowing TreePath,
        level: Int,
        slot: Int
    ) -> TreeBlock? {
        let block = path[level]
        do throws(FilesystemError) {
            let beside = try neighbour(path, level: level + 1, slot: slot)
            let fits =
                block.isLeaf
                ? block.bytesUsed <= beside.bytesFree
                : block.itemCount + beside.itemCount <= beside.pointersMax
            guard fits else { return nil }
            return try makeChangeable(beside, path, level: level + 1, slot: slot)
        } catch {
            return nil
        }
    }

    /// Takes the path's block on `level`, which has no entries, out of the tree, and every node
    /// above it that only led there.
    private func unlink(_ path: inout TreePath, level: Int) throws(FilesystemError) {
        lastPath = nil
        var above = level + 1
        while above <= path.rootLevel && path[above].itemCount == 1 { above += 1 }
        if above > path.rootLevel {
            // Nothing else is in the tree: the empty leaf becomes the root.
            precondition(level == 0)
            setRoot(path.leaf)
            return try free(path, levels: 1..<above)
        }
        let node = path[above]
        let slot = path.slot(above)
        node.removePointers(slot..<(slot + 1))
        if slot == 0 { updateKeysAbove(path, level: above, firstKey: node.key(0)) }
        try free(path, levels: level..<above)
        if above == path.rootLevel {
            try removeLevels(&path)
        } else if node.itemCount < node.pointersMax / 3 {
            try merge(&path, level: above)
        }
    }

    /// Frees the path's blocks on some levels; what fails does not keep the others from it.
    private func free(
        _ path: borrowing TreePath,
        levels: Range<Int>
    ) throws(FilesystemError) {
        var failure: FilesystemError?
        for level in levels {
            do throws(FilesystemError) {
                try space.freeBlock(path[level], of: self)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// A root with a single child gives way to it; the child itself is not changed.
    private func removeLevels(_ path: inout TreePath) throws(FilesystemError) {
        var old = path[path.rootLevel]
        // Ends, because each round removes a level.
        while old.itemCount == 1 && !old.isLeaf {
            root = TreeRoot(
                treeID: treeID,
                logical: old.childLogical(0),
                level: old.level - 1,
                generation: old.childGeneration(0)
            )
            try space.freeBlock(old, of: self)
            guard let next = changeableSingleChildRoot() else { return }
            old = next
        }
    }

    /// The root, changeable, where it too has one child. Losing a level is not needed: see
    /// `changeableNeighbour`.
    private func changeableSingleChildRoot() -> TreeBlock? {
        do throws(FilesystemError) {
            var block = try space.block(.root(of: root))
            guard block.itemCount == 1 && !block.isLeaf else { return nil }
            if block.generation != space.generation {
                block = try space.blockForChange(block, of: self)
                setRoot(block)
            }
            return block
        } catch {
            return nil
        }
    }
}
