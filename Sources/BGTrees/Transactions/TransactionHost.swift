//===-- TransactionHost.swift - what transactions need from below and beside them ----------------===//
// BlockGroups implements it on an Allocator and a Volume; tests implement it on memory.
//
// Locks: calls marked (tree) come with the tree mutex held; none of these calls may take it. `write`
// and `flush` come from a commit, without it.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

/// A block group as the trees record it.
package struct GroupRecord: Equatable, Sendable {
    package var logical: UInt64
    package var length: UInt64
    package var flags: ChunkFlags
    /// Bytes that extents hold.
    package var used: UInt64

    package var end: UInt64 { logical + length }

    package init(logical: UInt64, length: UInt64, flags: ChunkFlags, used: UInt64) {
        self.logical = logical
        self.length = length
        self.flags = flags
        self.used = used
    }
}

/// A change of the chunks that is in effect in memory and that the next commit must record.
package enum ChunkChange: Sendable {
    /// The chunk, its device extents, and its (empty) block group exist.
    case added(ChunkItem, [DeviceExtent])
    /// They are gone; nothing was in the group. Its device extents are reused only after the commit.
    case removed(ChunkItem, [DeviceExtent])
}

package protocol TransactionHost: TreeBlockSource {
    // MARK: space

    /// Claims one node (tree). Allocates a chunk where it must.
    ///
    /// - Parameters:
    ///   - type: `.metadata` or `.system`; the host knows the profile, or that groups are mixed.
    ///   - hint: near which address; 0: anywhere.
    /// - Throws: `.noSpace`, `.io`, `.corrupt`.
    func claimTreeBlock(
        _ type: ChunkFlags,
        hint: UInt64
    ) throws(FilesystemError) -> UInt64

    /// A claimed range is now recorded by a tree (tree).
    func own(logical: UInt64, length: UInt64)

    /// A claimed range that no tree ever recorded is free again (tree). Does not fail.
    func giveBack(logical: UInt64, length: UInt64)

    /// A range that a committed tree records is about to be freed (tree): makes sure that the free
    /// space of its group is known, so that `unpin` cannot fail.
    func prepareToFree(logical: UInt64, length: UInt64) throws(FilesystemError)

    /// A range that was owned is free: nothing that is durable refers to it any more. Does not fail.
    func unpin(logical: UInt64, length: UInt64)

    // MARK: chunks

    /// Takes the changes since the last call, oldest first (tree).
    func takeChunkChanges() -> [ChunkChange]

    /// All devices as they are now, in order of their ids (tree).
    var deviceItems: [DeviceItem] { get }

    /// Every SYSTEM chunk, in address order: for the super block's array (tree).
    var systemChunks: [ChunkItem] { get }

    // MARK: durability

    /// Writes `bytes` to every copy of `logical`. Blocks of one commit may be written in any order.
    func write(logical: UInt64, _ bytes: RawSpan) throws(FilesystemError)

    /// Waits until everything written before is durable on every device.
    func flush() throws(FilesystemError)

    /// Writes every copy of the super block on every device in the order that FORMAT.md asks for,
    /// with each device's own DEV_ITEM (from `devices`) in it, and flushes.
    func writeSuperBlocks(
        _ superBlock: SuperBlock,
        devices: [DeviceItem]
    ) throws(FilesystemError)

    /// The trees are half changed, or a commit failed (tree): nothing may be written any more, no
    /// repair either.
    func didFail()

    /// The commit of `superBlock` is durable. Called before anything is unpinned; returns when
    /// nobody reads the trees of an earlier commit any more.
    func didCommit(_ superBlock: SuperBlock, removed: [ChunkItem])
}
