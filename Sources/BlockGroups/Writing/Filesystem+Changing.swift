//===-- Filesystem+Changing.swift - changes of the trees, and the space that they need ------------===//
// Every change of a file system goes through `change`, which keeps what removing and committing need
// out of reach of everything else; every consistent look at the trees goes through `readTrees`.
//
// Locks: neither may be called with a lock held but a file's.
//===-------------------------------------------------------------------------------------------===//

public import BGDiskFormat
package import BGTrees

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
    /// - Throws: `.noSpace`; `.readOnly` for a file system opened so, or that turned so after a
    ///   failure (with the words of that); what `body` throws.
    package func change<Result>(
        _ kind: ChangeKind = .ordinary,
        itemBytes: UInt64 = 0,
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        preconditionFailure("not built yet")
    }

    /// Calls `body` with the trees as they are now, which it must not change. Works on a file system
    /// opened read-only, and after a failure, too.
    package func readTrees<Result>(
        _ body: (Transaction) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        preconditionFailure("not built yet")
    }

    /// Makes durable what was recorded before the call. Commits that arrive while one is being
    /// written share the next one.
    ///
    /// - Throws: `.readOnly` as every change; why the commit failed: the file system is then
    ///   read-only, and its last commit is whole.
    public func commit() throws(FilesystemError) {
        preconditionFailure("not built yet")
    }
}
