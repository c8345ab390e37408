//===-- DataExtents.swift - references of files to data ------------------------------------------===//
// Recording, sharing and dropping data extents: only counts here, applied by the commit.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension TreeState {
    func recordExtent(_ reference: DataReference) throws(FilesystemError) {
        checkAligned(reference)
        let isRecorded = try isRecorded(reference.logical, reference.length)
        guard delayed[reference.logical] == nil, !isRecorded else {
            throw FilesystemError(
                .exists,
                "extent",
                "% bytes are recorded already",
                reference.length,
                logical: reference.logical
            )
        }
        delayed.insertNew(
            logical: reference.logical,
            length: reference.length,
            level: nil,
            reference.backReference
        )
    }

    func changeReferences(_ reference: DataReference, by count: Int) throws(FilesystemError) {
        checkAligned(reference)
        let pending = delayed[reference.logical]
        if let pending {
            guard pending.length == reference.length, pending.level == nil else {
                throw FilesystemError(
                    .corrupt,
                    "file extent",
                    "names % bytes of an extent of %",
                    reference.length,
                    pending.length,
                    logical: reference.logical
                )
            }
        } else {
            // Refused now, and not by a commit, which would end everything.
            _ = try extentRecord(reference.logical, reference.length, level: nil)
        }
        let isNew = pending?.isNew ?? false
        if count < 0 && !isNew { try prepareToFree(reference.logical, reference.length) }
        if isNew && (pending?.netCount ?? 0) + count == 0 {
            try removeChecksums(reference.logical, reference.length)
        }
        let isKnown = delayed.add(
            logical: reference.logical,
            length: reference.length,
            level: nil,
            reference.backReference,
            count
        )
        if !isKnown { host.giveBack(logical: reference.logical, length: reference.length) }
    }

    private func checkAligned(_ reference: DataReference) {
        precondition(reference.length > 0)
        precondition(reference.logical.isAligned(to: superBlock.sectorSize))
        precondition(reference.length.isAligned(to: superBlock.sectorSize))
    }

    /// Whether an extent has any byte of a range, or had in the last durable commit.
    func isRecorded(_ logical: UInt64, _ length: UInt64) throws(FilesystemError) -> Bool {
        let end = logical + length
        if delayed.containsNewData(logical: logical, end: end) { return true }
        if pinned.holdsFrozen(logical: logical, end: end) { return true }
        var above = Key(end - 1, .metadataItem, .max)
        // Ends: the key goes down. Soon: between an extent and what it may reach lie its references
        // and at most one group's item.
        while let item = try trees.extent.tree.last(atOrBelow: above) {
            let key = item.key
            switch key.type {
            case .extentItem: return key.offset > logical &- key.objectid || key.objectid >= logical
            case .metadataItem:
                return nodeBytes > logical &- key.objectid || key.objectid >= logical
            case .blockGroupItem where key.objectid <= logical:
                // No extent reaches into a group from below; one may start with it.
                guard
                    let own = try trees.extent.tree.last(
                        atOrBelow: Key(key.objectid, .metadataItem, .max)
                    ), own.key.objectid == key.objectid
                else { return false }
                above = Key(key.objectid, .metadataItem, .max)
            default:
                guard KeyType.metadataItem.rawValue < key.type.rawValue else {
                    throw FilesystemError(
                        .corrupt,
                        "extent tree",
                        "item of type %",
                        UInt64(key.type.rawValue),
                        root: ObjectID.extentTree,
                        logical: key.objectid
                    )
                }
                above = Key(key.objectid, .metadataItem, .max)
            }
        }
        return false
    }
}

extension DataReference {
    fileprivate var backReference: BackReference {
        .data(root: root, inode: inode, offset: offset)
    }
}
