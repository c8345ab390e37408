//===-- InodeCheck+Extents.swift - the file extents of an inode -----------------------------------===//
// Fields, order, sizes, and checksums; that the extents they name are recorded, and by whom, is
// TreeAccounting's.
//
// Items are taken apart here and not by BGDiskFormat, whose code also writes them: a mistake there must
// not hide itself, and one wrong field must not keep the extent from being counted.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

/// An EXTENT_DATA item of a regular or preallocated extent.
struct StoredFileExtent {
    static let byteCount = 53
    static let inlineByteCount = 21

    let generation: UInt64
    let ramBytes: UInt64
    let compression: UInt8
    let isPreallocated: Bool
    /// 0: a hole.
    let logical: UInt64
    let diskLength: UInt64
    let offset: UInt64
    let length: UInt64

    /// nil for an inline extent, or one cut off.
    init?(_ data: RawSpan) {
        guard data.byteCount == StoredFileExtent.byteCount, data.u8(at: 20) != 0 else { return nil }
        generation = data.u64(at: 0)
        ramBytes = data.u64(at: 8)
        compression = data.u8(at: 16)
        isPreallocated = data.u8(at: 20) == 2
        logical = data.u64(at: 21)
        diskLength = data.u64(at: 29)
        offset = data.u64(at: 37)
        length = data.u64(at: 45)
    }

    /// The extent in a slot of a leaf; nil as above.
    static func read(_ leaf: TreeBlock, _ slot: Int) -> StoredFileExtent? {
        let extent: StoredFileExtent?? = try? leaf.withItem(slot) {
            (data) throws(FilesystemError) in
            StoredFileExtent(data)
        }
        return extent ?? nil
    }
}

extension InodeCheck {
    mutating func addExtent(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        try data.require(StoredFileExtent.inlineByteCount, "file extent")
        let type = data.u8(at: 20)
        let compression = data.u8(at: 16)
        guard type <= 2, compression <= 3, data.u8(at: 17) == 0, data.u16(at: 18) == 0 else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "type %, compression %, or encoded",
                UInt64(type),
                UInt64(compression)
            )
        }
        guard data.u64(at: 0) <= checker.superBlock.generation + 1 else {
            throw FilesystemError(.corrupt, "file extent", "generation %", data.u64(at: 0))
        }
        hasExtents = true
        if type == 0 {
            try addInline(key, data)
        } else {
            guard let extent = StoredFileExtent(data) else {
                throw FilesystemError(
                    .corrupt,
                    "file extent",
                    "item of % bytes",
                    UInt64(data.byteCount)
                )
            }
            try addRegular(key, extent)
        }
    }

    private mutating func addInline(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        let ramBytes = data.u64(at: 8)
        let stored = UInt64(data.byteCount - StoredFileExtent.inlineByteCount)
        guard key.offset == 0 else {
            throw FilesystemError(.corrupt, "file extent", "inline at %", key.offset)
        }
        extentBytes += ramBytes
        extentEnd = (ramBytes + checker.sectorSize - 1) / checker.sectorSize * checker.sectorSize
        let isCompressed = data.u8(at: 16) != 0
        guard ramBytes > 0, ramBytes <= checker.sectorSize, stored < checker.sectorSize,
            isCompressed || stored == ramBytes
        else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "% bytes inline, % stored",
                ramBytes,
                stored
            )
        }
    }

    private mutating func addRegular(
        _ key: Key,
        _ extent: StoredFileExtent
    ) throws(FilesystemError) {
        try checkFields(key, extent)
        if key.offset < extentEnd {
            fault(.fileExtent, "at % begins before % where another ends", key.offset, extentEnd)
        } else if key.offset > extentEnd {
            firstGap = firstGap ?? extentEnd
        }
        extentEnd = max(extentEnd, key.offset + extent.length)
        if extent.logical != 0 { extentBytes = extentBytes &+ extent.length }
        if !isRegular && hasItem && isSubvolume {
            fault(.fileExtent, "regular extent of an inode with mode %", UInt64(mode))
        }
        checkSize(key, extent)
        checkChecksums(key, extent)
    }

    private func checkFields(_ key: Key, _ extent: StoredFileExtent) throws(FilesystemError) {
        let sector = checker.superBlock.sectorSize
        let fields: [UInt64] = [
            key.offset, extent.ramBytes, extent.logical, extent.diskLength, extent.offset,
            extent.length,
        ]
        for field in fields where !field.isAligned(to: sector) {
            throw FilesystemError(.corrupt, "file extent", "% is not sector aligned", field)
        }
        guard extent.length > 0, key.offset.end(adding: extent.length) != nil else {
            throw FilesystemError(.corrupt, "file extent", "length %", extent.length)
        }
        guard extent.logical == 0 || extent.diskLength > 0 else {
            throw FilesystemError(.corrupt, "file extent", "no bytes at %", extent.logical)
        }
        guard extent.logical.end(adding: extent.diskLength) != nil else {
            throw FilesystemError(.corrupt, "file extent", "% bytes", extent.diskLength)
        }
        guard let end = extent.offset.end(adding: extent.length), end <= extent.ramBytes else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "reaches past the % bytes of its extent, from %",
                extent.ramBytes,
                extent.offset
            )
        }
        guard !extent.isPreallocated || extent.compression == 0 else {
            throw FilesystemError(.corrupt, "file extent", "preallocated and compressed")
        }
        guard
            extent.logical == 0 || extent.compression != 0 || extent.ramBytes == extent.diskLength
        else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "% bytes stand for %, not compressed",
                extent.diskLength,
                extent.ramBytes
            )
        }
    }

    /// Beyond the size only preallocated space may lie. (Without no-holes the kernel moves the size
    /// on disk behind the data, so that extents run ahead of it.)
    private func checkSize(_ key: Key, _ extent: StoredFileExtent) {
        guard isSubvolume, hasItem, linkCount > 0, !extent.isPreallocated, extent.logical != 0,
            checker.limits.incompat.contains(.noHoles)
        else { return }
        if key.offset >= size {
            fault(.fileExtent, "at % lies behind the size %", key.offset, size)
        }
    }

    private mutating func checkChecksums(_ key: Key, _ extent: StoredFileExtent) {
        guard isSubvolume, isRegular, extent.logical != 0, checker.checksumsAreWhole,
            !hasSaidChecksums
        else { return }
        // A compressed extent is read as a whole, of any other only this part.
        let start = extent.compression == 0 ? extent.logical &+ extent.offset : extent.logical
        let length = extent.compression == 0 ? extent.length : extent.diskLength
        let covered = checker.checksums.covered(start, length)
        if extent.isPreallocated { return }
        if hasNoChecksums, covered > 0 {
            hasSaidChecksums = true
            fault(.missingChecksum, "% bytes have checksums, the inode is without", covered)
        }
        if !hasNoChecksums, covered < length {
            hasSaidChecksums = true
            fault(
                .missingChecksum,
                "% bytes of the extent at file offset % have none",
                length - covered,
                key.offset
            )
        }
    }
}
