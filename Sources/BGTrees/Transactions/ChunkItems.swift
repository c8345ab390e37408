//===-- ChunkItems.swift - recording chunks and devices ------------------------------------------===//
// Chunks come and go in memory, at once; a commit records them: CHUNK_ITEM and DEV_ITEMs in the chunk
// tree, DEV_EXTENTs in the device tree, and the group with its free space.
//
// Locks: the tree mutex; inside a commit.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension TreeState {
    /// - Parameter devices: as they are with these changes, or later ones.
    func recordChunkChanges(
        _ changes: [ChunkChange],
        _ devices: [DeviceItem]
    ) throws(FilesystemError) {
        for change in changes {
            switch change {
            case .added(let chunk, let extents):
                try trees.chunk.insert(chunk.key, chunk.encoded)
                for extent in extents {
                    try trees.device.tree.insert(extent.key, extent.encoded)
                }
                try insertGroup(chunk)
            case .removed(let chunk, let extents):
                try removeGroup(chunk)
                for extent in extents { try trees.device.tree.remove(extent.key) }
                try trees.chunk.remove(chunk.key)
                removedChunks.append(chunk)
            }
        }
        try recordDevices(devices)
    }

    private func recordDevices(_ devices: [DeviceItem]) throws(FilesystemError) {
        for device in devices {
            let old = recordedDevices.first { $0.devid == device.devid }
            guard old != device else { continue }
            if try trees.chunk.item(device.key) == nil {
                try trees.chunk.insert(device.key, device.encoded)
            } else {
                try trees.chunk.replace(device.key, device.encoded)
            }
        }
        recordedDevices = devices
    }
}
