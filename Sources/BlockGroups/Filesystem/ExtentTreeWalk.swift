//===-- ExtentTreeWalk.swift - a group's free space as what no extent holds ---------------------===//
// Reads the extent items of one block group and hands on the gaps. A data extent, and a tree block
// in an old ("fat") file system, is an EXTENT_ITEM whose key states its length; a tree block in a
// newer one is a METADATA_ITEM, one node long.
//
// What is checked, beyond each item's own fields (which the reader did): extents are in order, apart and inside the group, and their bytes add up to what
// the group's item says is used.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

struct ExtentTreeWalk {
    let group: BlockGroupRecord
    let limits: FormatLimits
    let root: TreeRoot

    private var merger: FreeRunMerger
    /// End of the last extent: what follows is free up to the next.
    private var extentEnd: UInt64
    private var usedBytes: UInt64 = 0

    init(group: BlockGroupRecord, limits: FormatLimits, root: TreeRoot) {
        self.group = group
        self.limits = limits
        self.root = root
        merger = FreeRunMerger(excluded: group.superBlockCopies)
        extentEnd = group.logical
    }

    mutating func run(
        _ reader: TreeReader,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        var cursor = TreeCursor(reader, root)
        var found = try cursor.seek(Key(group.logical, KeyType(rawValue: 0), 0))
        while found, cursor.key.objectid < group.end {
            let key = cursor.key
            if key.type == .extentItem || key.type == .metadataItem {
                let length = key.type == .extentItem ? key.offset : UInt64(limits.nodeSize)
                try addExtent(key.objectid, length, cursor, visit)
            }
            found = try cursor.next()
        }
        if extentEnd < group.end {
            try merger.add(extentEnd, group.end - extentEnd, visit)
        }
        try merger.finish(visit)
        guard usedBytes == group.used else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "extents hold % bytes, its item says %",
                usedBytes,
                group.used,
                logical: group.logical
            )
        }
    }

    private mutating func addExtent(
        _ logical: UInt64,
        _ length: UInt64,
        _ cursor: TreeCursor,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        guard logical >= extentEnd else {
            throw corrupt("extent at % overlaps the one before", logical, cursor)
        }
        guard length > 0, length <= group.end - logical else {
            throw corrupt("extent at % is empty or leaves its block group", logical, cursor)
        }
        if extentEnd < logical {
            try merger.add(extentEnd, logical - extentEnd, visit)
        }
        extentEnd = logical + length
        usedBytes += length
    }

    private func corrupt(
        _ what: StaticString,
        _ value: UInt64,
        _ cursor: TreeCursor
    ) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "extent tree",
            what,
            value,
            root: root.treeID,
            logical: cursor.leaf.logical,
            slot: cursor.slot
        )
    }
}
