//===-- RootItems.swift - trees and their root items ---------------------------------------------===//
// The root tree says where every other tree begins, but for the chunk tree, which the super block
// names as it does the root tree. A commit brings root items up to date once the trees have settled.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension TreeState {
    // MARK: opening

    /// Opens the trees that a committed super block leads to.
    func openCoreTrees() throws(FilesystemError) {
        let root = Tree(superBlock.rootTreeRoot, in: self)
        let chunk = Tree(superBlock.chunkTreeRoot, in: self)
        setCore(
            CoreTrees(
                root: root,
                chunk: chunk,
                extent: try openTree(ObjectID.extentTree, in: root),
                device: try openTree(ObjectID.deviceTree, in: root),
                checksum: try openTree(ObjectID.checksumTree, in: root),
                freeSpace: superBlock.hasValidFreeSpaceTree
                    ? try openTree(ObjectID.freeSpaceTree, in: root) : nil,
                blockGroup: superBlock.compatReadOnly.contains(.blockGroupTree)
                    ? try openTree(ObjectID.blockGroupTree, in: root) : nil
            )
        )
    }

    /// Opens the tree of files too, where there is one: the super block's backup roots name it.
    func openFilesystemTree() throws(FilesystemError) {
        do throws(FilesystemError) {
            _ = try openTree(ObjectID.filesystemTree)
        } catch {
            guard error.code == .notFound else { throw error }
        }
    }

    /// A balance that was interrupted leaves relocation trees, whose blocks carry references of a kind
    /// that only relocation keeps right.
    func refuseRelocation() throws(FilesystemError) {
        let relocationTree = UInt64(bitPattern: -8)
        let found = try trees.root.first(atOrAbove: Key(relocationTree, .rootItem, 0))
        guard found?.key.objectid != relocationTree || found?.key.type != .rootItem else {
            throw FilesystemError(.unsupported, "tree", "a balance was interrupted")
        }
    }

    /// The tree that the root tree names so, opened at most once.
    func openTree(
        _ treeID: UInt64,
        in rootTree: Tree? = nil
    ) throws(FilesystemError) -> OpenTree {
        if let open = openTrees[treeID] { return open }
        let rootTree = rootTree ?? trees.root
        // A snapshot's key has the generation of its making as offset.
        let found = try rootTree.last(atOrBelow: Key(treeID, .rootItem, .max))
        guard let found, found.key.objectid == treeID, found.key.type == .rootItem else {
            throw FilesystemError(.notFound, "tree", "no tree %", treeID)
        }
        let item = try RootItem(key: found.key, unsafe found.data.span.bytes, superBlock.limits)
        guard item.generation <= superBlock.generation else {
            throw FilesystemError(
                .corrupt,
                "root item",
                "generation % above the super block's %",
                item.generation,
                superBlock.generation,
                root: treeID
            )
        }
        let root = TreeRoot(
            treeID: treeID,
            logical: item.logical,
            level: item.level,
            generation: item.generation
        )
        let open = OpenTree(
            Tree(root, in: self),
            key: found.key,
            item: item,
            recordedRoot: root
        )
        openTrees[treeID] = open
        return open
    }

    // MARK: making

    /// The trees of a file system that is being made.
    func createCoreTrees() throws(FilesystemError) {
        let root = try Tree(creating: ObjectID.rootTree, in: self)
        let chunk = try Tree(creating: ObjectID.chunkTree, in: self)
        let flags = superBlock.compatReadOnly
        setCore(
            CoreTrees(
                root: root,
                chunk: chunk,
                extent: try createSystemTree(ObjectID.extentTree, in: root),
                device: try createSystemTree(ObjectID.deviceTree, in: root),
                checksum: try createSystemTree(ObjectID.checksumTree, in: root),
                freeSpace: superBlock.hasValidFreeSpaceTree
                    ? try createSystemTree(ObjectID.freeSpaceTree, in: root) : nil,
                blockGroup: flags.contains(.blockGroupTree)
                    ? try createSystemTree(ObjectID.blockGroupTree, in: root) : nil
            )
        )
    }

    private func createSystemTree(
        _ treeID: UInt64,
        in rootTree: Tree
    ) throws(FilesystemError) -> OpenTree {
        let item = RootItem(
            creating: treeID,
            generation: generation,
            nodeSize: superBlock.nodeSize
        )
        return try createTree(treeID, item, in: rootTree)
    }

    /// Makes an empty tree with a root item.
    func createTree(
        _ treeID: UInt64,
        _ item: RootItem,
        in rootTree: Tree
    ) throws(FilesystemError) -> OpenTree {
        let key = Key(treeID, .rootItem, 0)
        guard try rootTree.item(key) == nil else {
            throw FilesystemError(.exists, "tree", "there is a tree %", treeID)
        }
        let tree = try Tree(creating: treeID, in: self)
        var item = item
        item.objectid = treeID
        item.bytesUsed = nodeBytes
        let open = OpenTree(tree, key: key, item: item, recordedRoot: tree.root)
        open.setPlace()
        do throws(FilesystemError) {
            try rootTree.insert(key, open.item.encoded)
        } catch {
            try freeBlock(block(.root(of: tree.root)), of: tree)
            throw error
        }
        openTrees[treeID] = open
        return open
    }

    // MARK: committing

    /// Brings the root items of the trees that changed up to date.
    func writeRootItems() throws(FilesystemError) {
        for open in openTrees.values.sorted(by: { $0.key < $1.key })
        where open.isItemChanged || open.recordedRoot != open.tree.root {
            open.setPlace()
            if Self.isSubvolume(open.tree.treeID) { open.item.changeGeneration = generation }
            try trees.root.replace(open.key, open.item.encoded)
            open.recordedRoot = open.tree.root
            open.isItemChanged = false
        }
    }
}

extension OpenTree {
    /// Makes the item name the tree's root as it is now.
    fileprivate func setPlace() {
        item.logical = tree.root.logical
        item.level = tree.root.level
        item.generation = tree.root.generation
    }
}
