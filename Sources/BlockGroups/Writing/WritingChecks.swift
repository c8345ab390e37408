//===-- WritingChecks.swift - what cannot be kept right is not written -----------------------------===//
// A file system is opened for writing only where everything in it is known to stay right. Refused,
// with the reason, before anything is written:
//   - flags: unknown compat_ro features, a seed, an earlier writer's error mark, an fsid or metadata
//     change half done, features of which no writer here knows (`.unsupported`)
//   - a log tree to replay, quotas on, a device replacement or a balance under way (`.unsupported`)
//   - sectors of other than 4096 bytes; metadata from before skinny extents and mixed references
//     (`.unsupported`)
//   - a free-space tree that is not valid: the kernel must make it anew first (`.unsupported`)
//   - raid5 and raid6, whose parity is not written yet (`.unsupported`)
//   - a device missing (`.missingDevice`), or behind the others (`.corrupt`)
//   - counts that contradict each other: used bytes, sizes of devices, chunks and device extents
//     (`.corrupt`)
//   - a generation so near the last number that commits could run out of them (`.unsupported`)
// Locked or mounted devices were refused when they were opened (`.busy`).
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTrees

/// The last generation with which a file system is written: a commit each nanosecond would take centuries
/// to get from here to where numbers end.
private let generationMax = UInt64(Int64.max)

/// Throws the first reason not to write to this file system.
func checkWritable(_ reader: FilesystemReader) throws(FilesystemError) {
    let superBlock = reader.superBlock
    if let reason = reasonInFlags(superBlock) {
        throw FilesystemError(.unsupported, "writing", reason)
    }
    if let reason = reasonInChunks(reader.volume.chunkMap) {
        throw FilesystemError(.unsupported, "writing", reason)
    }
    guard superBlock.generation <= generationMax else {
        throw FilesystemError(
            .unsupported,
            "writing",
            "generation % leaves too few for commits",
            superBlock.generation
        )
    }
    try checkDevices(reader.volume)
    let used = reader.blockGroups.reduce(UInt64(0)) { $0 + $1.used }
    guard used == superBlock.bytesUsed else {
        throw FilesystemError(
            .corrupt,
            "super block",
            "% bytes used, block groups say %: to be checked before it is written",
            superBlock.bytesUsed,
            used
        )
    }
    if let reason = try reasonInTrees(reader) {
        throw FilesystemError(.unsupported, "writing", reason)
    }
}

private func reasonInFlags(_ superBlock: SuperBlock) -> StaticString? {
    let seeding: UInt64 = 1 << 32
    let error: UInt64 = 1 << 2
    let known: UInt64 = 0x7 | seeding
    return if !superBlock.isWritable {
        "a read-only compatible feature of the file system is not known"
    } else if superBlock.flags & seeding != 0 {
        "it is a seed for other file systems, which must not change"
    } else if superBlock.flags & error != 0 {
        "it was marked as damaged by who wrote it last"
    } else if superBlock.flags & ~known != 0 {
        "a change of the whole file system is half done"
    } else if superBlock.logRoot != 0 {
        "it has a log tree to replay: mount it once"
    } else if superBlock.sectorSize != 4096 {
        "only sectors of 4096 bytes are written"
    } else if !superBlock.incompat.contains(.skinnyMetadata) {
        "its metadata is from before skinny extents"
    } else if !superBlock.incompat.contains(.mixedBackref) {
        "its references are of the first kind"
    } else if superBlock.incompat.contains(.simpleQuota) {
        "simple quotas are on"
    } else if superBlock.compatReadOnly.contains(.freeSpaceTree), !superBlock.hasValidFreeSpaceTree
    {
        "its free-space tree is not valid: mount it once"
    } else {
        nil
    }
}

private func reasonInChunks(_ map: ChunkMap) -> StaticString? {
    for chunk in map.chunks where chunk.item.profile.parityStripes > 0 {
        return "raid5 and raid6 cannot be written for now"
    }
    return nil
}

private func checkDevices(_ volume: Volume) throws(FilesystemError) {
    if let devid = volume.missingDevids.first {
        throw FilesystemError(
            .missingDevice,
            "writing",
            "a device of the file system was not given",
            devid: devid
        )
    }
    guard UInt64(volume.devices.count) == volume.superBlock.deviceCount else {
        throw FilesystemError(
            .missingDevice,
            "writing",
            "% devices given, the file system has %",
            UInt64(volume.devices.count),
            volume.superBlock.deviceCount
        )
    }
    // One commit behind is what a loss of power leaves between the super blocks of two devices: the
    // blocks of that commit were durable everywhere before the first of them was written.
    for device in volume.devices
    where device.superBlock.generation + 1 < volume.superBlock.generation {
        throw FilesystemError(
            .corrupt,
            "device",
            "generation % is behind %: it missed writes that the others had",
            device.superBlock.generation,
            volume.superBlock.generation,
            deviceIndex: device.index,
            devid: device.devid
        )
    }
}

/// Item types and states that only these checks look at.
private let deviceReplaceType = KeyType(rawValue: 250)
private let treeRelocation = UInt64(bitPattern: -8)
private let balanceObjectid = UInt64(bitPattern: -4)

private func reasonInTrees(_ reader: FilesystemReader) throws(FilesystemError) -> StaticString? {
    let superBlock = reader.superBlock
    let blocks = TreeReader(reader.source)
    var cursor = TreeCursor(blocks, superBlock.rootTreeRoot)
    func has(_ objectid: UInt64, _ type: KeyType) throws(FilesystemError) -> Bool {
        try cursor.seek(Key(objectid, type, 0)) && cursor.key.objectid == objectid
            && cursor.key.type == type
    }
    if try has(ObjectID.quotaTree, .rootItem) { return "quotas are on" }
    if try has(treeRelocation, .rootItem) { return "a balance was interrupted: mount it once" }
    if try has(balanceObjectid, .temporaryItem) { return "a balance is under way: mount it once" }
    if try replacesDevice(reader, blocks) { return "a device replacement is under way" }
    return nil
}

/// Whether the device tree says that a device is being replaced: started or suspended.
private func replacesDevice(
    _ reader: FilesystemReader,
    _ blocks: TreeReader
) throws(FilesystemError) -> Bool {
    let root = try findRoot(ObjectID.deviceTree, blocks, reader.superBlock)
    var cursor = TreeCursor(blocks, root)
    let key = Key(0, deviceReplaceType, 0)
    guard try cursor.seek(key), cursor.key == key else { return false }
    return try cursor.withItem { (data) throws(FilesystemError) in
        try data.require(40, "device replacement")
        let state = data.u64(at: 32)
        return state == 1 || state == 4
    }
}

extension DeviceSpace {
    /// What the chunk tree and the device tree say of the devices of a file system.
    ///
    /// - Throws: `.corrupt` where the two do not agree, `.io`.
    init(_ reader: FilesystemReader) throws(FilesystemError) {
        let superBlock = reader.superBlock
        let blocks = TreeReader(reader.source)
        let chunkTree = superBlock.chunkTreeRoot
        let deviceTree = try findRoot(ObjectID.deviceTree, blocks, superBlock)
        var items: [DeviceItem] = []
        try forEachItem(.deviceItem, chunkTree, blocks) { (key, data) throws(FilesystemError) in
            items.append(try DeviceItem(key: key, data))
        }
        try checkTotal(items, superBlock)
        var extents: [DeviceExtent] = []
        try forEachItem(.deviceExtent, deviceTree, blocks) { (key, data) throws(FilesystemError) in
            extents.append(try DeviceExtent(key: key, data, superBlock.limits))
        }
        let format = Format(
            sectorSize: superBlock.sectorSize,
            nodeSize: superBlock.nodeSize,
            chunkTreeUUID: try chunkTreeUUID(chunkTree, reader)
        )
        let chunks = reader.volume.chunkMap.chunks.map { $0.item }
        try self.init(items, extents: extents, chunks: chunks, format)
    }
}

/// - Throws: `.corrupt` where the devices have more bytes in all than the super block says: the kernel
///   mounts such a file system no more. (Fewer it accepts: older tools rounded differently.)
private func checkTotal(
    _ devices: [DeviceItem],
    _ superBlock: SuperBlock
) throws(FilesystemError) {
    var total: UInt64 = 0
    for device in devices {
        // Sizes that have no sum are not the super block's either.
        total = total.end(adding: device.totalBytes) ?? .max
    }
    guard total <= superBlock.totalBytes else {
        throw FilesystemError(
            .corrupt,
            "super block",
            "% bytes in all, device items say %: to be checked before it is written",
            superBlock.totalBytes,
            total
        )
    }
}

/// Visits all items of one type.
private func forEachItem(
    _ type: KeyType,
    _ root: TreeRoot,
    _ blocks: TreeReader,
    _ body: (Key, RawSpan) throws(FilesystemError) -> Void
) throws(FilesystemError) {
    var cursor = TreeCursor(blocks, root)
    var found = try cursor.seek(.min)
    while found {
        let key = cursor.key
        if key.type == type {
            try cursor.withItem { (data) throws(FilesystemError) in try body(key, data) }
        }
        found = try cursor.next()
    }
}

/// The UUID of the chunk tree, which every tree block names.
private func chunkTreeUUID(
    _ root: TreeRoot,
    _ reader: FilesystemReader
) throws(FilesystemError) -> FilesystemUUID {
    let header = try reader.volume.readBlock(
        logical: root.logical,
        length: Int(reader.superBlock.nodeSize)
    ) { (bytes) throws(FilesystemError) in
        guard reader.superBlock.checksumType.verify(block: bytes) else {
            throw FilesystemError(.corrupt, "chunk tree", "its root's checksum does not match")
        }
    }
    return unsafe header.span.bytes.uuid(at: 64)
}
