//===-- FreeSpaceTreeWalk.swift - a group's free space from the free-space tree -----------------===//
// The tree holds for each group one FREE_SPACE_INFO item and behind it, in address order, either
// FREE_SPACE_EXTENT items, one a run, or FREE_SPACE_BITMAP items, one bit a sector. A run may go
// on from one bitmap into the next.
//
// What is checked, beyond each item's own fields (which the reader did): the info item is there; items are of the kind it announces, in order, apart and
// inside the group; the number of runs is the one it states; and free and used bytes add up to the
// group.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

struct FreeSpaceTreeWalk {
    let group: BlockGroupRecord
    let limits: FormatLimits
    let root: TreeRoot

    private var merger: FreeRunMerger
    /// End of the last item; the next one begins here or later.
    private var itemEnd: UInt64
    /// End of the last run of set bits; one that begins here continues it.
    private var bitmapFreeEnd: UInt64?
    private var runCount: UInt64 = 0
    private var freeBytes: UInt64 = 0

    init(group: BlockGroupRecord, limits: FormatLimits, root: TreeRoot) {
        self.group = group
        self.limits = limits
        self.root = root
        merger = FreeRunMerger(excluded: group.superBlockCopies)
        itemEnd = group.logical
    }

    mutating func run(
        _ reader: TreeReader,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        var cursor = TreeCursor(reader, root)
        let infoKey = Key(group.logical, .freeSpaceInfo, group.length)
        guard try cursor.seek(infoKey), cursor.key == infoKey else {
            throw corruptGroup("has no free-space info of its length")
        }
        let info = try cursor.withItem { (data) throws(FilesystemError) in
            try FreeSpaceInfo(key: infoKey, data, limits)
        }
        while try cursor.next() {
            let key = cursor.key
            guard key.objectid < group.end else { break }
            try checkBounds(key, cursor)
            switch key.type {
            case .freeSpaceExtent where !info.usesBitmaps:
                try addExtent(key, visit)
            case .freeSpaceBitmap where info.usesBitmaps:
                try cursor.withItem { (data) throws(FilesystemError) in
                    try addBitmap(key, data, visit)
                }
            default:
                throw corrupt(
                    "item of type % among free-space items",
                    UInt64(key.type.rawValue),
                    nil,
                    cursor
                )
            }
            itemEnd = key.objectid + key.offset
        }
        try merger.finish(visit)
        guard runCount == UInt64(info.extentCount) else {
            throw corruptGroup(
                "% free runs, the info item says %",
                runCount,
                UInt64(info.extentCount)
            )
        }
        guard freeBytes + group.used == group.length else {
            throw corruptGroup(
                "% bytes free, but % used, which is not the whole group",
                freeBytes,
                group.used
            )
        }
    }

    private func checkBounds(_ key: Key, _ cursor: TreeCursor) throws(FilesystemError) {
        guard key.objectid >= itemEnd else {
            throw corrupt("item begins at %, inside the one before", key.objectid, nil, cursor)
        }
        guard key.offset > 0, key.offset <= group.end - key.objectid else {
            throw corrupt("item at % is empty or leaves its group", key.objectid, nil, cursor)
        }
    }

    private mutating func addExtent(
        _ key: Key,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        runCount += 1
        freeBytes += key.offset
        try merger.add(key.objectid, key.offset, visit)
    }

    /// Adds the runs of set bits. Bits behind the last sector of the item mean nothing.
    private mutating func addBitmap(
        _ key: Key,
        _ bitmap: RawSpan,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        let sectorCount = try FreeSpaceBitmap(key: key, bitmap, limits).sectorCount
        var sector = bitmap.firstBit(true, from: 0, below: sectorCount)
        while sector < sectorCount {
            let runEnd = bitmap.firstBit(false, from: sector, below: sectorCount)
            let logical = key.objectid + UInt64(sector) * UInt64(limits.sectorSize)
            let length = UInt64(runEnd - sector) * UInt64(limits.sectorSize)
            // A run that continues the last one of the bitmap before is the same run.
            if bitmapFreeEnd != logical {
                runCount += 1
            }
            bitmapFreeEnd = logical + length
            freeBytes += length
            try merger.add(logical, length, visit)
            sector = bitmap.firstBit(true, from: runEnd, below: sectorCount)
        }
    }

    private func corrupt(
        _ what: StaticString,
        _ value: UInt64,
        _ secondValue: UInt64? = nil,
        _ cursor: TreeCursor
    ) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "free-space tree",
            what,
            value,
            secondValue,
            root: root.treeID,
            logical: cursor.leaf.logical,
            slot: cursor.slot
        )
    }

    /// An error about the group as a whole.
    private func corruptGroup(
        _ what: StaticString,
        _ value: UInt64? = nil,
        _ secondValue: UInt64? = nil
    ) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "free space of block group",
            what,
            value,
            secondValue,
            logical: group.logical
        )
    }
}

extension RawSpan {
    /// The first bit from `start` on that is `value`, or `limit` when there is none below it. Bit
    /// 0 is the lowest of byte 0.
    ///
    /// - Complexity: O((limit - start) / 64)
    func firstBit(_ value: Bool, from start: Int, below limit: Int) -> Int {
        let flip: UInt64 = value ? 0 : .max
        var bit = start
        while bit < limit {
            let byte = bit / 8
            // Whole words where they fit, single bytes at the end.
            if byte + 8 <= byteCount {
                let word = (u64(at: byte) ^ flip) >> UInt64(bit % 8)
                if word != 0 { return Swift.min(bit + word.trailingZeroBitCount, limit) }
                bit = (byte + 8) * 8
            } else {
                let rest = (u8(at: byte) ^ UInt8(truncatingIfNeeded: flip)) >> UInt8(bit % 8)
                if rest != 0 { return Swift.min(bit + rest.trailingZeroBitCount, limit) }
                bit = (byte + 1) * 8
            }
        }
        return limit
    }
}
