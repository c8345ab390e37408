//===-- Tree.swift - one tree that can be changed -----------------------------------------------===//
// Search, insert, change, remove, by key; blocks are copied on their first change in a transaction,
// split when full, merged or evened out when they run empty.
//
// Locks: the tree mutex is held around every call.
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
    package private(set) var root: TreeRoot
    package let space: any TreeSpace

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
        preconditionFailure("not built yet")
    }

    /// Most bytes that one item may have.
    package var itemBytesMax: Int { preconditionFailure("not built yet") }

    /// Calls `body` with the data of the item with this key; nil: there is none.
    package func withItem<Result>(
        _ key: Key,
        _ body: (RawSpan) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result? {
        preconditionFailure("not built yet")
    }

    /// A copy of the item with this key; nil: there is none.
    package func item(_ key: Key) throws(FilesystemError) -> [UInt8]? {
        preconditionFailure("not built yet")
    }

    /// The first item at or above a key, and the last one at or below it.
    package func first(atOrAbove key: Key) throws(FilesystemError) -> TreeItem? {
        preconditionFailure("not built yet")
    }
    package func last(atOrBelow key: Key) throws(FilesystemError) -> TreeItem? {
        preconditionFailure("not built yet")
    }

    /// Visits the items from `low` through `high` in order; `body` returns false to stop, and must
    /// not change the tree.
    package func forEach(
        from low: Key,
        through high: Key,
        _ body: (Key, RawSpan) throws(FilesystemError) -> Bool
    ) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Adds an item. - Throws: `.exists`, and what TreeSpace throws.
    package func insert(_ key: Key, _ data: [UInt8]) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Gives an item other data, of any length. - Throws: `.notFound`, ...
    package func replace(_ key: Key, _ data: [UInt8]) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Changes an item's bytes in place. - Throws: `.notFound`, ...
    package func change(
        _ key: Key,
        _ body: (inout MutableRawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Removes an item. - Throws: `.notFound`, ...
    package func remove(_ key: Key) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Removes every item from `low` through `high`. - Returns: how many there were.
    @discardableResult
    package func removeAll(from low: Key, through high: Key) throws(FilesystemError) -> Int {
        preconditionFailure("not built yet")
    }
}
