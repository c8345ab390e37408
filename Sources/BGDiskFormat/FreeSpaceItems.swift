//===-- FreeSpaceItems.swift - items of the free-space tree -----------------------------------===//
// For each block group one info, then its free runs as extents or as bitmaps.

/// FREE_SPACE_INFO: how a block group's free space is stored.
package struct FreeSpaceInfo: Equatable, Sendable {
    package static let byteCount = 8
    /// Free space is in bitmaps, not extents.
    package static let flagBitmaps: UInt32 = 1
    /// Bytes of every bitmap but a group's last.
    package static let bitmapBytesMax = 256

    package var logical: UInt64
    package var length: UInt64
    /// Number of free runs, however they are stored.
    package var extentCount: UInt32
    package var usesBitmaps: Bool

    package init(logical: UInt64, length: UInt64, extentCount: UInt32, usesBitmaps: Bool) {
        self.logical = logical
        self.length = length
        self.extentCount = extentCount
        self.usesBitmaps = usesBitmaps
    }

    /// Where the item lies in the free-space tree.
    package var key: Key { Key(logical, .freeSpaceInfo, length) }

    /// The item's bytes.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: extentCount)
        bytes.append(littleEndian: usesBitmaps ? Self.flagBitmaps : 0)
        return bytes
    }

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.requireExactly(FreeSpaceInfo.byteCount, "free space info")
        logical = key.objectid
        length = key.offset
        extentCount = bytes.u32(at: 0)
        let flags = bytes.u32(at: 4)
        usesBitmaps = flags & FreeSpaceInfo.flagBitmaps != 0
        try checkFreeSpaceKey(key, .freeSpaceInfo, limits)
        guard flags & ~FreeSpaceInfo.flagBitmaps == 0 else {
            throw FilesystemError(.corrupt, "free space info", "flags %", UInt64(flags))
        }
        guard UInt64(extentCount) <= length / UInt64(limits.sectorSize) else {
            throw FilesystemError(
                .corrupt,
                "free space info",
                "% runs in % bytes",
                UInt64(extentCount),
                length
            )
        }
    }
}

/// FREE_SPACE_EXTENT: one free run; all of it is in the key.
package struct FreeSpaceExtent: Equatable, Sendable {
    package var logical: UInt64
    package var length: UInt64

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.requireExactly(0, "free space extent")
        logical = key.objectid
        length = key.offset
        try checkFreeSpaceKey(key, .freeSpaceExtent, limits)
    }
}

/// FREE_SPACE_BITMAP: a set bit for each free sector of a range.
package struct FreeSpaceBitmap: Equatable, Sendable {
    package var logical: UInt64
    package var length: UInt64
    /// Sectors in the range; the item has as many bits, filled up to a whole byte.
    package var sectorCount: Int

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        logical = key.objectid
        length = key.offset
        try checkFreeSpaceKey(key, .freeSpaceBitmap, limits)
        let sectors = length / UInt64(limits.sectorSize)
        guard sectors <= UInt64(FreeSpaceInfo.bitmapBytesMax * 8) else {
            throw FilesystemError(
                .corrupt,
                "free space bitmap",
                "% sectors in one bitmap",
                sectors
            )
        }
        sectorCount = Int(sectors)
        try bytes.requireExactly((sectorCount + 7) / 8, "free space bitmap")
    }

    /// Whether the sector with this number is free; `bytes` are the item.
    @inline(__always)
    package static func isFree(_ bytes: RawSpan, sector: Int) -> Bool {
        bytes.u8(at: sector >> 3) >> UInt8(truncatingIfNeeded: sector & 7) & 1 != 0
    }
}

/// What the keys of the three free-space items have in common.
private func checkFreeSpaceKey(
    _ key: Key,
    _ type: KeyType,
    _ limits: FormatLimits
) throws(FilesystemError) {
    guard key.type == type else {
        throw FilesystemError(.corrupt, "free space", "key type %", UInt64(key.type.rawValue))
    }
    guard key.objectid.isAligned(to: limits.sectorSize) else {
        throw FilesystemError(
            .corrupt,
            "free space",
            "address % not sector aligned",
            key.objectid
        )
    }
    guard key.offset > 0, key.offset.isAligned(to: limits.sectorSize) else {
        throw FilesystemError(
            .corrupt,
            "free space",
            "length % not sector aligned",
            key.offset
        )
    }
    guard key.objectid.end(adding: key.offset) != nil else {
        throw FilesystemError(
            .corrupt,
            "free space",
            "length % passes the last address",
            key.offset
        )
    }
}
