//===-- Transaction.swift - what a change of the file system may do -------------------------------===//
// The face of the running transaction inside `TreeStore.change` and `read`.
//
// Locks: the tree mutex is held around every call; no transaction outlives the closure it was given to.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

package final class Transaction {
    private let state: TreeState

    init(_ state: TreeState) { self.state = state }

    /// Stamped on everything that changes now.
    package var generation: UInt64 { state.generation }

    /// The blocks of all trees as they are now, for walks with a cursor.
    package var store: any TreeBlockProvider { state }

    /// Of the last commit that was begun.
    package var superBlock: SuperBlock { state.superBlock }

    /// What trees are checked against; the generation is the running one.
    package var geometry: TreeGeometry { state.geometry }

    // MARK: trees

    /// The tree that the root tree names so. - Throws: `.notFound`
    package func tree(_ treeID: UInt64) throws(FilesystemError) -> Tree {
        switch treeID {
        case ObjectID.rootTree: state.trees.root
        case ObjectID.chunkTree: state.trees.chunk
        default: try state.openTree(treeID).tree
        }
    }

    /// The root item of a tree. What it says of the tree's place is of the last commit.
    package func rootItem(of treeID: UInt64) throws(FilesystemError) -> RootItem {
        try state.openTree(treeID).item
    }

    /// Changes a root item (times, flags, UUIDs); where the tree begins and how large it is stays
    /// the commit's affair.
    package func setRootItem(_ item: RootItem, of treeID: UInt64) throws(FilesystemError) {
        let open = try state.openTree(treeID)
        var item = item
        item.objectid = treeID
        item.bytesUsed = open.item.bytesUsed
        open.item = item
        open.isItemChanged = true
    }

    /// Makes an empty tree with a root item. - Throws: `.exists`; what claiming a block throws.
    package func createTree(_ treeID: UInt64, _ item: RootItem) throws(FilesystemError) -> Tree {
        try state.createTree(treeID, item, in: state.trees.root).tree
    }

    // MARK: data extents

    /// A claimed data extent is recorded, with its first reference: takes the claim over.
    ///
    /// - Throws: `.exists` where some of the range is recorded already. The claim is then still the
    ///   caller's.
    package func recordExtent(_ reference: DataReference) throws(FilesystemError) {
        try state.recordExtent(reference)
    }

    /// One more reference to an extent that is recorded.
    package func addReference(_ reference: DataReference) throws(FilesystemError) {
        try state.changeReferences(reference, by: 1)
    }

    /// One reference fewer. With the last one the extent goes: its checksums are removed, and its
    /// space is free after the commit; at once where this transaction recorded it.
    package func dropReference(_ reference: DataReference) throws(FilesystemError) {
        try state.changeReferences(reference, by: -1)
    }

    /// Whether a tree records any byte of this range (of data), or did at the last commit.
    package func isRecorded(logical: UInt64, length: UInt64) throws(FilesystemError) -> Bool {
        try state.isRecorded(logical, length)
    }

    // MARK: checksums of data

    /// Sets the checksums of whole sectors from `logical` on, as many as `sums` has.
    package func setChecksums(logical: UInt64, _ sums: [UInt8]) throws(FilesystemError) {
        try state.setChecksums(logical, sums)
    }

    /// Removes the checksums of whole sectors.
    package func removeChecksums(logical: UInt64, length: UInt64) throws(FilesystemError) {
        try state.removeChecksums(logical, length)
    }

    /// Visits the checksums that are recorded for sectors in a range, in runs of neighbours.
    package func forEachChecksum(
        logical: UInt64,
        length: UInt64,
        _ body: (_ logical: UInt64, _ sums: RawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        try state.forEachChecksum(logical, length, body)
    }

    // MARK: size

    /// Bytes of blocks that the next commit will write, but for those that it needs for itself.
    package var dirtyBytes: UInt64 { UInt64(state.pool.dirtyCount) * state.nodeBytes }

    /// A commit is being written: what it freed comes back when that is durable.
    package var isCommitting: Bool { state.pool.hasFrozen }

    /// References that the next commit is to change.
    package var pendingReferences: Int { state.delayed.changeCount }

    /// What the commit of this transaction will need, as things are now.
    package var reserve: CommitReserve { CommitReserve(state) }

    // MARK: ending badly

    /// Something was half changed: the file system is read-only from now on, and never commits this.
    package func abort(_ error: FilesystemError) { state.fail(error) }
}
