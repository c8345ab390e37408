//===-- Tree+Insert.swift - adding items and changing their data --------------------------------===//
// First everything that can fail: finding, copying the path, making room. Then the change of the
// leaf's bytes, which cannot.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

extension Tree {
    /// Adds an item.
    ///
    /// - Throws: `.exists`; `.invalidArgument` where it is longer than `itemBytesMax`; what
    ///   TreeSpace throws. The item was then not added.
    package func insert(_ key: Key, _ data: [UInt8]) throws(FilesystemError) {
        try checkLength(data)
        var path = TreePath()
        guard try !find(key, &path) else {
            throw FilesystemError(
                .exists,
                "tree",
                "has an item with this key",
                root: treeID,
                logical: path.leaf.logical,
                slot: path.slot
            )
        }
        try makeChangeable(&path)
        let room = data.count + TreeBlock.Layout.itemSize
        try makeRoom(&path, PendingItem(key: key, room: room, isNew: true))
        path.leaf.insertItem(path.slot, key, data)
        if path.slot == 0 { updateKeysAbove(path, level: 0, firstKey: key) }
        remember(path)
    }

    /// Gives an item other data, of any length.
    ///
    /// - Throws: `.notFound`; `.invalidArgument` where it is longer than `itemBytesMax`; what
    ///   TreeSpace throws. The item then has the data that it had.
    package func replace(_ key: Key, _ data: [UInt8]) throws(FilesystemError) {
        try checkLength(data)
        var path = TreePath()
        try findExisting(key, &path)
        try makeChangeable(&path)
        let room = data.count - path.leaf.itemRange(path.slot).count
        try makeRoom(&path, PendingItem(key: key, room: room, isNew: false))
        path.leaf.replaceItem(path.slot, data)
        remember(path)
        if room < 0 { try mergeIfSparse(&path) }
    }

    /// Changes an item's bytes in place.
    ///
    /// - Throws: `.notFound`; what TreeSpace throws, and then nothing was changed; what `body`
    ///   throws, and then the bytes are as `body` left them.
    package func change(
        _ key: Key,
        _ body: (inout MutableRawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        var path = TreePath()
        try findExisting(key, &path)
        try makeChangeable(&path)
        remember(path)
        try path.leaf.changeItem(path.slot, body)
    }

    /// Sets `path` to the item with this key. - Throws: `.notFound`
    func findExisting(_ key: Key, _ path: inout TreePath) throws(FilesystemError) {
        guard try find(key, &path) else {
            throw FilesystemError(.notFound, "tree", "has no item with this key", root: treeID)
        }
    }

    private func checkLength(_ data: [UInt8]) throws(FilesystemError) {
        guard data.count <= itemBytesMax else {
            throw FilesystemError(
                .invalidArgument,
                "tree",
                "item of % bytes, at most % fit",
                UInt64(data.count),
                UInt64(itemBytesMax),
                root: treeID
            )
        }
    }
}
