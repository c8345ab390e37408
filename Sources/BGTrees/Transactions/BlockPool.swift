//===-- BlockPool.swift - tree blocks in memory --------------------------------------------------===//
// A block is in one of three places, looked at in this order:
//   dirty    made by the running transaction; may change; written by the next commit
//   frozen   of the commit that is being written; never changes, and is not on the device yet
//   clean    as on the device; a bounded cache that forgets at will
//
// Invariants:
//   1. Dirty blocks carry the running generation, frozen ones the generation before.
//   2. No address is dirty and frozen at once: an address is claimed again only after the commit
//      that freed it is durable.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

struct BlockPool {
    /// Bytes of clean blocks that are kept at most.
    private static let cleanBytesMax = 32 << 20

    private var dirty: [UInt64: TreeBlock] = [:]
    private var frozen: [UInt64: TreeBlock] = [:]
    private var clean: BlockCache

    init(nodeSize: Int) {
        // Node sizes are powers of two, and so is the quotient.
        clean = BlockCache(places: Self.cleanBytesMax / nodeSize)
    }

    var dirtyCount: Int { dirty.count }
    var hasFrozen: Bool { !frozen.isEmpty }

    func isDirty(_ block: TreeBlock) -> Bool { dirty[block.logical] === block }

    func dirtyBlock(_ logical: UInt64) -> TreeBlock? { dirty[logical] }

    /// Whether a block that is not on the device yet has this address.
    func isInUse(_ logical: UInt64) -> Bool {
        dirty[logical] != nil || frozen[logical] != nil
    }

    subscript(logical: UInt64) -> TreeBlock? {
        dirty[logical] ?? frozen[logical] ?? clean[logical]
    }

    mutating func insertDirty(_ block: TreeBlock) {
        precondition(dirty[block.logical] == nil, "an address was claimed twice")
        precondition(frozen[block.logical] == nil, "a committed block's address was claimed")
        dirty[block.logical] = block
    }

    mutating func removeDirty(_ logical: UInt64) {
        let removed = dirty.removeValue(forKey: logical)
        precondition(removed != nil, "the running transaction made the block")
    }

    mutating func insertClean(_ block: TreeBlock) { clean.insert(block) }

    /// Makes the dirty blocks the frozen ones.
    ///
    /// - Returns: them, in order of their addresses.
    mutating func freeze() -> [TreeBlock] {
        precondition(frozen.isEmpty, "one commit is written at a time")
        frozen = dirty
        dirty = [:]
        return frozen.values.sorted { $0.logical < $1.logical }
    }

    /// The frozen blocks are on the device.
    mutating func didWriteFrozen() {
        for block in frozen.values { clean.insert(block) }
        frozen = [:]
    }
}
