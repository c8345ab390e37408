//===-- FreeSpaceCheck.swift - the free-space tree is the complement of the extents ----------------===//
// For each group: an info item first, then runs as extents or as bitmaps, as it says; as many runs as
// it counts; and every run exactly a gap between extents. The ranges under copies of the super block
// may be in the tree or not: the kernel leaves them out when it loads a group.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTrees

/// What the tree says of one group.
private struct GroupFreeSpace {
    let info: FreeSpaceInfo
    var runs: [LogicalRange] = []
    /// End of the last item.
    var itemEnd: UInt64
    /// End of the last run that a bitmap gave; one that begins there goes on.
    var bitmapEnd: UInt64?
    var isReadable = true

    init(_ info: FreeSpaceInfo) {
        self.info = info
        itemEnd = info.logical
    }

    var end: UInt64 { info.logical + info.length }
}

extension Checker {
    func checkFreeSpace() {
        guard superBlock.compatReadOnly.contains(.freeSpaceTree) else { return }
        guard superBlock.hasValidFreeSpaceTree else {
            report(
                CheckFault(
                    .freeSpace,
                    "the free-space tree is not valid and was not looked at",
                    isRemark: true
                )
            )
            return
        }
        guard let root = root(of: ObjectID.freeSpaceTree) else { return }
        var current: GroupFreeSpace?
        var nextGroup = 0
        var walk = LeafWalk(self, root.tree, isAccounting: false)
        while let leaf = walk.next() {
            forEachItem(of: leaf, in: root.id) { (slot, data) throws(FilesystemError) in
                try noteFreeSpace(leaf.key(slot), data, &current, &nextGroup)
            } failed: { _, error in
                current?.isReadable = false
                report(.freeSpace, error)
            }
        }
        end(&current, &nextGroup, isWhole: walk.isWhole)
        guard walk.isWhole, !isStopped else { return }
        while nextGroup < groups.count {
            reportMissing(groups[nextGroup])
            nextGroup += 1
        }
    }

    private func noteFreeSpace(
        _ key: Key,
        _ data: RawSpan,
        _ current: inout GroupFreeSpace?,
        _ nextGroup: inout Int
    ) throws(FilesystemError) {
        if key.type == .freeSpaceInfo {
            end(&current, &nextGroup, isWhole: true)
            let info = try FreeSpaceInfo(key: key, data, limits)
            current = GroupFreeSpace(info)
            return
        }
        guard current != nil, let end = current?.end, key.objectid < end else {
            throw FilesystemError(.corrupt, "free space", "at % belongs to no group", key.objectid)
        }
        guard let next = key.objectid.end(adding: key.offset), next <= end,
            let previous = current?.itemEnd, key.objectid >= previous
        else {
            throw FilesystemError(
                .corrupt,
                "free space",
                "at % overlaps the item before or leaves its group",
                key.objectid
            )
        }
        current?.itemEnd = next
        let usesBitmaps = current?.info.usesBitmaps ?? false
        switch key.type {
        case .freeSpaceExtent where !usesBitmaps:
            let extent = try FreeSpaceExtent(key: key, data, limits)
            current?.runs.append(LogicalRange(logical: extent.logical, length: extent.length))
        case .freeSpaceBitmap where usesBitmaps:
            try addBitmap(key, data, &current)
        default:
            throw FilesystemError(
                .corrupt,
                "free space",
                "item of type %, bitmaps %",
                UInt64(key.type.rawValue),
                usesBitmaps ? 1 : 0
            )
        }
    }

    private func addBitmap(
        _ key: Key,
        _ data: RawSpan,
        _ current: inout GroupFreeSpace?
    ) throws(FilesystemError) {
        let bitmap = try FreeSpaceBitmap(key: key, data, limits)
        let most = UInt64(FreeSpaceInfo.bitmapBytesMax * 8) * sectorSize
        if let group = current, bitmap.length != most, bitmap.logical + bitmap.length != group.end {
            throw FilesystemError(
                .corrupt,
                "free space",
                "bitmap of % bytes before the end of its group",
                bitmap.length
            )
        }
        var sector = data.firstBit(true, from: 0, below: bitmap.sectorCount)
        while sector < bitmap.sectorCount {
            let runEnd = data.firstBit(false, from: sector, below: bitmap.sectorCount)
            let logical = bitmap.logical + UInt64(sector) * sectorSize
            let length = UInt64(runEnd - sector) * sectorSize
            if current?.bitmapEnd == logical, let last = current?.runs.indices.last {
                current?.runs[last].length += length
            } else {
                current?.runs.append(LogicalRange(logical: logical, length: length))
            }
            current?.bitmapEnd = logical + length
            sector = data.firstBit(true, from: runEnd, below: bitmap.sectorCount)
        }
    }

    // MARK: comparing

    /// All items of a group were read.
    private func end(
        _ current: inout GroupFreeSpace?,
        _ nextGroup: inout Int,
        isWhole: Bool
    ) {
        guard let ended = current else { return }
        current = nil
        while nextGroup < groups.count, groups[nextGroup].logical < ended.info.logical {
            if isWhole { reportMissing(groups[nextGroup]) }
            nextGroup += 1
        }
        guard nextGroup < groups.count, groups[nextGroup].logical == ended.info.logical else {
            if groupsAreWhole { reportStale(ended) }
            return
        }
        let group = groups[nextGroup]
        nextGroup += 1
        advance(.freeSpace, UInt64(nextGroup), of: UInt64(groups.count))
        if group.length != ended.info.length {
            report(
                CheckFault(
                    .freeSpace,
                    "info for % bytes, its block group has %",
                    ended.info.length,
                    group.length,
                    logical: group.logical
                )
            )
        }
        guard ended.isReadable else { return }
        if UInt64(ended.info.extentCount) != UInt64(ended.runs.count) {
            report(
                CheckFault(
                    .freeSpace,
                    "info counts % runs, there are %",
                    UInt64(ended.info.extentCount),
                    UInt64(ended.runs.count),
                    logical: group.logical
                )
            )
        }
        if isWhole, extentsAreWhole { compare(ended, group) }
    }

    /// mkfs.btrfs up to 6.2 left items of its temporary groups behind, below all others; anything
    /// else stale would be in the way of a new group.
    private func reportStale(_ freeSpace: GroupFreeSpace) {
        let temporaryEnd: UInt64 = 21 << 20
        let lowest = groups.first?.logical ?? 0
        report(
            CheckFault(
                .freeSpace,
                "of a block group that is not there",
                logical: freeSpace.info.logical,
                isRemark: freeSpace.end <= min(temporaryEnd, lowest)
            )
        )
    }

    private func reportMissing(_ group: CheckedGroup) {
        report(CheckFault(.freeSpace, "block group has no info item", logical: group.logical))
    }

    private func compare(_ freeSpace: GroupFreeSpace, _ group: CheckedGroup) {
        let gaps = gaps(in: group)
        if freeSpace.runs == gaps { return }
        let hidden = chunks.first { $0.logical == group.logical }.map { superBlockCopies(in: $0) }
        let excluded = hidden ?? []
        let recorded = without(excluded, freeSpace.runs)
        let expected = without(excluded, gaps)
        if recorded == expected { return }
        reportDifferences(recorded, expected, isFree: true)
        reportDifferences(expected, recorded, isFree: false)
        reportTouching(freeSpace.runs)
    }

    /// What no extent holds.
    private func gaps(in group: CheckedGroup) -> [LogicalRange] {
        var gaps: [LogicalRange] = []
        var at = group.logical
        var index = extents.firstIndex(endingAbove: group.logical)
        while index < extents.extents.count, extents.extents[index].logical < group.end {
            let extent = extents.extents[index]
            if extent.logical > at {
                gaps.append(LogicalRange(logical: at, length: extent.logical - at))
            }
            at = max(at, extent.end)
            index += 1
        }
        if at < group.end { gaps.append(LogicalRange(logical: at, length: group.end - at)) }
        return gaps
    }

    private func without(_ excluded: [LogicalRange], _ runs: [LogicalRange]) -> [LogicalRange] {
        guard !excluded.isEmpty else { return runs }
        var result: [LogicalRange] = []
        for run in runs {
            var at = run.logical
            for range in excluded where range.end > at && range.logical < run.end {
                if range.logical > at {
                    result.append(LogicalRange(logical: at, length: range.logical - at))
                }
                at = range.end
            }
            if at < run.end { result.append(LogicalRange(logical: at, length: run.end - at)) }
        }
        return result
    }

    /// Reports the parts of `runs` that `others` do not have.
    private func reportDifferences(
        _ runs: [LogicalRange],
        _ others: [LogicalRange],
        isFree: Bool
    ) {
        var index = 0
        for run in runs {
            var at = run.logical
            while index < others.count, others[index].end <= at { index += 1 }
            var next = index
            while at < run.end {
                let start = next < others.count ? others[next].logical : UInt64.max
                if start > at {
                    let gapEnd = min(start, run.end)
                    report(
                        CheckFault(
                            .freeSpace,
                            isFree
                                ? "% bytes are in the tree, and in use"
                                : "% bytes are unused, and not in the tree",
                            gapEnd - at,
                            logical: at
                        )
                    )
                    at = gapEnd
                } else {
                    at = others[next].end
                    next += 1
                }
            }
        }
    }

    /// Runs that touch should be one.
    private func reportTouching(_ runs: [LogicalRange]) {
        for index in runs.indices.dropFirst() where runs[index - 1].end == runs[index].logical {
            report(
                CheckFault(
                    .freeSpace,
                    "a run ends where another begins",
                    logical: runs[index].logical
                )
            )
        }
    }
}
