//===-- TreeBlock.swift - one node or leaf of a tree, in memory ---------------------------------===//
// Owns the bytes of one tree block and reads fields out of them. It keeps no decoded copy of
// anything, so that a writer may change the bytes and every accessor follows.
//
// Layout: a 101-byte header; then in a node (level > 0) pointers of 33 bytes {key, logical,
// generation}; in a leaf (level 0) items of 25 bytes {key, offset, size}, whose data lies packed
// against the end of the block, first item last. Item offsets count from byte 101.
//
// Invariants, once TreeBlock+Checking.swift has accepted the block (accessors rely on them):
//   1. bytes.count is the node size; itemCount entries fit behind the header.
//   2. Keys ascend strictly.
//   3. A leaf's item data is packed, inside the block, and behind the item array.
//
// Threads: a block that was read is never changed, so it may be shared. Writers own theirs.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

package final class TreeBlock {
    /// Where each thing lies in a block.
    package enum Layout {
        package static let headerSize = 101
        package static let itemSize = 25
        package static let pointerSize = 33
        /// A tree is at most this high; levels are 0 to 7.
        package static let levelsMax = 8
    }

    package let logical: UInt64
    package internal(set) var bytes: [UInt8]
    /// Where the last item was inserted, while the block is in memory; -1: nowhere yet. Tells runs
    /// of ascending keys from random ones (Tree+Leaves.swift); nothing else depends on it.
    var slotInsertedLast = -1

    /// Takes over `bytes` without checking them.
    package init(logical: UInt64, bytes: [UInt8]) {
        self.logical = logical
        self.bytes = bytes
    }

    // MARK: header

    package var level: UInt8 { bytes[100] }
    package var isLeaf: Bool { level == 0 }
    package var itemCount: Int { Int(bytes.u32(at: 96)) }
    package var owner: UInt64 { bytes.u64(at: 88) }
    package var generation: UInt64 { bytes.u64(at: 80) }
    package var chunkTreeUUID: FilesystemUUID { bytes.uuid(at: 64) }
    package var flags: UInt64 { bytes.u64(at: 56) }

    /// Bytes behind the header: the room that items and their data share.
    package var dataSize: Int { bytes.count - Layout.headerSize }

    // MARK: entries of nodes and leaves

    /// First byte of entry `slot`.
    @inline(__always)
    func entryOffset(_ slot: Int) -> Int {
        Layout.headerSize + slot * (level == 0 ? Layout.itemSize : Layout.pointerSize)
    }

    package func key(_ slot: Int) -> Key {
        bytes.key(at: entryOffset(slot))
    }

    /// Address of the child that pointer `slot` of a node leads to.
    package func childLogical(_ slot: Int) -> UInt64 {
        bytes.u64(at: Layout.headerSize + slot * Layout.pointerSize + 17)
    }

    /// Generation that the child must carry.
    package func childGeneration(_ slot: Int) -> UInt64 {
        bytes.u64(at: Layout.headerSize + slot * Layout.pointerSize + 25)
    }

    /// Where item `slot` of a leaf has its data, in `bytes`.
    package func itemRange(_ slot: Int) -> Range<Int> {
        let entry = Layout.headerSize + slot * Layout.itemSize
        let start = Layout.headerSize + Int(bytes.u32(at: entry + 17))
        return start..<(start + Int(bytes.u32(at: entry + 21)))
    }

    /// Calls `body` with the data of item `slot` of a leaf.
    package func withItem<Result>(
        _ slot: Int,
        _ body: (RawSpan) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try bytes.withSpan(itemRange(slot), body)
    }

    /// A copy of the data of item `slot` of a leaf.
    package func itemData(_ slot: Int) -> [UInt8] {
        Array(bytes[itemRange(slot)])
    }

    /// The first slot whose key is `key` or above; `itemCount` when there is none.
    ///
    /// - Complexity: O(log itemCount)
    package func lowerBound(_ key: Key) -> Int {
        bytes.lowerBound(
            key,
            entries: itemCount,
            entrySize: isLeaf ? Layout.itemSize : Layout.pointerSize
        )
    }
}

/// Fields at offsets that the caller knows to be inside the block; any other offset traps. (The
/// markers: bytes of an array have no padding that a raw view could expose.)
extension [UInt8] {
    @inline(__always)
    func u32(at offset: Int) -> UInt32 { unsafe span.bytes.u32(at: offset) }

    @inline(__always)
    func u64(at offset: Int) -> UInt64 { unsafe span.bytes.u64(at: offset) }

    @inline(__always)
    func key(at offset: Int) -> Key { unsafe span.bytes.key(at: offset) }

    func uuid(at offset: Int) -> FilesystemUUID { unsafe span.bytes.uuid(at: offset) }

    /// The first of `entries` entries behind the header whose key is `key` or above.
    fileprivate func lowerBound(_ key: Key, entries: Int, entrySize: Int) -> Int {
        let view = unsafe span.bytes
        var low = 0
        var high = entries
        while low < high {
            let middle = (low + high) / 2
            if view.key(at: TreeBlock.Layout.headerSize + middle * entrySize) < key {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    @inline(__always)
    func withSpan<Result>(
        _ range: Range<Int>,
        _ body: (RawSpan) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try body(unsafe span.bytes.extracting(range))
    }
}
