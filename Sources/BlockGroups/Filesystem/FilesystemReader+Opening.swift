//===-- FilesystemReader+Opening.swift - chunks, roots and block groups -------------------------===//
// The steps of opening, in order. Each gets what the one before it made.
//
// Block groups are looked up chunk by chunk, one search each, because in the extent tree their
// items lie far apart between the extents.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTrees

/// More devices than any file system has; each one costs a search for every other.
private let devicesMax: UInt64 = 16384

/// Adds every chunk of the chunk tree to the volume, and compares its devices.
func loadChunks(_ reader: TreeReader, into volume: Volume) throws(FilesystemError) {
    let superBlock = volume.superBlock
    guard superBlock.deviceCount <= devicesMax else {
        throw FilesystemError(
            .unsupported,
            "super block",
            "% devices, at most %",
            superBlock.deviceCount,
            devicesMax
        )
    }
    var cursor = TreeCursor(reader, superBlock.chunkTreeRoot)
    var deviceCount: UInt64 = 0
    var found = try cursor.seek(.min)
    while found {
        let key = cursor.key
        do throws(FilesystemError) {
            try cursor.withItem { (data) throws(FilesystemError) in
                switch key.type {
                case .deviceItem:
                    deviceCount += 1
                    guard deviceCount <= superBlock.deviceCount else {
                        throw FilesystemError(
                            .corrupt,
                            "chunk tree",
                            "describes more than the super block's % devices",
                            superBlock.deviceCount
                        )
                    }
                    try volume.addDevice(DeviceItem(key: key, data))
                case .chunkItem:
                    try volume.addChunk(ChunkItem(key: key, data, superBlock.limits))
                default:
                    break
                }
            }
        } catch {
            // An address of its own is the chunk's, and no block's.
            guard error.logical == nil else { throw error }
            throw error.located(root: ObjectID.chunkTree, logical: cursor.leaf.logical)
        }
        found = try cursor.next()
    }
    guard deviceCount == superBlock.deviceCount else {
        throw FilesystemError(
            .corrupt,
            "chunk tree",
            "describes % devices, the super block %",
            deviceCount,
            superBlock.deviceCount
        )
    }
}

/// The roots that reading block groups and free space needs, from the root tree.
struct TreeDirectory {
    let extentTree: TreeRoot
    /// Where the feature is on.
    let blockGroupTree: TreeRoot?
    /// Where the feature is on and the tree is valid.
    let freeSpaceTree: TreeRoot?

    init(_ reader: TreeReader, _ superBlock: SuperBlock) throws(FilesystemError) {
        extentTree = try findRoot(ObjectID.extentTree, reader, superBlock)
        blockGroupTree =
            superBlock.compatReadOnly.contains(.blockGroupTree)
            ? try findRoot(ObjectID.blockGroupTree, reader, superBlock) : nil
        freeSpaceTree =
            superBlock.hasValidFreeSpaceTree
            ? try findRoot(ObjectID.freeSpaceTree, reader, superBlock) : nil
    }
}

/// Where tree `treeID` begins.
func findRoot(
    _ treeID: UInt64,
    _ reader: TreeReader,
    _ superBlock: SuperBlock
) throws(FilesystemError) -> TreeRoot {
    var cursor = TreeCursor(reader, superBlock.rootTreeRoot)
    let wanted = Key(treeID, .rootItem, 0)
    guard try cursor.seek(wanted), cursor.key == wanted else {
        throw FilesystemError(
            .corrupt,
            "root tree",
            "has no tree %",
            treeID,
            logical: superBlock.root
        )
    }
    let item = try cursor.withItem { (data) throws(FilesystemError) in
        try RootItem(key: wanted, data, superBlock.limits)
    }
    return TreeRoot(
        treeID: treeID,
        logical: item.logical,
        level: item.level,
        generation: item.generation
    )
}

/// The block group of every chunk.
func loadBlockGroups(
    _ reader: TreeReader,
    _ root: TreeRoot,
    _ chunkMap: ChunkMap
) throws(FilesystemError) -> [BlockGroupRecord] {
    var groups: [BlockGroupRecord] = []
    groups.reserveCapacity(chunkMap.chunks.count)
    var cursor = TreeCursor(reader, root)
    for chunk in chunkMap.chunks {
        let item = try blockGroupItem(of: chunk.item, &cursor, reader.source.geometry.limits)
        guard item.length == chunk.item.length, item.flags == chunk.item.flags else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "length % and type % are not its chunk's",
                item.length,
                item.flags.rawValue,
                logical: item.logical
            )
        }
        groups.append(
            BlockGroupRecord(
                logical: item.logical,
                length: item.length,
                flags: item.flags,
                used: item.used,
                superBlockCopies: superBlockCopies(in: chunk.item)
            )
        )
    }
    if root.treeID == ObjectID.blockGroupTree {
        try checkGroupCount(&cursor, groups.count)
    }
    return groups
}

private func blockGroupItem(
    of chunk: ChunkItem,
    _ cursor: inout TreeCursor,
    _ limits: FormatLimits
) throws(FilesystemError) -> BlockGroupItem {
    // Extents of the group itself sort around its item; nothing sorts between (start, type, 0)
    // and the item.
    guard try cursor.seek(Key(chunk.logical, .blockGroupItem, 0)),
        cursor.key.objectid == chunk.logical, cursor.key.type == .blockGroupItem
    else {
        throw FilesystemError(
            .corrupt,
            "chunk",
            "has no block group",
            logical: chunk.logical
        )
    }
    return try cursor.withItem { (data) throws(FilesystemError) in
        try BlockGroupItem(key: cursor.key, data, limits)
    }
}

/// Every group of the block-group tree was found by its chunk, if their numbers are equal. (In the
/// extent tree, only reading all of it would tell.)
private func checkGroupCount(
    _ cursor: inout TreeCursor,
    _ expected: Int
) throws(FilesystemError) {
    var count = 0
    var found = try cursor.seek(.min)
    while found {
        count += 1
        found = try cursor.next()
    }
    guard count == expected else {
        throw FilesystemError(
            .corrupt,
            "block-group tree",
            "% groups, but % chunks",
            UInt64(count),
            UInt64(expected)
        )
    }
}

/// What does not add up, and does not matter to a reader.
func remarks(on groups: [BlockGroupRecord], _ superBlock: SuperBlock) -> [FilesystemError] {
    var used: UInt64 = 0
    for group in groups {
        // Each is at most its group, and groups do not overlap: no sum passes the last address.
        used += group.used
    }
    guard used != superBlock.bytesUsed else { return [] }
    return [
        FilesystemError(
            .corrupt,
            "super block",
            "% bytes used, block groups say %",
            superBlock.bytesUsed,
            used
        )
    ]
}
