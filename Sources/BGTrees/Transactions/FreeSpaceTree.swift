//===-- FreeSpaceTree.swift - free space on disk, as extents --------------------------------------===//
// The free-space tree holds, for each group, an info item and what is free in it: as one item for each
// free run, or as bitmaps once runs would take more room than those. The change between the two has a
// margin, so that a group at the threshold does not go back and forth.
//
// Invariants:
//   1. What is free is exactly what the extent tree does not record, super block copies included.
//   2. The info item's count is the number of free runs, with bitmaps too.
//   3. Runs that touch are one.
//
// Locks: the tree mutex; inside a commit.
// Not here: bitmaps (FreeSpaceBitmaps.swift); free space in memory, which the allocator has.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// A free run, bytes.
struct FreeRun: Equatable {
    var logical: UInt64
    var length: UInt64

    var end: UInt64 { logical + length }
}

extension TreeState {
    /// An extent that is recorded takes this range.
    func removeFreeSpace(
        _ group: Int,
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) {
        try changeFreeSpace(group) { (info) throws(FilesystemError) in
            info.usesBitmaps
                ? try changeBits(info, logical, length, free: false)
                : try removeRun(info, logical, length)
        }
    }

    /// An extent that is recorded no longer gives this range back.
    func addFreeSpace(
        _ group: Int,
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) {
        try changeFreeSpace(group) { (info) throws(FilesystemError) in
            info.usesBitmaps
                ? try changeBits(info, logical, length, free: true)
                : try addRun(info, logical, length)
        }
    }

    /// Changes what is free in a group, if there is a tree for it.
    ///
    /// - Parameter change: returns by how many runs there are more.
    private func changeFreeSpace(
        _ group: Int,
        _ change: (FreeSpaceInfo) throws(FilesystemError) -> Int
    ) throws(FilesystemError) {
        guard trees.freeSpace != nil else { return }
        try countRuns(group, change(freeSpaceInfo(group)))
    }

    /// Records a group that is wholly free.
    func insertFreeSpace(_ group: Int) throws(FilesystemError) {
        guard let tree = trees.freeSpace?.tree else { return }
        let record = groups[group].record
        let info = FreeSpaceInfo(
            logical: record.logical,
            length: record.length,
            extentCount: 1,
            usesBitmaps: false
        )
        try tree.insert(info.key, info.encoded)
        try tree.insert(Key(record.logical, .freeSpaceExtent, record.length), [])
        groups.setFreeSpace(group, info, isChanged: false)
    }

    /// Removes everything about a group.
    func removeFreeSpace(of group: Int) throws(FilesystemError) {
        guard let tree = trees.freeSpace?.tree else { return }
        let record = groups[group].record
        let removed = try tree.removeAll(
            from: Key(record.logical, .freeSpaceInfo, 0),
            through: Key(record.end - 1, .freeSpaceBitmap, .max)
        )
        guard removed >= 2 else {
            throw corrupt(record.logical, "a free group has % free-space items", UInt64(removed))
        }
    }

    /// The group's info as it is now.
    private func freeSpaceInfo(_ group: Int) throws(FilesystemError) -> FreeSpaceInfo {
        if let info = groups[group].freeSpace { return info }
        let record = groups[group].record
        let key = Key(record.logical, .freeSpaceInfo, record.length)
        let info = try trees.freeSpace?.tree.withItem(key) { data throws(FilesystemError) in
            try FreeSpaceInfo(key: key, data, geometry.limits)
        }
        guard let info else { throw corrupt(record.logical, "a group without an info item") }
        groups.setFreeSpace(group, info, isChanged: false)
        return info
    }

    /// Counts runs that came or went, and changes the form where there are too many or few.
    private func countRuns(_ group: Int, _ change: Int) throws(FilesystemError) {
        guard change != 0, var info = groups[group].freeSpace else { return }
        let (count, isSound) = Int(info.extentCount).addingReportingOverflow(change)
        guard !isSound, let count = UInt32(exactly: count) else {
            throw corrupt(info.logical, "% free runs, and one fewer", UInt64(info.extentCount))
        }
        info.extentCount = count
        let thresholds = FreeSpaceThresholds(info, sectorBytes: sectorBytes)
        if !info.usesBitmaps, count > thresholds.high {
            info.usesBitmaps = true
            try replaceRunsByBitmaps(info)
        } else if info.usesBitmaps, count < thresholds.low {
            info.usesBitmaps = false
            try replaceBitmapsByRuns(info)
        }
        groups.setFreeSpace(group, info, isChanged: true)
    }

    func corrupt(
        _ logical: UInt64,
        _ what: StaticString,
        _ value: UInt64? = nil
    ) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "free space",
            what,
            value,
            root: ObjectID.freeSpaceTree,
            logical: logical
        )
    }

    // MARK: runs

    /// - Returns: by how many runs there are more.
    private func removeRun(
        _ info: FreeSpaceInfo,
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) -> Int {
        guard let tree = trees.freeSpace?.tree else { return 0 }
        let end = logical + length
        guard let run = try runAtOrBelow(logical, info, tree), end <= run.end else {
            throw corrupt(logical, "% bytes that are allocated are not free", length)
        }
        try tree.remove(run.key)
        var change = -1
        if run.logical < logical {
            try tree.insert(FreeRun(logical: run.logical, length: logical - run.logical).key, [])
            change += 1
        }
        if end < run.end {
            try tree.insert(FreeRun(logical: end, length: run.end - end).key, [])
            change += 1
        }
        return change
    }

    /// - Returns: by how many runs there are more.
    private func addRun(
        _ info: FreeSpaceInfo,
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) -> Int {
        guard let tree = trees.freeSpace?.tree else { return 0 }
        let groupEnd = info.logical + info.length
        var run = FreeRun(logical: logical, length: length)
        var change = 1
        if let left = try runAtOrBelow(logical, info, tree) {
            guard left.end <= logical else { throw corrupt(logical, "freed twice") }
            if left.end == logical {
                try tree.remove(left.key)
                run = FreeRun(logical: left.logical, length: left.length + run.length)
                change -= 1
            }
        }
        let above = try tree.first(atOrAbove: Key(logical, .freeSpaceExtent, 0))
        if let key = above?.key, key.objectid < groupEnd, key.type == .freeSpaceExtent {
            guard key.objectid >= run.end else { throw corrupt(logical, "freed twice") }
            if key.objectid == run.end {
                try tree.remove(key)
                run.length += key.offset
                change -= 1
            }
        }
        try tree.insert(run.key, [])
        return change
    }

    /// The run of a group that begins at an address or below.
    private func runAtOrBelow(
        _ logical: UInt64,
        _ info: FreeSpaceInfo,
        _ tree: Tree
    ) throws(FilesystemError) -> FreeRun? {
        guard let item = try tree.last(atOrBelow: Key(logical, .freeSpaceExtent, .max)),
            item.key.type == .freeSpaceExtent, item.key.objectid >= info.logical
        else { return nil }
        return FreeRun(logical: item.key.objectid, length: item.key.offset)
    }
}

extension FreeRun {
    /// Where the run's item lies; all of it is in the key.
    var key: Key { Key(logical, .freeSpaceExtent, length) }
}

/// How many runs make a group's free space change its form.
struct FreeSpaceThresholds {
    /// Above: runs become bitmaps, which take less room.
    let high: UInt32
    /// Below: bitmaps become runs.
    let low: UInt32

    init(_ info: FreeSpaceInfo, sectorBytes: UInt64) {
        let margin: UInt64 = 100
        let itemBytes = UInt64(TreeBlock.Layout.itemSize)
        let bitmapBytes = UInt64(FreeSpaceInfo.bitmapBytesMax)
        let range = bitmapBytes * 8 * sectorBytes
        let bitmaps = info.length / range + (info.length % range == 0 ? 0 : 1)
        let most = bitmaps * (itemBytes + bitmapBytes) / itemBytes
        high = UInt32(clamping: most)
        low = UInt32(clamping: most > margin ? most - margin : 0)
    }
}
