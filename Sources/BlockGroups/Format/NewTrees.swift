//===-- NewTrees.swift - the trees of an empty file system ----------------------------------------===//
// What TreeStore does not make by itself: the tree of files, the tree that relocation moves data
// through, the tree of UUIDs, and the directory of the root tree.
//
// Locks: the tree mutex, inside `TreeStore.change`.

import BGDevices
import BGDiskFormat
import BGTrees

struct NewTrees {
    private let transaction: Transaction
    private let time: InodeTime

    init(_ transaction: Transaction) {
        self.transaction = transaction
        let now = Clock.now()
        time = InodeTime(seconds: now.seconds, nanoseconds: now.nanoseconds)
    }

    func create() throws(FilesystemError) {
        let uuid = try FilesystemUUID.random()
        try createSubvolume(ObjectID.filesystemTree, uuid)
        try createSubvolume(ObjectID.dataRelocationTree, .zero)
        try createUUIDTree(naming: uuid)
        try fillRootTreeDirectory()
    }

    /// A tree with an empty root directory, object id 256.
    private func createSubvolume(
        _ treeID: UInt64,
        _ uuid: FilesystemUUID
    ) throws(FilesystemError) {
        var item = rootItem(treeID)
        item.rootDirectory = ObjectID.firstFree
        item.uuid = uuid
        item.creationGeneration = transaction.generation
        let moment = RootItem.Time(
            seconds: UInt64(bitPattern: time.seconds),
            nanoseconds: time.nanoseconds
        )
        item.creationTime = moment
        item.changeTime = moment
        let tree = try transaction.createTree(treeID, item)
        try insertRootDirectory(ObjectID.firstFree, in: tree)
    }

    /// Finds the tree of files by its UUID.
    private func createUUIDTree(naming uuid: FilesystemUUID) throws(FilesystemError) {
        let tree = try transaction.createTree(ObjectID.uuidTree, rootItem(ObjectID.uuidTree))
        var value: [UInt8] = []
        value.append(littleEndian: ObjectID.filesystemTree)
        // The two halves of the UUID's bytes, read as numbers.
        try tree.insert(Key(uuid.high.byteSwapped, .uuidSubvolume, uuid.low.byteSwapped), value)
    }

    /// The directory of the root tree, whose entry "default" says which tree a mount shows.
    private func fillRootTreeDirectory() throws(FilesystemError) {
        let tree = try transaction.tree(ObjectID.rootTree)
        let directory = ObjectID.rootTreeDirectory
        try insertRootDirectory(directory, in: tree)
        let name = [UInt8]("default".utf8)
        let entry = DirectoryItem(
            location: Key(ObjectID.filesystemTree, .rootItem, .max),
            transid: transaction.generation,
            type: DirectoryItem.typeDirectory,
            name: name
        )
        try tree.insert(Key(directory, .dirItem, NameHash.directoryItem(name)), entry.encoded)
        let reference = InodeRef(directory: directory, index: 0, name: name)
        try tree.insert(
            Key(ObjectID.filesystemTree, .inodeRef, directory),
            reference.encoded
        )
    }

    /// A directory that is its own parent.
    private func insertRootDirectory(
        _ inode: UInt64,
        in tree: Tree
    ) throws(FilesystemError) {
        var item = InodeItem(
            generation: transaction.generation,
            mode: InodeItem.modeDirectory | 0o755,
            owner: 0,
            group: 0,
            time: time
        )
        // As mkfs.btrfs has it: the tree's one leaf.
        item.byteCount = UInt64(transaction.geometry.limits.nodeSize)
        try tree.insert(Key(inode, .inodeItem, 0), item.encoded)
        let reference = InodeRef(directory: inode, index: 0, name: [0x2e, 0x2e])
        try tree.insert(Key(inode, .inodeRef, inode), reference.encoded)
    }

    private func rootItem(_ treeID: UInt64) -> RootItem {
        RootItem(
            creating: treeID,
            generation: transaction.generation,
            nodeSize: transaction.geometry.limits.nodeSize
        )
    }
}
