//===-- NodeHeader.swift - the start of every tree block, and what follows it -----------------===//
// A tree block: header of 101 bytes, then item headers with their data packed from the end (a
// leaf), or key pointers (a node above level 0).
//
// Here are the values and the checks that one of them allows by itself. Order of keys, and items
// that must not overlap, are checked by the reader of the block, which sees them all.

/// The header of a tree block.
package struct NodeHeader: Equatable, Sendable {
    package static let byteCount = 101
    /// The block was written in full (bit 0).
    package static let flagWritten: UInt64 = 1
    /// Back reference revision in the uppermost byte; every sound file system has 1.
    package static let mixedBackrefRevision: UInt64 = 1

    package var fsid: FilesystemUUID
    /// The block's own logical address.
    package var logical: UInt64
    package var flags: UInt64
    package var chunkTreeUUID: FilesystemUUID
    package var generation: UInt64
    /// Object id of the tree that allocated the block.
    package var owner: UInt64
    package var itemCount: UInt32
    package var level: UInt8

    /// Item headers or key pointers that fit.
    package static func itemsMax(level: UInt8, nodeSize: UInt32) -> Int {
        (Int(nodeSize) - byteCount)
            / (level == 0 ? LeafItem.headerByteCount : KeyPointer.byteCount)
    }

    /// Reads the header of a whole block without looking at its checksum.
    package init(_ block: RawSpan) throws(FilesystemError) {
        try block.require(NodeHeader.byteCount, "tree block")
        fsid = block.uuid(at: 32)
        logical = block.u64(at: 48)
        flags = block.u64(at: 56)
        chunkTreeUUID = block.uuid(at: 64)
        generation = block.u64(at: 80)
        owner = block.u64(at: 88)
        itemCount = block.u32(at: 96)
        level = block.u8(at: 100)
    }

    /// Reads a block's header after comparing its checksum, and checks every field of it.
    ///
    /// - Parameters:
    ///   - block: exactly one tree block.
    ///   - expectedLogical: where it was read from.
    package init(
        verifying block: RawSpan,
        at expectedLogical: UInt64,
        _ superBlock: SuperBlock
    ) throws(FilesystemError) {
        do throws(FilesystemError) {
            try block.requireExactly(Int(superBlock.nodeSize), "tree block")
            guard superBlock.checksumType.verify(block: block) else {
                throw FilesystemError(.corrupt, "tree block", "checksum does not match")
            }
            try self.init(block)
            try check(at: expectedLogical, superBlock)
        } catch {
            throw error.located(logical: expectedLogical)
        }
    }

    private func check(at expected: UInt64, _ superBlock: SuperBlock) throws(FilesystemError) {
        guard logical == expected else {
            throw FilesystemError(.corrupt, "tree block", "says it lies at %", logical)
        }
        guard fsid == superBlock.metadataUUID else {
            throw FilesystemError(.corrupt, "tree block", "belongs to another file system")
        }
        guard level <= SuperBlock.levelMax else {
            throw FilesystemError(.corrupt, "tree block", "level %", UInt64(level))
        }
        guard generation <= superBlock.generation + 1 else {
            throw FilesystemError(
                .corrupt,
                "tree block",
                "generation % above the super block's %",
                generation,
                superBlock.generation
            )
        }
        guard flags & NodeHeader.flagWritten != 0 else {
            throw FilesystemError(.corrupt, "tree block", "was never written, flags %", flags)
        }
        guard flags >> 56 == NodeHeader.mixedBackrefRevision else {
            throw FilesystemError(
                .corrupt,
                "tree block",
                "back reference revision %",
                flags >> 56
            )
        }
        let most = NodeHeader.itemsMax(level: level, nodeSize: superBlock.nodeSize)
        guard Int(itemCount) <= most else {
            throw FilesystemError(
                .corrupt,
                "tree block",
                "% items where % fit",
                UInt64(itemCount),
                UInt64(most)
            )
        }
        guard level == 0 || itemCount > 0 else {
            throw FilesystemError(.corrupt, "tree block", "node without a key pointer")
        }
    }
}

/// One item header of a leaf.
package struct LeafItem: Equatable, Sendable {
    package static let headerByteCount = 25

    package var key: Key
    /// Bytes from the end of the node header to the item's data.
    package var dataOffset: UInt32
    /// Bytes of data.
    package var dataSize: UInt32

    /// Where the data begins in the block.
    package var dataStart: Int { NodeHeader.byteCount + Int(dataOffset) }
    /// One past the data's last byte in the block.
    package var dataEnd: Int { dataStart + Int(dataSize) }

    /// Offset in the block of the item header in `slot`.
    package static func headerOffset(slot: Int) -> Int {
        NodeHeader.byteCount + slot * headerByteCount
    }

    /// Reads the header in `slot`; the caller has checked the item count against the block.
    @inline(__always)
    package init(_ block: RawSpan, slot: Int) {
        let at = LeafItem.headerOffset(slot: slot)
        key = block.key(at: at)
        dataOffset = block.u32(at: at + 17)
        dataSize = block.u32(at: at + 21)
    }

    /// Throws `.corrupt` unless the data lies between the item headers and the end of the block.
    package func checkBounds(
        blockBytes: Int,
        itemCount: Int
    ) throws(FilesystemError) {
        guard dataStart >= LeafItem.headerOffset(slot: itemCount) else {
            throw FilesystemError(
                .corrupt,
                "leaf",
                "item data at % overlaps the item headers",
                UInt64(dataOffset)
            )
        }
        guard dataEnd <= blockBytes else {
            throw FilesystemError(
                .corrupt,
                "leaf",
                "item data at %, % bytes, passes the end of the block",
                UInt64(dataOffset),
                UInt64(dataSize)
            )
        }
    }
}

/// One key pointer of a node above level 0.
package struct KeyPointer: Equatable, Sendable {
    package static let byteCount = 33

    package var key: Key
    /// Logical address of the child.
    package var logical: UInt64
    /// The child's generation.
    package var generation: UInt64

    /// Offset in the block of the pointer in `slot`.
    package static func offset(slot: Int) -> Int { NodeHeader.byteCount + slot * byteCount }

    /// Reads the pointer in `slot`; the caller has checked the item count against the block.
    @inline(__always)
    package init(_ block: RawSpan, slot: Int) {
        let at = KeyPointer.offset(slot: slot)
        key = block.key(at: at)
        logical = block.u64(at: at + 17)
        generation = block.u64(at: at + 25)
    }

    /// Throws `.corrupt` unless the pointer can be followed.
    package func check(_ limits: FormatLimits) throws(FilesystemError) {
        guard logical != 0, logical.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "node", "child address % not sector aligned", logical)
        }
        guard generation <= limits.generation + 1 else {
            throw FilesystemError(
                .corrupt,
                "node",
                "child generation % above the super block's %",
                generation,
                limits.generation
            )
        }
    }
}
