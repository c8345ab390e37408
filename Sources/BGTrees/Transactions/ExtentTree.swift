//===-- ExtentTree.swift - applying changes of references -----------------------------------------===//
// Brings EXTENT_ITEM and METADATA_ITEM, and the references that lie in items of their own, up to what
// `delayed` says. An extent that comes takes its bytes out of its group's free space; one that lost
// its last reference brings them back, loses its checksums, and is pinned.
//
// References lie inline in the extent's item until that would grow too large; from then on new ones
// get items of their own, and once there are such items, no more inline ones come (readers rely on
// finding a reference in one place).
//
// Locks: the tree mutex; inside a commit.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension TreeState {
    /// An extent item does not grow to this many bytes.
    private var extentItemBytesMax: Int {
        (geometry.nodeSize - TreeBlock.Layout.headerSize) >> 4 - TreeBlock.Layout.itemSize
    }

    /// Applies what is to be done about one extent.
    func apply(_ change: DelayedExtent) throws(FilesystemError) {
        if change.isNew {
            try insertExtent(change)
        } else {
            try changeExtent(change)
        }
    }

    private func insertExtent(_ change: DelayedExtent) throws(FilesystemError) {
        var record =
            if let level = change.level {
                ExtentRecord(
                    treeBlock: change.logical,
                    level: level,
                    generation: generation,
                    firstKey: recordedFirstKey(change.logical),
                    geometry.limits
                )
            } else {
                ExtentRecord(data: change.logical, length: change.length, generation: generation)
            }
        for one in change.changes { try add(one, to: &record) }
        try trees.extent.tree.insert(record.key, record.encoded)
        let group = try groups.index(holding: change.logical, length: change.length)
        try groups.addUsed(group, change.length)
        try removeFreeSpace(group, change.logical, change.length)
        if change.level != nil { recordedBlocks.insert(change.logical) }
        host.own(logical: change.logical, length: change.length)
    }

    /// Without skinny items, an extent item names its block's first key. It is what it was then: a
    /// help for people, not kept up to date.
    private func recordedFirstKey(_ logical: UInt64) -> Key? {
        guard !superBlock.incompat.contains(.skinnyMetadata) else { return nil }
        guard let block = pool.dirtyBlock(logical), block.itemCount > 0 else { return .min }
        return block.key(0)
    }

    private func changeExtent(_ change: DelayedExtent) throws(FilesystemError) {
        var record = try extentRecord(change.logical, change.length, level: change.level)
        for one in change.changes {
            if one.count > 0 {
                try add(one, to: &record)
            } else {
                try remove(one, from: &record)
            }
        }
        if record.refs == 0 {
            try removeExtent(record)
            return
        }
        if change.setsFullBackref { record.flags |= ExtentItem.flagFullBackref }
        try trees.extent.tree.replace(record.key, record.encoded)
    }

    private func removeExtent(_ record: ExtentRecord) throws(FilesystemError) {
        guard record.inlineRefs.allSatisfy({ $0.reference == nil }) else {
            throw corrupt(record, "references without a count")
        }
        let group = try groups.index(holding: record.logical, length: record.length)
        let isOwn = recordedBlocks.remove(record.logical) != nil
        if !isOwn { try prepareToFree(record.logical, record.length) }
        try trees.extent.tree.remove(record.key)
        try groups.subtractUsed(group, record.length)
        try addFreeSpace(group, record.logical, record.length)
        if record.level == nil { try removeChecksums(record.logical, record.length) }
        if isOwn {
            // Never written, and in no commit.
            host.unpin(logical: record.logical, length: record.length)
        } else {
            pinned.insert(logical: record.logical, length: record.length)
        }
    }

    /// The item of an extent that a tree refers to.
    ///
    /// - Parameter level: of a tree block; nil: data.
    /// - Throws: `.corrupt` when there is none.
    func extentRecord(
        _ logical: UInt64,
        _ length: UInt64,
        level: UInt8?
    ) throws(FilesystemError) -> ExtentRecord {
        var found: ExtentRecord?
        if let level {
            // A file system may have got skinny items late, and kept its older ones.
            found = try record(Key(logical, .metadataItem, UInt64(level)))
        }
        if found == nil { found = try record(Key(logical, .extentItem, length)) }
        guard let found, found.level == level else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "% bytes in use have no extent item",
                length,
                root: ObjectID.extentTree,
                logical: logical
            )
        }
        return found
    }

    private func record(_ key: Key) throws(FilesystemError) -> ExtentRecord? {
        try trees.extent.tree.withItem(key) { data throws(FilesystemError) in
            try ExtentRecord(key: key, data, geometry.limits)
        }
    }

    private func corrupt(_ record: ExtentRecord, _ what: StaticString) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "extent",
            what,
            root: ObjectID.extentTree,
            logical: record.logical
        )
    }

    // MARK: single references

    private func add(
        _ change: DelayedExtent.Change,
        to record: inout ExtentRecord
    ) throws(FilesystemError) {
        let reference = change.reference
        let old = record.inlineCount(reference)
        let hasKeyed = record.refs > record.inlineRefs.reduce(0) { $0 + $1.refCount }
        let isInline =
            old != nil
            || !hasKeyed && record.byteCount + reference.inlineByteCount < extentItemBytesMax
        if isInline {
            let count = try sum(old ?? 0, change.count, reference, of: record)
            record.setInline(reference, count: count)
        } else {
            try addKeyed(change, to: record)
        }
        guard let refs = record.refs.end(adding: UInt64(change.count)) else {
            throw corrupt(record, "more references than can be counted")
        }
        record.refs = refs
    }

    private func remove(
        _ change: DelayedExtent.Change,
        from record: inout ExtentRecord
    ) throws(FilesystemError) {
        let reference = change.reference
        if let old = record.inlineCount(reference) {
            let count = try sum(old, change.count, reference, of: record)
            record.setInline(reference, count: count)
        } else {
            try removeKeyed(change, from: record)
        }
        guard record.refs >= UInt64(-change.count) else {
            throw corrupt(record, "more references dropped than there were")
        }
        record.refs -= UInt64(-change.count)
    }

    /// The count of a reference after a change. Tree blocks are referred to once or not at all.
    private func sum(
        _ old: UInt64,
        _ change: Int,
        _ reference: BackReference,
        of record: ExtentRecord
    ) throws(FilesystemError) -> UInt32 {
        let sum = Int(old) + change
        let most =
            switch reference {
            case .treeBlock, .sharedBlock: 1
            case .data, .sharedData: Int(UInt32.max)
            }
        guard 0...most ~= sum else {
            throw corrupt(record, "a reference's count does not allow for the change")
        }
        return UInt32(sum)
    }

    // MARK: references in items of their own

    private func addKeyed(
        _ change: DelayedExtent.Change,
        to record: ExtentRecord
    ) throws(FilesystemError) {
        let reference = change.reference
        var key = Key(record.logical, reference.keyType, reference.sequence)
        // Ends: the keys of one extent's references are finite, and each step goes one up.
        while let data = try trees.extent.tree.item(key) {
            if let old = try keyedCount(data, reference, of: record) {
                let count = try sum(old, change.count, reference, of: record)
                try trees.extent.tree.replace(key, keyedData(reference, count))
                return
            }
            // Another reference with the same hash.
            key.offset &+= 1
        }
        let count = try sum(0, change.count, reference, of: record)
        try trees.extent.tree.insert(key, keyedData(reference, count))
    }

    private func removeKeyed(
        _ change: DelayedExtent.Change,
        from record: ExtentRecord
    ) throws(FilesystemError) {
        let reference = change.reference
        let low = Key(record.logical, reference.keyType, reference.sequence)
        var found: (key: Key, count: UInt64)?
        if case .data = reference {
            // One with the same hash that came before may be gone, and leave a gap.
            let high = Key(record.logical, reference.keyType, .max)
            try trees.extent.tree.forEach(from: low, through: high) {
                key,
                data throws(FilesystemError) in
                let bytes = data.array(0..<data.byteCount)
                guard let count = try keyedCount(bytes, reference, of: record) else { return true }
                found = (key, count)
                return false
            }
        } else if let data = try trees.extent.tree.item(low) {
            found = try keyedCount(data, reference, of: record).map { (low, $0) }
        }
        guard let found else { throw corrupt(record, "a reference that is dropped is not there") }
        let count = try sum(found.count, change.count, reference, of: record)
        if count == 0 {
            try trees.extent.tree.remove(found.key)
        } else {
            try trees.extent.tree.replace(found.key, keyedData(reference, count))
        }
    }

    private func keyedData(_ reference: BackReference, _ count: UInt32) -> [UInt8] {
        var data: [UInt8] = []
        switch reference {
        case .treeBlock, .sharedBlock: break
        case .data(let root, let inode, let offset):
            data.append(littleEndian: root)
            data.append(littleEndian: inode)
            data.append(littleEndian: offset)
            data.append(littleEndian: count)
        case .sharedData: data.append(littleEndian: count)
        }
        return data
    }

    /// How often the item says that `reference` refers; nil: it is another reference's.
    private func keyedCount(
        _ data: [UInt8],
        _ reference: BackReference,
        of record: ExtentRecord
    ) throws(FilesystemError) -> UInt64? {
        guard data.count == keyedData(reference, 0).count else {
            throw corrupt(record, "reference item of a wrong size")
        }
        switch reference {
        case .treeBlock, .sharedBlock: return 1
        case .sharedData: return UInt64(data.u32(at: 0))
        case .data(let root, let inode, let offset):
            guard data.u64(at: 0) == root, data.u64(at: 8) == inode, data.u64(at: 16) == offset
            else { return nil }
            return UInt64(data.u32(at: 24))
        }
    }
}
