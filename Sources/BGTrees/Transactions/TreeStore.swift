//===-- TreeStore.swift - the trees of a file system opened for writing ---------------------------===//
// Keeps the blocks of the running transaction, what they refer to, and commits them.
//
// Locks: see `change` and `commit`.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

/// One reference of a file to a data extent.
package struct DataReference: Hashable, Sendable {
    /// The whole extent, bytes.
    package var logical: UInt64
    package var length: UInt64
    /// The subvolume tree, the inode, and the file offset at which the extent's first byte would
    /// lie: what EXTENT_DATA_REF records.
    package var root: UInt64
    package var inode: UInt64
    package var offset: UInt64

    package init(logical: UInt64, length: UInt64, root: UInt64, inode: UInt64, offset: UInt64) {
        self.logical = logical
        self.length = length
        self.root = root
        self.inode = inode
        self.offset = offset
    }
}

package final class TreeStore: TreeSpace {
    package var geometry: TreeGeometry { preconditionFailure("not built yet") }
    package var generation: UInt64 { preconditionFailure("not built yet") }

    /// Opens the trees of a committed file system for writing.
    package init(
        _ superBlock: SuperBlock,
        groups: [GroupRecord],
        host: any TransactionHost
    ) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// The trees of a file system that is being made: generation 1, no tree yet but the empty root,
    /// chunk, extent, device, checksum, free-space and (where flagged) block-group trees. The first
    /// commit writes `superBlock` with roots, generation and counts filled in.
    package init(
        formatting superBlock: SuperBlock,
        host: any TransactionHost
    ) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    /// Why the file system is read-only now: the first failure inside a commit or a change.
    package var failure: FilesystemError? { preconditionFailure("not built yet") }

    /// Calls `body` with the tree mutex held and the running transaction. When `body` throws after it
    /// changed something that it could not put right, it calls `transaction.abort` first.
    ///
    /// - Throws: `.readOnly` once a commit has failed; what `body` throws.
    package func change<Result>(
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        preconditionFailure("not built yet")
    }

    /// The same for reading the trees as they are now; works after a failure, too.
    package func read<Result>(
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        preconditionFailure("not built yet")
    }

    /// Makes everything durable that `change` did before the call. Commits that arrive while one is
    /// being written share the next one. Called without any lock but a file's.
    ///
    /// - Throws: why the commit failed; the file system is then read-only.
    package func commit() throws(FilesystemError) {
        preconditionFailure("not built yet")
    }

    // MARK: TreeSpace

    package func block(_ expected: BlockExpectation) throws(FilesystemError) -> TreeBlock {
        preconditionFailure("not built yet")
    }
    package func allocateBlock(
        of tree: Tree,
        level: UInt8,
        hint: UInt64
    ) throws(FilesystemError) -> TreeBlock {
        preconditionFailure("not built yet")
    }
    package func blockForChange(
        _ block: TreeBlock,
        of tree: Tree
    ) throws(FilesystemError) -> TreeBlock {
        preconditionFailure("not built yet")
    }
    package func freeBlock(_ block: TreeBlock, of tree: Tree) throws(FilesystemError) {
        preconditionFailure("not built yet")
    }
}
