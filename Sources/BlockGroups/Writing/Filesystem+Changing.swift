//===-- Filesystem+Changing.swift - changes of the trees, and the space that they need ------------===//
// Every change of a file system goes through `change`, which keeps what removing and committing need
// out of reach of everything else; every consistent look at the trees goes through `readTrees`.
//
// The reserve. A commit must be able to copy what describes space (the extent, free-space, checksum and
// block-group trees), as far as the transaction has touched it. Ordinary changes leave twice what it would
// need now, and once what it will need for the references that they say they drop; where that cannot be
// had by a new chunk, by taking empty groups away, or by a commit (which frees what was copied), they are
// refused before they change anything. Changes that free may go down to once; they commit on the way
// when less is left, and drop no more references at a time than `referencesThatFit`.
//
// Bounds: a change is tried at most `attemptsMax` times.
// Locks: none of these may be called with a lock held but a file's.
//===-------------------------------------------------------------------------------------------===//

public import BGDiskFormat
package import BGTrees

/// Once to find that a chunk is needed, once that a commit is, and some for others that were quicker.
private let attemptsMax = 5
/// Blocks that one change and what follows from it in the commit may take.
private let changeBlocks: UInt64 = 64
/// Dirty blocks beyond this are committed, so that a commit never grows without bound; references too.
private let dirtyBytesMax: UInt64 = 128 << 20
private let pendingReferencesMax = 1 << 18
/// What a commit needs beyond this is got by committing, rather than by a chunk of metadata.
private let pendingBytesMax: UInt64 = 512 << 20
/// References that any change may drop without a word: `changeBlocks` has room for them.
let referencesUncounted = 8

extension Filesystem {
    /// What a change does to the space that there is.
    package enum ChangeKind {
        /// May take space: refused with `.noSpace`, before anything was changed, when less is left
        /// than removing and committing may need.
        case ordinary
        /// Frees more than it takes: never refused for want of space.
        case freeing
    }

    /// Calls `body` with the running transaction.
    ///
    /// `body` runs with the tree mutex held: it claims no data and reads or writes none. When it
    /// throws after it changed something that it could not put right, it calls `transaction.abort`.
    ///
    /// - Parameter itemBytes: of items that the change may add to trees, roughly, where that is more
    ///   than a dozen usual ones.
    /// - Parameter dropping: how many references to data `body` is to drop, where that may be more than
    ///   `referencesUncounted`; called before it, maybe several times, with the tree mutex held.
    /// - Throws: `.noSpace`; `.readOnly` for a file system opened so, or that turned so after a
    ///   failure (with the words of that); what `body` throws; why a commit failed that became due.
    package func change<Result>(
        _ kind: ChangeKind = .ordinary,
        itemBytes: UInt64 = 0,
        dropping: (Transaction) throws(FilesystemError) -> Int = { (_) throws(FilesystemError) in 0
        },
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        let store = try writableTrees()
        let need = neededBytes(itemBytes)
        for attempt in 1...attemptsMax {
            var isCommitDue = false
            var pending: UInt64 = 0
            var wanted: UInt64 = 0
            let result = try store.change { (transaction) throws(FilesystemError) -> Result? in
                pending = transaction.reserveBytes()
                let dropped = try transaction.reserveBytes(adding: dropping(transaction)) - pending
                // What frees may go down to what the commit needs; what does not, to twice that.
                let reserve = pending + need
                wanted = 2 * reserve + dropped
                let floor = kind == .ordinary ? wanted : reserve + dropped
                let isEnough =
                    self.source.freeMetadataBytes(in: self.allocator, keeping: 2 * reserve) >= floor
                // What frees is not refused: at the last attempt it takes what there is.
                guard isEnough || (kind == .freeing && attempt == attemptsMax) else { return nil }
                let result = try body(transaction)
                isCommitDue =
                    transaction.dirtyBytes > dirtyBytesMax
                    || transaction.pendingReferences > pendingReferencesMax
                return result
            }
            if let result {
                if isCommitDue { try commit() }
                return result
            }
            if pending > pendingBytesMax {
                try commit()
            } else {
                try makeMetadataRoom(kind, wanted)
            }
        }
        throw FilesystemError(.noSpace, "metadata", "what is left is kept for removing")
    }

    /// How many references to data a change that is running may drop so that the commit still finds
    /// the metadata that it needs: at most `most`, at least `referencesUncounted`.
    func referencesThatFit(_ transaction: Transaction, most: Int) -> Int {
        let free = source.freeMetadataBytes(in: allocator)
        let need = neededBytes(0)
        var count = most
        while count > referencesUncounted, transaction.reserveBytes(adding: count) + need > free {
            count /= 2
        }
        return max(count, referencesUncounted)
    }

    /// Calls `body` with the trees as they are now, which it must not change. Works on a file system
    /// opened read-only, and after a failure, too.
    package func readTrees<Result>(
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try trees().read(body)
    }

    /// Makes durable what was recorded before the call. Commits that arrive while one is being
    /// written share the next one.
    ///
    /// - Throws: `.readOnly` as every change; why the commit failed: the file system is then
    ///   read-only, and its last commit is whole.
    public func commit() throws(FilesystemError) {
        try writableTrees().commit()
    }

    /// The trees, where they may be changed.
    ///
    /// - Throws: `.readOnly`, with the words of the failure that made it so.
    func writableTrees() throws(FilesystemError) -> TreeStore {
        guard isWritable else { throw .openedReadOnly }
        let store = try trees()
        if var failure = host.damage ?? store.failure {
            failure.code = .readOnly
            throw failure
        }
        return store
    }

    private func neededBytes(_ itemBytes: UInt64) -> UInt64 {
        // New leaves are at worst half full, and what refers to them costs no more again.
        changeBlocks * UInt64(reader.superBlock.nodeSize) + 4 * itemBytes
    }

    /// Gets more metadata space: by a chunk, by taking empty groups away and committing.
    ///
    /// - Throws: `.noSpace` where nothing more can be done and the change is an ordinary one.
    private func makeMetadataRoom(
        _ kind: ChangeKind,
        _ wanted: UInt64
    ) throws(FilesystemError) {
        if try source.growMetadata(to: wanted, in: allocator) { return }
        if try commitForSpace(sparing: .metadata) { return }
        if kind == .ordinary {
            throw FilesystemError(.noSpace, "metadata", "what is left is kept for removing")
        }
    }

    /// Takes empty groups of other types away and commits, where that may give space back; waits for
    /// a commit that is being written.
    ///
    /// - Returns: whether it committed, or waited.
    func commitForSpace(sparing type: ChunkFlags) throws(FilesystemError) -> Bool {
        let spared = isMixed ? .data | .metadata : type
        let removed = source.removeEmptyGroups(sparing: spared, in: allocator)
        let store = try writableTrees()
        let isDirty = try store.read { (transaction) throws(FilesystemError) in
            transaction.dirtyBytes > 0 || transaction.isCommitting
        }
        guard removed > 0 || isDirty else { return false }
        try commit()
        return true
    }
}
