//===-- TreeStore.swift - the trees of a file system opened for writing ---------------------------===//
// Any number of threads change and read the trees, one at a time, and commit. A commit has two stages:
// under the tree mutex the running transaction is made whole and frozen, and the next one begins; then
// the frozen blocks are written while others go on with the next transaction.
//
// Invariants:
//   1. At most one commit is being written (commit mutex).
//   2. A commit that fails anywhere is the last one: nothing is given back that it had freed, and
//      every later change is refused. What the devices hold is the commit before, or this one.
//
// Locks: the commit mutex guards `committedGeneration`, the tree mutex `state`.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
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

package final class TreeStore: @unchecked Sendable {
    private let treeMutex = Mutex(.tree)
    private let commitMutex = Mutex(.commit)
    let state: TreeState
    private let host: any TransactionHost
    private let checksumType: ChecksumType
    /// The last commit that is durable.
    private var committedGeneration: UInt64

    /// Opens the trees of a committed file system for writing.
    ///
    /// - Parameters:
    ///   - groups: every block group that the trees record.
    ///   - host: held as long as the store.
    ///   - readOnly: nothing will be changed.
    /// - Throws: `.corrupt` and `.io` from reading; `.unsupported` where a balance was interrupted,
    ///   whose trees share blocks in ways that changes do not keep up here.
    package init(
        _ superBlock: SuperBlock,
        groups: [GroupRecord],
        host: any TransactionHost,
        readOnly: Bool = false
    ) throws(FilesystemError) {
        self.host = host
        checksumType = superBlock.checksumType
        committedGeneration = superBlock.generation
        let expectation = BlockExpectation.root(of: superBlock.chunkTreeRoot)
        let chunkRoot = try TreeReader(host, cacheBlocks: 1).block(expectation)
        state = TreeState(
            superBlock,
            generation: superBlock.generation + 1,
            groups: groups,
            recordedDevices: host.deviceItems,
            chunkTreeUUID: chunkRoot.chunkTreeUUID,
            host: host
        )
        try state.openCoreTrees()
        if !readOnly { try state.refuseRelocation() }
        try state.openFilesystemTree()
    }

    /// The trees of a file system that is being made: generation 1, no tree yet but the empty root,
    /// chunk, extent, device, checksum, free-space and (where flagged) block-group trees. The first
    /// commit writes `superBlock` with roots, generation, system chunks and bytes used filled in.
    ///
    /// - Parameter chunkTreeUUID: what block headers and device extents name the chunk tree by.
    package init(
        formatting superBlock: SuperBlock,
        chunkTreeUUID: FilesystemUUID,
        host: any TransactionHost
    ) throws(FilesystemError) {
        self.host = host
        checksumType = superBlock.checksumType
        committedGeneration = 0
        var start = superBlock
        start.generation = 0
        state = TreeState(
            start,
            generation: 1,
            groups: [],
            recordedDevices: [],
            chunkTreeUUID: chunkTreeUUID,
            host: host
        )
        let state = state
        try treeMutex.withLock { () throws(FilesystemError) in try state.createCoreTrees() }
    }

    deinit { state.close() }

    /// Why the file system is read-only now: the first failure inside a commit or a change. Takes the
    /// tree mutex.
    package var failure: FilesystemError? { treeMutex.withLock { state.failure } }

    /// The running generation. Takes the tree mutex.
    package var generation: UInt64 { treeMutex.withLock { state.generation } }

    /// Calls `body` with the tree mutex held and the running transaction. When `body` throws after it
    /// changed something that it could not put right, it calls `transaction.abort` first.
    ///
    /// - Throws: `.readOnly` once a commit has failed; what `body` throws.
    package func change<Result>(
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try treeMutex.withLock { () throws(FilesystemError) in
            try checkWritable()
            return try body(Transaction(state))
        }
    }

    /// The same for reading the trees as they are now; works after a failure, too.
    package func read<Result>(
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try treeMutex.withLock { () throws(FilesystemError) in
            try body(Transaction(state))
        }
    }

    /// Makes everything durable that `change` did before the call. Commits that arrive while one is
    /// being written share the next one. Called without any lock but a file's.
    ///
    /// - Throws: why the commit failed; the file system is then read-only. `.readOnly` where it was
    ///   already.
    package func commit() throws(FilesystemError) {
        // What was changed before is in this generation, or in an earlier one.
        let wanted = try treeMutex.withLock { () throws(FilesystemError) in
            try checkWritable()
            return state.generation
        }
        try commitMutex.withLock { () throws(FilesystemError) in
            // Somebody who waited with us may have done it.
            guard committedGeneration < wanted else { return }
            guard let frozen = try freeze() else { return }
            do throws(FilesystemError) {
                try CommitWriter(host: host, checksumType: checksumType).write(frozen)
            } catch {
                frozen.trace(result: -error.errno)
                treeMutex.withLock { state.fail(error) }
                throw error
            }
            frozen.trace(result: 0)
            committedGeneration = frozen.superBlock.generation
            host.didCommit(frozen.superBlock, removed: frozen.removedChunks)
            // Before anybody can claim what is unpinned: it is to be recorded again.
            treeMutex.withLock {
                state.pool.didWriteFrozen()
                state.pinned.didUnpin()
            }
            for extent in frozen.pinned {
                host.unpin(logical: extent.logical, length: extent.length)
            }
        }
    }

    private func freeze() throws(FilesystemError) -> FrozenCommit? {
        try treeMutex.withLock { () throws(FilesystemError) in
            try checkWritable()
            do throws(FilesystemError) {
                return try state.freeze()
            } catch {
                state.fail(error)
                throw error
            }
        }
    }

    /// The tree mutex is held.
    private func checkWritable() throws(FilesystemError) {
        guard state.failure == nil else {
            throw FilesystemError(
                .readOnly,
                "file system",
                "turned read-only after a failure"
            )
        }
    }
}
