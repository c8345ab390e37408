//===-- Filesystem+Subvolume.swift - the tree that files are in ----------------------------------===//
// Finds the default subvolume, and wraps Filesystem.change and Filesystem.readTrees for it.
//===-------------------------------------------------------------------------------------------===//

internal import BGDiskFormat
internal import BGTrees

extension Filesystem {
    /// Calls `body` with the default subvolume as it is now.
    func readFiles<Result>(
        _ body: (FileTree) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try readTrees { (transaction) throws(FilesystemError) in
            let subvolume = try subvolume(transaction)
            let tree = try transaction.tree(subvolume.treeID)
            return try body(FileTree(transaction.store, tree.root))
        }
    }

    /// Changes the default subvolume: `plan` looks and refuses, `apply` changes. Whatever `apply`
    /// throws leaves a half-made change, so it ends the file system's writing.
    ///
    /// - Parameter dropping: what `apply` drops without asking whether it fits; see `change`.
    /// - Throws: what `change` throws; `.readOnly` for a read-only subvolume; what both throw.
    func changeFiles<Plan, Result>(
        _ kind: ChangeKind = .ordinary,
        itemBytes: UInt64 = 0,
        dropping: (FileChange) throws(FilesystemError) -> DroppedParts = {
            (_) throws(FilesystemError) in DroppedParts()
        },
        plan: (FileChange) throws(FilesystemError) -> Plan,
        apply: (FileChange, Plan) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        var isFirst = false
        let result = try change(
            kind,
            itemBytes: itemBytes,
            dropping: { (transaction) throws(FilesystemError) in
                try dropping(fileChange(transaction))
            }
        ) { (transaction) throws(FilesystemError) in
            let subvolume = try subvolume(transaction)
            guard !subvolume.isReadOnly else {
                throw FilesystemError(
                    .readOnly,
                    "subvolume",
                    "is marked as read-only",
                    root: subvolume.treeID
                )
            }
            let change = try fileChange(transaction)
            let planned = try plan(change)
            // Now, while every orphan there is was left.
            isFirst = openFiles.leftOrphans == nil
            if isFirst { change.noteLeftOrphans() }
            do throws(FilesystemError) {
                return try apply(change, planned)
            } catch {
                transaction.abort(error)
                throw error
            }
        }
        // What a crash left takes space and nothing else: whoever writes first removes it, and does
        // not fail for it. (The kernel does the same when it mounts.)
        if isFirst {
            do throws(FilesystemError) { _ = try removeLeftOrphans() } catch {}
        }
        return result
    }

    func fileChange(
        _ transaction: Transaction
    ) throws(FilesystemError) -> FileChange {
        FileChange(self, transaction, try transaction.tree(subvolume(transaction).treeID))
    }

    /// The default subvolume, as the root tree's directory names it; the first where it names none.
    private func subvolume(_ transaction: Transaction) throws(FilesystemError) -> Subvolume {
        if let known = openFiles.subvolume { return known }
        let superBlock = superBlock
        let rootTree = FileTree(
            transaction.store,
            try transaction.tree(ObjectID.rootTree).root
        )
        let name = [UInt8]("default".utf8)
        let entry = try rootTree.entry(named: name, in: superBlock.rootDirectory)
        let treeID = entry?.location.objectid ?? ObjectID.filesystemTree
        guard entry == nil || entry?.location.type == .rootItem,
            treeID == ObjectID.filesystemTree
                || (ObjectID.firstFree...ObjectID.lastFree).contains(treeID)
        else {
            throw FilesystemError(
                .corrupt,
                "root tree",
                "the default subvolume is %",
                treeID,
                root: ObjectID.rootTree
            )
        }
        let item = try transaction.rootItem(of: treeID)
        let found = Subvolume(
            treeID: treeID,
            isReadOnly: item.flags & Subvolume.flagReadOnly != 0
        )
        openFiles.subvolume = found
        return found
    }

    /// Whether gaps in files need no items.
    var hasNoHoles: Bool { superBlock.incompat.contains(.noHoles) }
}
