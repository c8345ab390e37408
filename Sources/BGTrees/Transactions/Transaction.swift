//===-- Transaction.swift - what a change of the file system may do -------------------------------===//
// The face of TreeStore inside `change` and `read`.
//
// Locks: the tree mutex is held around every call; no transaction outlives the closure it was given to.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

package final class Transaction {
    package let store: TreeStore

    init(_ store: TreeStore) { self.store = store }

    /// Stamped on everything that changes now.
    package var generation: UInt64 { store.generation }

    /// The tree that the root tree names so. - Throws: `.notFound`
    package func tree(_ treeID: UInt64) throws(FilesystemError) -> Tree {
        preconditionFailure("not built yet")
    }

    /// The root item of a tree as it is now, and changing it (times, flags; the place of the tree is
    /// the commit's affair).
    package func rootItem(of treeID: UInt64) throws(FilesystemError) -> RootItem {
        preconditionFailure("not built yet")
    }
    package func setRootItem(_ item: RootItem, of treeID: UInt64) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Makes an empty tree with a root item.
    package func createTree(_ treeID: UInt64, _ item: RootItem) throws(FilesystemError) -> Tree {
        preconditionFailure("not built yet")
    }

    // MARK: data extents

    /// A claimed data extent is recorded, with its first reference: takes the claim over.
    /// - Throws: `.exists` where some of the range is recorded already.
    package func recordExtent(_ reference: DataReference) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// One more reference to an extent that is recorded.
    package func addReference(_ reference: DataReference) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// One reference fewer. With the last one the extent goes: its checksums are removed, and its
    /// space is free after the commit.
    package func dropReference(_ reference: DataReference) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Whether a tree records any byte of this range (of data).
    package func isRecorded(logical: UInt64, length: UInt64) throws(FilesystemError) -> Bool {
        preconditionFailure("not built yet")
    }

    // MARK: checksums of data

    /// Sets the checksums of whole sectors from `logical` on, as many as `sums` has.
    package func setChecksums(logical: UInt64, _ sums: [UInt8]) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Visits the checksums that are recorded for sectors in a range, in runs of neighbours.
    package func forEachChecksum(
        logical: UInt64,
        length: UInt64,
        _ body: (_ logical: UInt64, _ sums: RawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    // MARK: ending badly

    /// Something was half changed: the file system is read-only from now on, and never commits this.
    package func abort(_ error: FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Bytes of blocks that the next commit will write.
    package var dirtyBytes: UInt64 { preconditionFailure("not built yet") }
}
