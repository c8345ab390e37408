//===-- GroupTable.swift - the block groups as the running transaction sees them -----------------===//
// Bytes used, and how the free-space tree stores each group, are counted here and written to their
// items once per round of a commit rather than with every extent.
//
// Invariants: groups ascend by address and do not overlap.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// A block group in the running transaction.
struct OpenGroup {
    var record: GroupRecord
    /// The BLOCK_GROUP_ITEM says something else.
    var isUsedChanged = false
    /// FREE_SPACE_INFO as it is now; nil: not read yet.
    var freeSpace: FreeSpaceInfo?
    /// The item says something else.
    var isFreeSpaceChanged = false
    /// The host knows the group's free space: ranges can come back to it.
    var isPrepared = false
}

struct GroupTable {
    private(set) var groups: [OpenGroup] = []
    /// Groups with an item to write.
    private(set) var changedCount = 0

    init(_ records: [GroupRecord]) {
        groups = records.sorted { $0.logical < $1.logical }.map { OpenGroup(record: $0) }
    }

    /// Bytes of extents in all groups.
    var bytesUsed: UInt64 { groups.reduce(0) { $0 + $1.record.used } }

    /// The group that holds the whole of a range.
    ///
    /// - Throws: `.corrupt` when none does.
    func index(holding logical: UInt64, length: UInt64) throws(FilesystemError) -> Int {
        var low = 0
        var high = groups.count
        while low < high {
            let middle = (low + high) / 2
            if groups[middle].record.logical <= logical {
                low = middle + 1
            } else {
                high = middle
            }
        }
        guard low > 0, let end = logical.end(adding: length), end <= groups[low - 1].record.end
        else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "% bytes outside of every block group",
                length,
                logical: logical
            )
        }
        return low - 1
    }

    subscript(index: Int) -> OpenGroup { groups[index] }

    mutating func insert(_ record: GroupRecord) throws(FilesystemError) {
        let index = groups.firstIndex { $0.record.logical > record.logical } ?? groups.count
        let below = index > 0 ? groups[index - 1].record.end : 0
        let above = index < groups.count ? groups[index].record.logical : UInt64.max
        guard below <= record.logical, record.end <= above else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "overlaps another",
                logical: record.logical
            )
        }
        groups.insert(OpenGroup(record: record), at: index)
    }

    mutating func remove(at index: Int) {
        if isChanged(index) { changedCount -= 1 }
        groups.remove(at: index)
    }

    /// Counts bytes that extents took.
    mutating func addUsed(_ index: Int, _ bytes: UInt64) throws(FilesystemError) {
        let record = groups[index].record
        guard bytes <= record.length - min(record.used, record.length) else {
            throw overfull(record, bytes)
        }
        update(index) { group in
            group.record.used += bytes
            group.isUsedChanged = true
        }
    }

    /// Counts bytes that extents gave up.
    mutating func subtractUsed(_ index: Int, _ bytes: UInt64) throws(FilesystemError) {
        guard bytes <= groups[index].record.used else {
            throw overfull(groups[index].record, bytes)
        }
        update(index) { group in
            group.record.used -= bytes
            group.isUsedChanged = true
        }
    }

    private func overfull(_ record: GroupRecord, _ bytes: UInt64) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "block group",
            "% bytes used do not allow for a change by %",
            record.used,
            bytes,
            logical: record.logical
        )
    }

    mutating func setFreeSpace(_ index: Int, _ info: FreeSpaceInfo, isChanged: Bool) {
        update(index) { group in
            group.freeSpace = info
            group.isFreeSpaceChanged = group.isFreeSpaceChanged || isChanged
        }
    }

    mutating func setPrepared(_ index: Int) { groups[index].isPrepared = true }

    /// The group's items were written.
    mutating func didWrite(_ index: Int) {
        update(index) { group in
            group.isUsedChanged = false
            group.isFreeSpaceChanged = false
        }
    }

    private func isChanged(_ index: Int) -> Bool {
        groups[index].isUsedChanged || groups[index].isFreeSpaceChanged
    }

    /// Keeps `changedCount` right around a change of one group.
    private mutating func update(_ index: Int, _ body: (inout OpenGroup) -> Void) {
        let before = isChanged(index) ? 1 : 0
        body(&groups[index])
        changedCount += (isChanged(index) ? 1 : 0) - before
    }
}
