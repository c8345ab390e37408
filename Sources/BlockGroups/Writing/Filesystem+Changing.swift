//===-- Filesystem+Changing.swift - changes of the trees, and the space that they need ------------===//
// Every change of a file system goes through `change`, which keeps what removing and committing need
// out of reach of everything else; every consistent look at the trees goes through `readTrees`.
//
// The reserve. A commit must be able to copy what describes space, as far as the transaction has touched it
// (CommitReserve.swift says how much that may be). A change that only frees leaves as much as the commit
// will need once it is made. An ordinary one leaves, beside that, what a removal and its commit need
// (`leastRemoval`), so that something can be removed when all is full. Where that much cannot be had by a new chunk, by a
// commit (which frees what was copied), or by taking empty groups away, the change is refused before it
// changes anything. What frees drops no more at a time than fits (`fits`). Where somebody else left less
// than that, it is tried at last with what a commit of next to nothing needs.
//
// Where data and metadata share their groups, `claimData` leaves what an ordinary change leaves. Claims
// made on the allocator itself do not: a commit may then find no space.
//
// Bounds: a change is tried at most `attemptsMax` times, beside `commitsMax` commits for its sake.
// Locks: none of these may be called with a lock held but a file's.
//===-------------------------------------------------------------------------------------------===//

public import BGDiskFormat
package import BGTrees

/// Once to find that a chunk is needed, once that a commit is, and some for others that were quicker.
private let attemptsMax = 5
/// Commits because too much is pending, while others go on making changes.
private let commitsMax = 64
/// Blocks that one change may take, and with which the smallest one may do.
private let changeBlocks: UInt64 = 64
private let leastBlocks: UInt64 = 48
/// What ordinary changes leave enough for: that many parts of files to be dropped, or one extent of the
/// largest sort, at a time.
private let leastRemoval = DroppedParts(count: 32, dataBytes: 128 << 20)
/// Dirty blocks beyond this are committed, so that a commit never grows without bound; references too.
private let dirtyBytesMax: UInt64 = 128 << 20
private let pendingReferencesMax = 1 << 18
/// What a commit needs beyond this is got by committing, rather than by a chunk of metadata.
private let pendingBytesMax: UInt64 = 512 << 20

extension Filesystem {
    /// What a change does to the space that there is.
    package enum ChangeKind {
        /// May take space: refused with `.noSpace`, before anything was changed, when less is left
        /// than removing and committing may need.
        case ordinary
        /// Frees more than it takes, and drops what `fits`: refused only where less is left than any
        /// commit needs, which ordinary changes do not let come about.
        case freeing
    }

    /// Metadata that a change asks for, bytes.
    private struct Need {
        /// What the commit would need now.
        var pending: UInt64
        /// Free bytes with which the change is made, and those with which it is made at last.
        var floor: UInt64
        var leastFloor: UInt64
    }

    /// Calls `body` with the running transaction.
    ///
    /// `body` runs with the tree mutex held: it claims no data and reads or writes none. When it
    /// throws after it changed something that it could not put right, it calls `transaction.abort`.
    ///
    /// - Parameter itemBytes: of items that the change may add to trees, roughly, where that is more
    ///   than a dozen usual ones.
    /// - Parameter dropping: what `body` is to drop; called before it, maybe several times, with the tree
    ///   mutex held. `body` may ask `fits` instead.
    /// - Throws: `.noSpace`; `.readOnly` for a file system opened so, or that turned so after a
    ///   failure (with the words of that); what `body` throws; why a commit failed that became due.
    package func change<Result>(
        _ kind: ChangeKind = .ordinary,
        itemBytes: UInt64 = 0,
        dropping: (Transaction) throws(FilesystemError) -> DroppedParts = {
            (_) throws(FilesystemError) in DroppedParts()
        },
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        let store = try writableTrees()
        var attempt = 1
        var commits = 0
        while true {
            var isCommitDue = false
            var need = Need(pending: 0, floor: 0, leastFloor: 0)
            let isLast = attempt == attemptsMax
            let result = try store.change { (transaction) throws(FilesystemError) -> Result? in
                // First, since it may open the tree that is to change.
                let dropped = try dropping(transaction)
                need = self.need(transaction.reserve, kind, itemBytes: itemBytes, dropped)
                self.source.setReserve(self.bytesToKeep(transaction))
                let free = self.source.freeMetadataBytes(in: self.allocator)
                guard free >= (isLast ? need.leastFloor : need.floor) else { return nil }
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
            if need.pending > pendingBytesMax, commits < commitsMax {
                commits += 1
                try commit()
                continue
            }
            guard !isLast else { throw .keptForRemoving }
            if try makeMetadataRoom(need.floor) {
                attempt += 1
            } else {
                guard kind == .freeing else { throw .keptForRemoving }
                attempt = attemptsMax
            }
        }
    }

    private func need(
        _ reserve: CommitReserve,
        _ kind: ChangeKind,
        itemBytes: UInt64,
        _ dropped: DroppedParts
    ) -> Need {
        let own = changeBytes(itemBytes)
        let floor = reserve.bytes(after: dropped) + own
        switch kind {
        case .ordinary:
            let total = floor + reserve.bytes(after: leastRemoval) + own
            return Need(pending: reserve.bytes, floor: total, leastFloor: total)
        case .freeing:
            let least = reserve.bytes + leastBlocks * UInt64(reader.superBlock.nodeSize)
            return Need(pending: reserve.bytes, floor: floor, leastFloor: min(floor, least))
        }
    }

    /// Whether the commit of a change that is running will find the metadata that it needs if the
    /// change drops so much: for those that go in steps. The first part of a step need not fit: else
    /// there might never be a second one.
    func fits(_ reserve: CommitReserve, _ dropped: DroppedParts, freeBytes: UInt64) -> Bool {
        reserve.bytes(after: dropped) + changeBytes(0) <= freeBytes
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

    private func changeBytes(_ itemBytes: UInt64) -> UInt64 {
        // New leaves are at worst half full, and what refers to them costs no more again.
        changeBlocks * UInt64(reader.superBlock.nodeSize) + 4 * itemBytes
    }

    // MARK: making room

    /// Gets more metadata space: by chunks, by a commit, by taking empty groups away.
    ///
    /// - Returns: whether there may be more now.
    private func makeMetadataRoom(_ wanted: UInt64) throws(FilesystemError) -> Bool {
        if try source.growMetadata(to: wanted, in: allocator) { return true }
        return try makeRoom(sparing: .metadata)
    }

    /// Gets space back: what a crash left is removed; what was freed, groups that are gone among it, is
    /// committed, waiting for a commit that is being written; then empty groups of other types are taken
    /// away.
    ///
    /// - Returns: whether something was done.
    func makeRoom(sparing type: ChunkFlags) throws(FilesystemError) -> Bool {
        var didRemove = false
        // Why it may fail concerns others. (After a failure that concerns all, the next line throws.)
        do throws(FilesystemError) { didRemove = try removeLeftOrphans() } catch {}
        let store = try writableTrees()
        let isDirty = try store.read { (transaction) throws(FilesystemError) in
            transaction.dirtyBytes > 0 || transaction.isCommitting || source.isRemoving
        }
        if isDirty { try commit() }
        let spared = isMixed ? .data | .metadata : type
        let leaving = try store.change { (transaction) throws(FilesystemError) in
            source.beginRemovingEmptyGroups(
                sparing: spared,
                keeping: bytesToKeep(transaction),
                in: allocator
            )
        }
        var removed = 0
        for group in leaving {
            do throws(FilesystemError) {
                try source.finishRemoving(group, from: allocator)
                removed += 1
            } catch {
                continue
            }
        }
        // Their holes can be used then.
        if removed > 0 { try commit() }
        return didRemove || isDirty || removed > 0
    }

    /// Takes a block group away that nothing is in. The hole that it leaves on the devices can be
    /// used after the next commit.
    ///
    /// - Throws: `.notFound` where no group begins there; `.busy` where claims, extents, or what the
    ///   next commit frees are in it, it is the last one of metadata or SYSTEM, or the next commit may
    ///   need its space; `.readOnly`.
    public func removeEmptyGroup(at logical: UInt64) throws(FilesystemError) {
        let leaving = try writableTrees().change { (transaction) throws(FilesystemError) in
            let bytes = bytesToKeep(transaction)
            return try source.beginRemoving(groupAt: logical, keeping: bytes, in: allocator)
        }
        try source.finishRemoving(leaving, from: allocator)
    }

    /// Metadata that changes leave for removing something and for the commit of that.
    func bytesToKeep(_ transaction: Transaction) -> UInt64 {
        need(transaction.reserve, .ordinary, itemBytes: 0, leastRemoval).floor
    }

    /// Metadata that one removal and its commit need, bytes.
    var bytesForRemoving: UInt64 {
        get throws(FilesystemError) {
            try readTrees { (transaction) throws(FilesystemError) in
                transaction.reserve.bytes(after: leastRemoval) + changeBytes(0)
            }
        }
    }
}

extension FilesystemError {
    fileprivate static var keptForRemoving: FilesystemError {
        FilesystemError(.noSpace, "metadata", "what is left is kept for removing")
    }
}
