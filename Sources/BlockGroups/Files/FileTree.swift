//===-- FileTree.swift - files and directories as a subvolume's tree records them ----------------===//
// Looks things up: inodes, names, paths, the parts of a file. Everything comes out of the tree each
// time; nothing is remembered.
//
// Locks: on trees that may change, the tree mutex is held around every call.
// Not here: changing (FileChange.swift), the data of files.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat
package import BGTrees

/// One EXTENT_DATA item of a file.
package struct FileExtent {
    /// Where in the file it begins.
    package var start: UInt64
    package var item: FileExtentItem
    /// Where the data of an inline item reaches; otherwise the end of the part.
    package var end: UInt64 { start + item.length }
}

/// A subvolume's tree, for reading.
package struct FileTree {
    /// Inode of the top directory of every subvolume.
    package static let rootDirectory = ObjectID.firstFree

    package let blocks: any TreeBlockProvider
    package let root: TreeRoot

    package init(_ blocks: any TreeBlockProvider, _ root: TreeRoot) {
        self.blocks = blocks
        self.root = root
    }

    var limits: FormatLimits { blocks.geometry.limits }

    // MARK: items

    /// Calls `body` with the item of this key; nil: there is none.
    func withItem<Result>(
        _ key: Key,
        _ body: (RawSpan) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result? {
        var cursor = TreeCursor(blocks, root)
        guard try cursor.seek(key), cursor.key == key else { return nil }
        return try located(cursor) { () throws(FilesystemError) in try cursor.withItem(body) }
    }

    /// Visits the items from `low` on whose object and type are the same; `body` returns false to stop.
    func forEachItem(
        from low: Key,
        _ body: (Key, RawSpan) throws(FilesystemError) -> Bool
    ) throws(FilesystemError) {
        var cursor = TreeCursor(blocks, root)
        var found = try cursor.seek(low)
        while found {
            let key = cursor.key
            guard key.objectid == low.objectid, key.type == low.type else { return }
            let goesOn = try located(cursor) { () throws(FilesystemError) in
                try cursor.withItem { (data) throws(FilesystemError) in try body(key, data) }
            }
            guard goesOn else { return }
            found = try cursor.next()
        }
    }

    private func located<Result>(
        _ cursor: TreeCursor,
        _ body: () throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        do throws(FilesystemError) {
            return try body()
        } catch {
            guard error.code == .corrupt else { throw error }
            throw error.located(
                root: root.treeID,
                logical: cursor.leaf.logical,
                slot: cursor.slot
            )
        }
    }

    // MARK: inodes and names

    /// - Throws: `.corrupt` where there is none: something led here.
    package func inode(_ number: UInt64) throws(FilesystemError) -> InodeItem {
        let key = Key(number, .inodeItem, 0)
        let limits = limits
        let found = try withItem(key) { (data) throws(FilesystemError) in
            try InodeItem(key: key, data, limits)
        }
        guard let found else {
            throw FilesystemError(
                .corrupt,
                "directory",
                "leads to inode %, which is not there",
                number,
                root: root.treeID
            )
        }
        return found
    }

    /// The entry of this name; nil: there is none.
    package func entry(
        named name: [UInt8],
        in directory: UInt64
    ) throws(FilesystemError) -> DirectoryItem? {
        let key = Key(directory, .dirItem, NameHash.directoryItem(name))
        let entries = try withItem(key) { (data) throws(FilesystemError) in
            try DirectoryItem.entries(key: key, data)
        }
        guard let entries else { return nil }
        for entry in entries where entry.name == name { return entry }
        return nil
    }

    /// The inode that the names lead to.
    ///
    /// - Throws: `.notFound`; ENOTDIR, ELOOP; `.unsupported` where another subvolume begins.
    package func resolve(_ names: ArraySlice<[UInt8]>) throws(FilesystemError) -> UInt64 {
        var inode = FileTree.rootDirectory
        var isDirectory = true
        for name in names {
            guard isDirectory else {
                throw FilesystemError(.system(Errno.notADirectory), "path", "not a directory")
            }
            guard let entry = try entry(named: name, in: inode) else {
                throw FilesystemError(.notFound, "path", "no such file or directory")
            }
            try FileTree.checkIsInode(entry)
            inode = entry.location.objectid
            isDirectory = entry.type == DirectoryItem.typeDirectory
        }
        return inode
    }

    /// The directory that the names lead to.
    package func resolveDirectory(
        _ names: ArraySlice<[UInt8]>
    ) throws(FilesystemError) -> UInt64 {
        let number = try resolve(names)
        // Asked of the inode, since the top directory has no entry that says so.
        let isDirectory = try inode(number).isDirectory
        guard isDirectory else {
            throw FilesystemError(.system(Errno.notADirectory), "path", "not a directory")
        }
        return number
    }

    /// - Throws: `.unsupported` where the entry leads into another subvolume.
    static func checkIsInode(_ entry: DirectoryItem) throws(FilesystemError) {
        guard entry.location.type == .inodeItem else {
            throw FilesystemError(
                .unsupported,
                "path",
                "subvolume % begins here",
                entry.location.objectid
            )
        }
    }

    /// Up to `limit` entries of a directory in the order of their creation, those with `index` and
    /// above.
    package func entries(
        of directory: UInt64,
        from index: UInt64,
        limit: Int
    ) throws(FilesystemError) -> [(index: UInt64, item: DirectoryItem)] {
        var found: [(index: UInt64, item: DirectoryItem)] = []
        try forEachItem(from: Key(directory, .dirIndex, index)) {
            (key, data) throws(FilesystemError) in
            found.append((key.offset, try DirectoryItem.entries(key: key, data)[0]))
            return found.count < limit
        }
        return found
    }

    package func isEmptyDirectory(_ directory: UInt64) throws(FilesystemError) -> Bool {
        try entries(of: directory, from: 0, limit: 1).isEmpty
    }

    /// The name by which `directory` refers to `inode`: its number in the directory, and whether it
    /// stands in an extended item; nil: there is none.
    package func reference(
        to inode: UInt64,
        named name: [UInt8],
        in directory: UInt64
    ) throws(FilesystemError) -> (ref: InodeRef, isExtended: Bool)? {
        let key = Key(inode, .inodeRef, directory)
        let plain = try withItem(key) { (data) throws(FilesystemError) in
            try InodeRef.entries(key: key, data)
        }
        for ref in plain ?? [] where ref.name == name { return (ref, false) }
        let hash = NameHash.extendedRef(directory: directory, name)
        let extendedKey = Key(inode, .inodeExtendedRef, hash)
        let extended = try withItem(extendedKey) { (data) throws(FilesystemError) in
            try InodeRef.extendedEntries(key: extendedKey, data)
        }
        for ref in extended ?? [] where ref.name == name && ref.directory == directory {
            return (ref, true)
        }
        return nil
    }

    /// The directory that holds a directory. The top one holds itself.
    package func parent(ofDirectory directory: UInt64) throws(FilesystemError) -> UInt64 {
        var parent: UInt64?
        try forEachItem(from: Key(directory, .inodeRef, 0)) { (key, _) throws(FilesystemError) in
            parent = key.offset
            return false
        }
        guard let parent else {
            throw FilesystemError(
                .corrupt,
                "directory",
                "% lies in none",
                directory,
                root: root.treeID
            )
        }
        return parent
    }

    // MARK: the parts of files

    /// The extents of a file that touch `start..<end`, in order; at most `limit`.
    package func extents(
        of inode: UInt64,
        from start: UInt64,
        to end: UInt64,
        limit: Int = .max
    ) throws(FilesystemError) -> [FileExtent] {
        var found: [FileExtent] = []
        guard start < end else { return found }
        let limits = limits
        var cursor = TreeCursor(blocks, root)
        // The extent that `start` lies in begins at or before it.
        var exists = try cursor.seekLast(atOrBelow: Key(inode, .extentData, start))
        if exists, cursor.key.objectid != inode || cursor.key.type != .extentData {
            exists = try cursor.next()
        } else if !exists {
            exists = try cursor.seek(Key(inode, .extentData, 0))
        }
        var lastEnd: UInt64 = 0
        while exists, found.count < limit {
            let key = cursor.key
            guard key.objectid == inode, key.type == .extentData, key.offset < end else { break }
            let extent = try located(cursor) { () throws(FilesystemError) in
                try cursor.withItem { (data) throws(FilesystemError) in
                    FileExtent(
                        start: key.offset,
                        item: try FileExtentItem(key: key, data, limits)
                    )
                }
            }
            guard extent.start >= lastEnd else {
                throw FilesystemError(
                    .corrupt,
                    "file extent",
                    "at % overlaps the one before",
                    extent.start,
                    root: root.treeID,
                    logical: cursor.leaf.logical,
                    slot: cursor.slot
                )
            }
            lastEnd = extent.end
            if extent.end > start { found.append(extent) }
            exists = try cursor.next()
        }
        return found
    }

    /// The bytes of a file whose data is inline; nil: it is not, or is empty.
    ///
    /// - Parameter size: the file's. An item may have bytes behind its end: mkfs.btrfs puts a zero behind
    ///   the target of a symbolic link.
    /// - Throws: `.unsupported` where they are compressed.
    package func inlineData(
        of inode: UInt64,
        size: UInt64
    ) throws(FilesystemError) -> [UInt8]? {
        let key = Key(inode, .extentData, 0)
        let limits = limits
        let found = try withItem(key) { (data) throws(FilesystemError) -> [UInt8]? in
            let item = try FileExtentItem(key: key, data, limits)
            guard item.kind == .inline else { return nil }
            try item.checkNotCompressed()
            let count = min(Int(clamping: size), item.inlineBytes)
            return data.bytes(FileExtentItem.headerBytes..<FileExtentItem.headerBytes + count)
        }
        return found ?? nil
    }

    // MARK: extended attributes

    /// The value of an attribute; nil: there is none.
    package func attribute(
        named name: [UInt8],
        of inode: UInt64
    ) throws(FilesystemError) -> [UInt8]? {
        let key = Key(inode, .extendedAttribute, NameHash.directoryItem(name))
        let entries = try withItem(key) { (data) throws(FilesystemError) in
            try DirectoryItem.entries(key: key, data)
        }
        for entry in entries ?? [] where entry.name == name { return entry.value }
        return nil
    }

    /// The names of all attributes.
    package func attributeNames(of inode: UInt64) throws(FilesystemError) -> [[UInt8]] {
        var names: [[UInt8]] = []
        try forEachItem(from: Key(inode, .extendedAttribute, 0)) {
            (key, data) throws(FilesystemError) in
            for entry in try DirectoryItem.entries(key: key, data) { names.append(entry.name) }
            return true
        }
        return names
    }
}

extension FileExtentItem {
    /// - Throws: `.unsupported`
    func checkNotCompressed() throws(FilesystemError) {
        guard compression == 0 else {
            throw FilesystemError(
                .unsupported,
                "file extent",
                "compressed by method %",
                UInt64(compression),
                logical: logical
            )
        }
    }
}
