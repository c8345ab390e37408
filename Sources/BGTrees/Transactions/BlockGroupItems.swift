//===-- BlockGroupItems.swift - writing what groups count to their items --------------------------===//
// BLOCK_GROUP_ITEM lies in the block-group tree where there is one, otherwise in the extent tree.
//
// Locks: the tree mutex; inside a commit.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension TreeState {
    private var blockGroupTree: Tree { trees.blockGroup?.tree ?? trees.extent.tree }

    /// Writes the bytes used and the free-space infos that changed.
    func writeGroupItems() throws(FilesystemError) {
        guard groups.changedCount > 0 else { return }
        for index in groups.groups.indices {
            let group = groups[index]
            guard group.isUsedChanged || group.isFreeSpaceChanged else { continue }
            if group.isUsedChanged {
                let item = group.record.item
                try blockGroupTree.replace(item.key, item.encoded)
            }
            if group.isFreeSpaceChanged, let info = group.freeSpace {
                try trees.freeSpace?.tree.replace(info.key, info.encoded)
            }
            groups.didWrite(index)
        }
    }

    /// Records a group that is wholly free.
    func insertGroup(_ chunk: ChunkItem) throws(FilesystemError) {
        let record = GroupRecord(
            logical: chunk.logical,
            length: chunk.length,
            flags: chunk.flags,
            used: 0
        )
        try groups.insert(record)
        try blockGroupTree.insert(record.item.key, record.item.encoded)
        let group = try groups.index(holding: record.logical, length: record.length)
        try insertFreeSpace(group)
    }

    /// Records that a group, which is wholly free, is gone.
    func removeGroup(_ chunk: ChunkItem) throws(FilesystemError) {
        let group = try groups.index(holding: chunk.logical, length: chunk.length)
        let record = groups[group].record
        guard record.used == 0, record.length == chunk.length else {
            throw FilesystemError(
                .corrupt,
                "block group",
                "is to go with % bytes used",
                record.used,
                logical: record.logical
            )
        }
        try blockGroupTree.remove(record.item.key)
        try removeFreeSpace(of: group)
        groups.remove(at: group)
    }
}

extension GroupRecord {
    fileprivate var item: BlockGroupItem {
        BlockGroupItem(
            logical: logical,
            length: length,
            used: used,
            chunkObjectid: ObjectID.firstChunk,
            flags: flags
        )
    }
}
