//===-- FileChange.swift - changing a subvolume's inodes and names ------------------------------===//
// One change of the file calls: the running transaction, the subvolume's tree, and what the file calls
// remember. Each method makes one whole step, such as a name in all of its three items.
//
// Nothing here asks whether it should: the plan of a change did (Filesystem.changeFiles).
//
// Locks: the tree mutex is held.
//===-------------------------------------------------------------------------------------------===//

internal import BGDiskFormat
internal import BGTrees

struct FileChange {
    let filesystem: Filesystem
    let transaction: Transaction
    let tree: Tree
    /// The time of this change.
    let time: InodeTime

    init(_ filesystem: Filesystem, _ transaction: Transaction, _ tree: Tree) {
        self.filesystem = filesystem
        self.transaction = transaction
        self.tree = tree
        time = FileTime.now.inodeTime
    }

    var state: OpenFiles { filesystem.openFiles }
    /// The tree as it is now: not to be kept beyond the next change.
    var files: FileTree { FileTree(transaction.store, tree.root) }
    var limits: FormatLimits { transaction.store.geometry.limits }
    var generation: UInt64 { transaction.generation }

    // MARK: inodes

    /// The number that the next new inode gets.
    func takeInodeNumber() throws(FilesystemError) -> UInt64 {
        let next: UInt64
        if let known = state.nextInode {
            next = known
        } else {
            let last = try tree.last(
                atOrBelow: Key(ObjectID.lastFree, KeyType(rawValue: 255), .max)
            )
            next = max(last?.key.objectid ?? 0, FileTree.rootDirectory) + 1
        }
        guard next < ObjectID.lastFree else {
            throw FilesystemError(.noSpace, "subvolume", "has used every inode number")
        }
        state.nextInode = next + 1
        return next
    }

    func insertInode(_ number: UInt64, _ inode: InodeItem) throws(FilesystemError) {
        try tree.insert(Key(number, .inodeItem, 0), inode.encoded)
    }

    /// Changes an inode's item; what changes with every change is set here.
    func updateInode(
        _ number: UInt64,
        _ body: (inout InodeItem) -> Void
    ) throws(FilesystemError) {
        let key = Key(number, .inodeItem, 0)
        let limits = limits
        try tree.change(key) { (data) throws(FilesystemError) in
            var inode = try InodeItem(key: key, data.bytes, limits)
            inode.transid = generation
            inode.sequence &+= 1
            inode.changeTime = time
            body(&inode)
            inode.store(into: &data)
        }
    }

    // MARK: names

    /// A name for an inode: both items of the directory, the reference back, the directory's size.
    func insertName(
        _ name: [UInt8],
        of inode: UInt64,
        type: UInt8,
        in directory: UInt64
    ) throws(FilesystemError) {
        let index = try takeIndex(of: directory)
        let entry = DirectoryItem(
            location: Key(inode, .inodeItem, 0),
            transid: generation,
            type: type,
            name: name
        ).encoded
        try append(entry, to: Key(directory, .dirItem, NameHash.directoryItem(name)))
        try tree.insert(Key(directory, .dirIndex, index), entry)
        try insertReference(InodeRef(directory: directory, index: index, name: name), to: inode)
        try updateInode(directory) {
            $0.size += 2 * UInt64(name.count)
            $0.modificationTime = time
        }
    }

    /// Whether another entry fits beside those of the same hash.
    func checkRoom(
        for name: [UInt8],
        in directory: UInt64
    ) throws(FilesystemError) {
        let key = Key(directory, .dirItem, NameHash.directoryItem(name))
        let used = try tree.withItem(key) { (data) throws(FilesystemError) in data.byteCount } ?? 0
        guard used + DirectoryItem.headerBytes + name.count <= tree.itemBytesMax else {
            throw FilesystemError(
                .system(Errno.overflow),
                "directory",
                "has no room for another name of this hash"
            )
        }
    }

    /// Removes a name from both items of the directory and from the inode's references.
    func removeName(
        _ name: [UInt8],
        of inode: UInt64,
        in directory: UInt64
    ) throws(FilesystemError) {
        guard let (ref, isExtended) = try files.reference(to: inode, named: name, in: directory)
        else {
            throw FilesystemError(
                .corrupt,
                "inode ref",
                "inode % does not know of its name in directory %",
                inode,
                directory,
                root: tree.treeID
            )
        }
        let dirKey = Key(directory, .dirItem, NameHash.directoryItem(name))
        try removeEntry(dirKey) { $0.name == name }
        try tree.remove(Key(directory, .dirIndex, ref.index))
        try removeReference(ref, to: inode, isExtended: isExtended)
        try updateInode(directory) {
            $0.size -= min($0.size, 2 * UInt64(name.count))
            $0.modificationTime = time
        }
    }

    private func takeIndex(of directory: UInt64) throws(FilesystemError) -> UInt64 {
        let index = try nextIndex(of: directory)
        state.setNextIndex(of: directory, index + 1)
        return index
    }

    /// The index that the next name in a directory gets; never the last number.
    ///
    /// - Throws: `.noSpace` where there is none left.
    @discardableResult
    func nextIndex(of directory: UInt64) throws(FilesystemError) -> UInt64 {
        // 0 and 1 stand for "." and "..".
        var index: UInt64 = 2
        if let known = state.nextIndex(of: directory) {
            index = known
        } else if let last = try tree.last(atOrBelow: Key(directory, .dirIndex, .max)),
            last.key.objectid == directory, last.key.type == .dirIndex
        {
            index = max(index, last.key.offset.end(adding: 1) ?? .max)
            state.setNextIndex(of: directory, index)
        }
        guard index < .max else {
            throw FilesystemError(.noSpace, "directory", "% has used every index", directory)
        }
        return index
    }

    /// Adds an entry to an item of entries, which is made where there is none.
    func append(_ entry: [UInt8], to key: Key) throws(FilesystemError) {
        if let others = try tree.item(key) {
            try tree.replace(key, others + entry)
        } else {
            try tree.insert(key, entry)
        }
    }

    /// Removes one entry of a DIR_ITEM or XATTR_ITEM; the item goes with its last one.
    func removeEntry(
        _ key: Key,
        _ isWanted: (DirectoryItem) -> Bool
    ) throws(FilesystemError) {
        let entries = try tree.withItem(key) { (data) throws(FilesystemError) in
            try DirectoryItem.entries(key: key, data)
        }
        var rest: [UInt8] = []
        for entry in entries ?? [] where !isWanted(entry) {
            rest.append(contentsOf: entry.encoded)
        }
        if rest.isEmpty { try tree.remove(key) } else { try tree.replace(key, rest) }
    }

    // MARK: references back

    /// Whether a reference for this name could be added to the inode.
    func canInsertReference(
        named name: [UInt8],
        in directory: UInt64,
        to inode: UInt64
    ) throws(FilesystemError) -> Bool {
        let key = Key(inode, .inodeRef, directory)
        let used = try tree.withItem(key) { (data) throws(FilesystemError) in data.byteCount } ?? 0
        if used + InodeRef.headerBytes + name.count <= tree.itemBytesMax { return true }
        guard limits.incompat.contains(.extendedInodeRef) else { return false }
        let hash = NameHash.extendedRef(directory: directory, name)
        let extended =
            try tree.withItem(Key(inode, .inodeExtendedRef, hash)) {
                (data) throws(FilesystemError) in data.byteCount
            } ?? 0
        return extended + InodeRef.extendedHeaderBytes + name.count <= tree.itemBytesMax
    }

    private func insertReference(_ ref: InodeRef, to inode: UInt64) throws(FilesystemError) {
        let key = Key(inode, .inodeRef, ref.directory)
        guard let others = try tree.item(key) else {
            return try tree.insert(key, ref.encoded)
        }
        let all = others + ref.encoded
        if all.count <= tree.itemBytesMax {
            try tree.replace(key, all)
        } else {
            let hash = NameHash.extendedRef(directory: ref.directory, ref.name)
            try append(ref.extendedEncoded, to: Key(inode, .inodeExtendedRef, hash))
        }
    }

    private func removeReference(
        _ ref: InodeRef,
        to inode: UInt64,
        isExtended: Bool
    ) throws(FilesystemError) {
        let hash = NameHash.extendedRef(directory: ref.directory, ref.name)
        let key =
            isExtended
            ? Key(inode, .inodeExtendedRef, hash) : Key(inode, .inodeRef, ref.directory)
        let all = try tree.withItem(key) { (data) throws(FilesystemError) in
            isExtended
                ? try InodeRef.extendedEntries(key: key, data)
                : try InodeRef.entries(key: key, data)
        }
        var rest: [UInt8] = []
        for other in all ?? [] where other != ref {
            rest.append(contentsOf: isExtended ? other.extendedEncoded : other.encoded)
        }
        if rest.isEmpty { try tree.remove(key) } else { try tree.replace(key, rest) }
    }
}
