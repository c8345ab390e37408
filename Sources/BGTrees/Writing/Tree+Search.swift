//===-- Tree+Search.swift - from the root to a key, and making the way there changeable ---------===//
// A search reads. Only when it is known that something will change are the blocks on the path
// copied, from the root down, so that each copy's parent can be pointed at it at once: whatever
// fails on the way, the tree is whole.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension Tree {
    /// Sets `path` to the item with this key, or to where it would be inserted.
    ///
    /// - Returns: whether there is such an item.
    func find(_ key: Key, _ path: inout TreePath) throws(FilesystemError) -> Bool {
        if let last = lastPath, lastGeneration == space.generation, last.covers(key) {
            path = last
        } else {
            try descend(to: key, &path)
        }
        path.slot = path.leaf.lowerBound(key)
        return path.slot < path.leaf.itemCount && path.leaf.key(path.slot) == key
    }

    /// Sets `path` to the first item at or above a key.
    ///
    /// - Returns: false when there is none.
    func findFirst(atOrAbove key: Key, _ path: inout TreePath) throws(FilesystemError) -> Bool {
        if try find(key, &path) { return true }
        if path.slot < path.leaf.itemCount { return true }
        guard let next = path.upperBound else { return false }
        return try find(next, &path)
    }

    /// Sets `path` to the leaf that is the place for `key`, slot 0.
    private func descend(to key: Key, _ path: inout TreePath) throws(FilesystemError) {
        path.clear()
        var block = try space.block(.root(of: root))
        var upperBound: Key?
        path.set(Int(block.level), block, slot: 0)
        while !block.isLeaf {
            // The child that may hold `key` is the last one that starts at or below it.
            var slot = block.lowerBound(key)
            if slot == block.itemCount || block.key(slot) != key {
                slot = slot > 0 ? slot - 1 : 0
            }
            path.set(Int(block.level), block, slot: slot)
            block = try child(of: block, slot, &upperBound)
            path.set(Int(block.level), block, slot: 0)
        }
    }

    /// Reads a child of a node whose keys are all under `upperBound`, which becomes the child's.
    private func child(
        of node: TreeBlock,
        _ slot: Int,
        _ upperBound: inout Key?
    ) throws(FilesystemError) -> TreeBlock {
        if slot + 1 < node.itemCount { upperBound = node.key(slot + 1) }
        return try space.block(
            BlockExpectation(
                logical: node.childLogical(slot),
                level: node.level - 1,
                generation: node.childGeneration(slot),
                treeID: treeID,
                firstKey: node.key(slot),
                upperBound: upperBound
            )
        )
    }

    /// Reads the child in `slot` of the path's node on `level`, which need not be the path's own.
    func neighbour(
        _ path: borrowing TreePath,
        level: Int,
        slot: Int
    ) throws(FilesystemError) -> TreeBlock {
        // A bound from further up would be right only for the last child; without it the check is
        // weaker, and what the path's own descent checked stands.
        var upperBound: Key?
        return try child(of: path[level], slot, &upperBound)
    }

    /// Makes every block of the path one of the running transaction.
    func makeChangeable(_ path: inout TreePath) throws(FilesystemError) {
        let generation = space.generation
        // Invariant 3: then those above are, too.
        guard path.leaf.generation != generation else { return }
        lastPath = nil
        var level = path.rootLevel
        while level >= 0 {
            if path[level].generation != generation {
                let copy = try space.blockForChange(path[level], of: self)
                if level == path.rootLevel {
                    setRoot(copy)
                } else {
                    path[level + 1].setChild(path.slot(level + 1), copy)
                }
                path.replace(level, copy)
            }
            level -= 1
        }
    }

    /// Makes a child of the path's node on `level` one of the running transaction; the node is.
    func makeChangeable(
        _ child: TreeBlock,
        _ path: borrowing TreePath,
        level: Int,
        slot: Int
    ) throws(FilesystemError) -> TreeBlock {
        guard child.generation != space.generation else { return child }
        let copy = try space.blockForChange(child, of: self)
        path[level].setChild(slot, copy)
        return copy
    }

    /// Keeps a path whose leaf was just changed for the next call.
    func remember(_ path: TreePath) {
        lastPath = path
        lastGeneration = space.generation
    }

    /// The first key of the path's block on `level` may have changed: tells those above.
    func updateKeysAbove(_ path: borrowing TreePath, level: Int, firstKey: Key) {
        var above = level + 1
        while above <= path.rootLevel {
            path[above].setKey(path.slot(above), firstKey)
            guard path.slot(above) == 0 else { return }
            above += 1
        }
    }
}
