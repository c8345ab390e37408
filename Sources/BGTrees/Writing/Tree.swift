//===-- Tree.swift - one tree that can be changed -----------------------------------------------===//
// Items by key: finding them here and in Tree+Search, changing them in Tree+Insert and Tree+Remove.
// A block that an earlier transaction wrote is copied before its first change, and every block above
// it (Tree+Search); leaves and nodes are evened out, split and merged (Tree+Leaves, Tree+Nodes).
//
// Invariants, between calls:
//   1. Only a root is ever empty, and then it is a leaf. A root that is a node has two children or
//      more, unless it came so from elsewhere or its child could not be read.
//   2. A parent's key for a child is the child's first key.
//   3. A block of the running generation has only such blocks above it.
//   4. `lastPath`, unless nil, leads to a leaf of generation `lastGeneration` as the tree is now.
//
// When a call throws: the tree is whole, and holds what it held before (removeAll: less the items
// that are gone already). Blocks may have been copied and split meanwhile, which changes no item.
// One exception: when the space fails to free a block that the tree has already let go of, the call
// is done and throws; the space then knows a block too many and must not commit that.
//
// Locks: the tree mutex is held around every call. A body given to withItem, forEach or change may
// read this tree and others, but change none.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

/// An item and a copy of its data.
package struct TreeItem: Equatable, Sendable {
    package var key: Key
    package var data: [UInt8]

    package init(key: Key, data: [UInt8]) {
        self.key = key
        self.data = data
    }
}

package final class Tree {
    package let treeID: UInt64
    /// Where the tree begins now; changes with the first change in each transaction.
    package internal(set) var root: TreeRoot
    package let space: any TreeSpace

    /// The path of the last change, for the next one near it.
    var lastPath: TreePath?
    var lastGeneration: UInt64 = 0

    /// A tree that exists.
    package init(_ root: TreeRoot, in space: any TreeSpace) {
        treeID = root.treeID
        self.root = root
        self.space = space
    }

    /// A new tree: one empty leaf.
    package convenience init(
        creating treeID: UInt64,
        in space: any TreeSpace
    ) throws(FilesystemError) {
        self.init(TreeRoot(treeID: treeID, logical: 0, level: 0, generation: 0), in: space)
        setRoot(try space.allocateBlock(of: self, level: 0, hint: 0))
    }

    /// Most bytes that one item may have.
    package var itemBytesMax: Int {
        space.geometry.nodeSize - TreeBlock.Layout.headerSize - TreeBlock.Layout.itemSize
    }

    func setRoot(_ block: TreeBlock) {
        root = TreeRoot(
            treeID: treeID,
            logical: block.logical,
            level: block.level,
            generation: block.generation
        )
    }

    // MARK: reading

    /// Calls `body` with the data of the item with this key; nil: there is none.
    package func withItem<Result>(
        _ key: Key,
        _ body: (RawSpan) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result? {
        var path = TreePath()
        guard try find(key, &path) else { return nil }
        return try path.leaf.withItem(path.slot, body)
    }

    /// A copy of the item with this key; nil: there is none.
    package func item(_ key: Key) throws(FilesystemError) -> [UInt8]? {
        var path = TreePath()
        guard try find(key, &path) else { return nil }
        return path.leaf.itemData(path.slot)
    }

    /// The first item at or above a key; nil: there is none.
    package func first(atOrAbove key: Key) throws(FilesystemError) -> TreeItem? {
        var path = TreePath()
        guard try findFirst(atOrAbove: key, &path) else { return nil }
        return TreeItem(key: path.leaf.key(path.slot), data: path.leaf.itemData(path.slot))
    }

    /// The last item at or below a key; nil: there is none.
    package func last(atOrBelow key: Key) throws(FilesystemError) -> TreeItem? {
        var path = TreePath()
        // Where the key is not in the leaf it belongs to, the item before is: a leaf starts at or
        // below every key that is looked for there, but for the first leaf of all.
        if !(try find(key, &path)) {
            guard path.slot > 0 else { return nil }
            path.slot -= 1
        }
        return TreeItem(key: path.leaf.key(path.slot), data: path.leaf.itemData(path.slot))
    }

    /// Visits the items from `low` through `high` in order; `body` returns false to stop, and must
    /// not change the tree.
    package func forEach(
        from low: Key,
        through high: Key,
        _ body: (Key, RawSpan) throws(FilesystemError) -> Bool
    ) throws(FilesystemError) {
        var path = TreePath()
        guard try findFirst(atOrAbove: low, &path) else { return }
        while true {
            let leaf = path.leaf
            for slot in path.slot..<leaf.itemCount {
                let key = leaf.key(slot)
                guard !(high < key) else { return }
                let more = try leaf.withItem(slot) { (data) throws(FilesystemError) in
                    try body(key, data)
                }
                guard more else { return }
            }
            // Ends, because each leaf starts above the one before.
            guard let next = path.upperBound, !(high < next) else { return }
            guard try findFirst(atOrAbove: next, &path) else { return }
        }
    }
}
