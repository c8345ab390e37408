//===-- FreeSpaceBitmaps.swift - free space on disk, as bitmaps -----------------------------------===//
// A group's bitmaps follow one another from its start, each over 2048 sectors, the last one over what
// is left; all of them are there, free or not. A set bit is a free sector.
//
// Locks: the tree mutex; inside a commit.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// One bitmap of a group.
private struct BitmapPlace {
    let logical: UInt64
    let length: UInt64

    /// The bitmap that covers an address.
    init(covering logical: UInt64, _ info: FreeSpaceInfo, sectorBytes: UInt64) {
        let range = UInt64(FreeSpaceInfo.bitmapBytesMax) * 8 * sectorBytes
        self.logical = info.logical + (logical - info.logical) / range * range
        length = min(range, info.logical + info.length - self.logical)
    }

    var end: UInt64 { logical + length }
    var key: Key { Key(logical, .freeSpaceBitmap, length) }
}

extension TreeState {
    /// Marks sectors as free, or as in use. - Returns: by how many runs there are more.
    func changeBits(
        _ info: FreeSpaceInfo,
        _ logical: UInt64,
        _ length: UInt64,
        free: Bool
    ) throws(FilesystemError) -> Int {
        let (before, after) = try neighbours(info, logical, length)
        try setBits(info, logical, length, free: free)
        // By how many there are more with the range free than without.
        let runs = 1 - (before ? 1 : 0) - (after ? 1 : 0)
        return free ? runs : -runs
    }

    /// Whether the sectors next to a range are free.
    private func neighbours(
        _ info: FreeSpaceInfo,
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) -> (before: Bool, after: Bool) {
        let end = logical + length
        var before = false
        var after = false
        if logical > info.logical { before = try isFree(info, logical - sectorBytes) }
        if end < info.logical + info.length { after = try isFree(info, end) }
        return (before, after)
    }

    private func isFree(_ info: FreeSpaceInfo, _ logical: UInt64) throws(FilesystemError) -> Bool {
        let place = BitmapPlace(covering: logical, info, sectorBytes: sectorBytes)
        let sector = Int((logical - place.logical) / sectorBytes)
        let answer = try trees.freeSpace?.tree.withItem(place.key) { data throws(FilesystemError) in
            _ = try FreeSpaceBitmap(key: place.key, data, geometry.limits)
            return FreeSpaceBitmap.isFree(data, sector: sector)
        }
        guard let answer else { throw corrupt(place.logical, "a bitmap is missing") }
        return answer
    }

    /// Flips the bits of a range, all of which must be the other way.
    private func setBits(
        _ info: FreeSpaceInfo,
        _ logical: UInt64,
        _ length: UInt64,
        free: Bool
    ) throws(FilesystemError) {
        guard let tree = trees.freeSpace?.tree else { return }
        var low = logical
        let end = logical + length
        // Ends: every bitmap covers at least a sector of the range.
        while low < end {
            let place = BitmapPlace(covering: low, info, sectorBytes: sectorBytes)
            let high = min(end, place.end)
            guard var bits = try tree.item(place.key) else {
                throw corrupt(place.logical, "a bitmap is missing")
            }
            guard bits.count == Int((place.length / sectorBytes + 7) / 8) else {
                throw corrupt(place.logical, "a bitmap of % bytes", UInt64(bits.count))
            }
            let first = Int((low - place.logical) / sectorBytes)
            let last = Int((high - place.logical) / sectorBytes)
            guard bits.flipBits(first..<last, to: free) else {
                throw corrupt(low, free ? "freed twice" : "allocated, but not free")
            }
            try tree.replace(place.key, bits)
            low = high
        }
    }

    // MARK: changing the form

    /// - Parameter info: as it is to be: with bitmaps.
    func replaceRunsByBitmaps(_ info: FreeSpaceInfo) throws(FilesystemError) {
        guard let tree = trees.freeSpace?.tree else { return }
        let runs = try runsOfExtents(info)
        try removeFreeRuns(info, expected: runs.count)
        var next = 0
        var place = BitmapPlace(covering: info.logical, info, sectorBytes: sectorBytes)
        while true {
            var bits = [UInt8](
                repeating: 0,
                count: Int((place.length / sectorBytes + 7) / 8)
            )
            while next < runs.count, runs[next].logical < place.end {
                let low = max(runs[next].logical, place.logical)
                let high = min(runs[next].end, place.end)
                let first = Int((low - place.logical) / sectorBytes)
                let last = Int((high - place.logical) / sectorBytes)
                guard bits.flipBits(first..<last, to: true) else {
                    throw corrupt(low, "free runs overlap")
                }
                if runs[next].end > place.end { break }
                next += 1
            }
            try tree.insert(place.key, bits)
            // Ends: places ascend to the group's end.
            guard place.end < info.logical + info.length else { break }
            place = BitmapPlace(covering: place.end, info, sectorBytes: sectorBytes)
        }
    }

    /// - Parameter info: as it is to be: without bitmaps.
    func replaceBitmapsByRuns(_ info: FreeSpaceInfo) throws(FilesystemError) {
        guard let tree = trees.freeSpace?.tree else { return }
        let (runs, bitmaps) = try runsOfBitmaps(info)
        guard runs.count == Int(info.extentCount) else {
            throw corrupt(info.logical, "bitmaps with % runs", UInt64(runs.count))
        }
        try removeFreeRuns(info, expected: bitmaps)
        for run in runs { try tree.insert(run.key, []) }
    }

    private func removeFreeRuns(_ info: FreeSpaceInfo, expected: Int) throws(FilesystemError) {
        let removed = try trees.freeSpace?.tree.removeAll(
            from: Key(info.logical, .freeSpaceExtent, 0),
            through: Key(info.logical + info.length - 1, .freeSpaceBitmap, .max)
        )
        guard removed == expected else {
            throw corrupt(info.logical, "items of two forms in one group")
        }
    }

    private func runsOfExtents(_ info: FreeSpaceInfo) throws(FilesystemError) -> [FreeRun] {
        let end = info.logical + info.length
        var runs: [FreeRun] = []
        try trees.freeSpace?.tree.forEach(
            from: Key(info.logical, .freeSpaceExtent, 0),
            through: Key(end - 1, .freeSpaceExtent, .max)
        ) { key, _ throws(FilesystemError) in
            let run = FreeRun(logical: key.objectid, length: key.offset)
            guard key.type == .freeSpaceExtent, run.length <= end - run.logical else {
                throw corrupt(run.logical, "not a run of its group")
            }
            runs.append(run)
            return true
        }
        guard runs.count == Int(info.extentCount) else {
            throw corrupt(info.logical, "% runs, its info says otherwise", UInt64(runs.count))
        }
        return runs
    }

    private func runsOfBitmaps(
        _ info: FreeSpaceInfo
    ) throws(FilesystemError) -> (runs: [FreeRun], bitmaps: Int) {
        let end = info.logical + info.length
        var runs: [FreeRun] = []
        var bitmaps = 0
        try trees.freeSpace?.tree.forEach(
            from: Key(info.logical, .freeSpaceBitmap, 0),
            through: Key(end - 1, .freeSpaceBitmap, .max)
        ) { key, data throws(FilesystemError) in
            let bitmap = try FreeSpaceBitmap(key: key, data, geometry.limits)
            for sector in 0..<bitmap.sectorCount
            where FreeSpaceBitmap.isFree(data, sector: sector) {
                let logical = bitmap.logical + UInt64(sector) * sectorBytes
                if let last = runs.indices.last, runs[last].end == logical {
                    runs[last].length += sectorBytes
                } else {
                    runs.append(FreeRun(logical: logical, length: sectorBytes))
                }
            }
            bitmaps += 1
            return true
        }
        return (runs, bitmaps)
    }
}

extension [UInt8] {
    /// Flips bits of a bitmap to `value`.
    ///
    /// - Returns: false when one of them had it already; the bitmap is then half changed.
    fileprivate mutating func flipBits(_ bits: Range<Int>, to value: Bool) -> Bool {
        var bit = bits.lowerBound
        // Ends: every round goes on by at least a bit.
        while bit < bits.upperBound {
            let byte = bit >> 3
            let end = Swift.min(bits.upperBound, (byte + 1) << 3)
            let mask = UInt8(truncatingIfNeeded: (1 << (end - bit)) - 1) << UInt8(bit & 7)
            guard self[byte] & mask == (value ? 0 : mask) else { return false }
            self[byte] ^= mask
            bit = end
        }
        return true
    }
}
