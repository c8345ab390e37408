//===-- ChunkCheck.swift - the chunk tree: chunks, devices, the super block's list of them ------===//
// Reads the chunk tree into the volume's map, so that all other trees can be read, and compares
// what it says with the super blocks.
//
// Not here: chunks against device extents (DeviceExtentCheck) and block groups (BlockGroupCheck).
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTrees

extension Checker {
    /// Where the chunk tree begins.
    var chunkTreeRoot: TreeRoot {
        TreeRoot(
            treeID: ObjectID.chunkTree,
            logical: superBlock.chunkRoot,
            level: superBlock.chunkRootLevel,
            generation: superBlock.chunkRootGeneration
        )
    }

    func checkChunks() {
        var walk = LeafWalk(self, chunkTreeRoot, isAccounting: false)
        while let leaf = walk.next() {
            requireItems(leaf, in: ObjectID.chunkTree)
            forEachItem(of: leaf, in: ObjectID.chunkTree) { (slot, data) throws(FilesystemError) in
                try noteChunkTreeItem(leaf.key(slot), data)
            } failed: { key, error in
                chunksAreWhole = false
                report(key.type == .deviceItem ? .device : .chunk, error)
            }
        }
        if !walk.isWhole { chunksAreWhole = false }
        chunks.sort { $0.logical < $1.logical }
        checkSystemChunks()
        checkDevices()
    }

    private func noteChunkTreeItem(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        switch key.type {
        case .deviceItem:
            let item = try DeviceItem(key: key, data)
            devices.append(item)
            try volume.addDevice(item)
        case .chunkItem:
            let item = try ChunkItem(key: key, data, limits)
            chunks.append(item)
            guard item.owner == ObjectID.extentTree else {
                throw FilesystemError(.corrupt, "chunk", "owner %, expected 2", item.owner)
            }
            try volume.addChunk(item)
        default:
            throw FilesystemError(
                .corrupt,
                "item",
                "type % in the chunk tree",
                UInt64(key.type.rawValue)
            )
        }
    }

    /// The super block's array holds every system chunk, and nothing else, as the tree has it.
    private func checkSystemChunks() {
        for chunk in superBlock.systemChunks {
            guard let known = chunks.first(where: { $0.logical == chunk.logical }) else {
                if chunksAreWhole {
                    report(
                        CheckFault(
                            .chunk,
                            "in the super block's array, but not in the chunk tree",
                            logical: chunk.logical
                        )
                    )
                }
                continue
            }
            if known != chunk {
                report(
                    CheckFault(
                        .chunk,
                        "not the same in the super block's array",
                        logical: chunk.logical
                    )
                )
            }
        }
        for chunk in chunks where chunk.flags.contains(.system) {
            if !superBlock.systemChunks.contains(where: { $0.logical == chunk.logical }) {
                report(
                    CheckFault(
                        .chunk,
                        "system chunk is not in the super block's array",
                        logical: chunk.logical
                    )
                )
            }
        }
    }

    private func checkDevices() {
        if UInt64(devices.count) != superBlock.deviceCount, chunksAreWhole {
            report(
                CheckFault(
                    .superBlock,
                    "% devices, the chunk tree has %",
                    superBlock.deviceCount,
                    UInt64(devices.count)
                )
            )
        }
        for devid in volume.missingDevids {
            report(
                CheckFault(
                    .device,
                    FilesystemError(.missingDevice, "device", "was not given", devid: devid)
                )
            )
        }
        var total: UInt64 = 0
        for item in devices {
            total = total &+ item.totalBytes
            if item.filesystemUUID != superBlock.fsid
                && item.filesystemUUID != superBlock.metadataUUID
            {
                report(
                    CheckFault(.device, "belongs to another file system", devid: item.devid)
                )
            }
            guard let device = volume.device(devid: item.devid) else { continue }
            let embedded = device.superBlock.device
            if device.superBlock.generation == superBlock.generation {
                compare(item.totalBytes, embedded.totalBytes, item, "% bytes, its super block %")
                compare(item.bytesUsed, embedded.bytesUsed, item, "% used, its super block %")
            }
            if device.storage.byteCount < item.totalBytes {
                compare(item.totalBytes, device.storage.byteCount, item, "% bytes, it has %")
            }
        }
        if chunksAreWhole, total != superBlock.totalBytes {
            report(
                CheckFault(
                    .superBlock,
                    "% bytes, its devices have %",
                    superBlock.totalBytes,
                    total
                )
            )
        }
    }

    private func compare(
        _ value: UInt64,
        _ other: UInt64,
        _ item: DeviceItem,
        _ what: StaticString
    ) {
        guard value != other else { return }
        report(CheckFault(.device, what, value, other, devid: item.devid))
    }

    /// A tree that must hold something: the kernel refuses an empty leaf of these.
    func requireItems(_ leaf: TreeBlock, in tree: UInt64) {
        guard leaf.itemCount == 0 else { return }
        report(CheckFault(.tree, "is empty", root: tree, logical: leaf.logical))
    }
}
