//===-- BlockGroupItem.swift - a block group and how much of it is in use ---------------------===//
// An item of the extent tree, or of the block-group tree where there is one.

/// BLOCK_GROUP_ITEM: a block group and how much of it is in use.
package struct BlockGroupItem: Equatable, Sendable {
    package static let byteCount = 24

    package var logical: UInt64
    package var length: UInt64
    /// Bytes in extents.
    package var used: UInt64
    package var chunkObjectid: UInt64
    package var flags: ChunkFlags

    /// First logical address behind the group.
    package var end: UInt64 { logical + length }

    package init(
        logical: UInt64,
        length: UInt64,
        used: UInt64,
        chunkObjectid: UInt64,
        flags: ChunkFlags
    ) {
        self.logical = logical
        self.length = length
        self.used = used
        self.chunkObjectid = chunkObjectid
        self.flags = flags
    }

    /// Where the item lies in the extent tree or the block-group tree.
    package var key: Key { Key(logical, .blockGroupItem, length) }

    /// The item's bytes.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.byteCount)
        bytes.append(littleEndian: used)
        bytes.append(littleEndian: chunkObjectid)
        bytes.append(littleEndian: flags.rawValue)
        return bytes
    }

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.requireExactly(BlockGroupItem.byteCount, "block group")
        logical = key.objectid
        length = key.offset
        used = bytes.u64(at: 0)
        chunkObjectid = bytes.u64(at: 8)
        flags = ChunkFlags(rawValue: bytes.u64(at: 16))
        do throws(FilesystemError) {
            try check(key, limits)
        } catch {
            throw error.located(logical: key.objectid)
        }
    }

    private func check(_ key: Key, _ limits: FormatLimits) throws(FilesystemError) {
        guard key.type == .blockGroupItem else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "key type %",
                UInt64(key.type.rawValue)
            )
        }
        guard logical.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "block group", "address % not sector aligned", logical)
        }
        guard length > 0, length.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "block group", "length % not sector aligned", length)
        }
        guard logical.end(adding: length) != nil else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "length % passes the last address",
                length
            )
        }
        guard chunkObjectid == ObjectID.firstChunk else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "chunk object id %, expected 256",
                chunkObjectid
            )
        }
        guard used <= length else {
            throw FilesystemError(.corrupt, "block group", "% bytes used of %", used, length)
        }
        try flags.check("block group")
        guard !flags.isMixed || limits.incompat.contains(.mixedGroups) else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "mixed type % without the mixed-groups flag",
                flags.rawValue
            )
        }
    }
}
