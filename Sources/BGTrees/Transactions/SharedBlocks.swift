//===-- SharedBlocks.swift - copying blocks that snapshots may share -------------------------------===//
// A snapshot begins as a copy of a subvolume's root block; everything below belongs to both trees
// until one of them changes it. What a block points at is referenced in one of two ways:
//   implicit   by the tree that owns the block (TREE_BLOCK_REF, EXTENT_DATA_REF)
//   full       by the address of the block (SHARED_BLOCK_REF, SHARED_DATA_REF); the block's own
//              extent item then carries FULL_BACKREF
//
// Copying a block of tree T, where R counts the references to the original:
//   R > 1, T owns it, implicit    what it points at gets full references from it, and it the flag;
//                                 the implicit ones are from now on those of the copy
//   R > 1, otherwise              what the copy points at gets implicit references from T
//   R = 1, full                   the same, and the full ones go with the original
//   R = 1, implicit               nothing: the references pass to the copy
// In every case T drops its reference to the original.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// What copying a block means for what it points at.
struct BlockSharing {
    static let none = BlockSharing(children: [], addsImplicit: false, full: 0)

    let children: [ChildExtent]
    /// The copy's tree refers to each child.
    let addsImplicit: Bool
    /// 1: each child gets a full reference from the original; -1: loses it; 0: neither.
    let full: Int
}

/// An extent that a tree block points at.
struct ChildExtent {
    let logical: UInt64
    let length: UInt64
    /// nil: data.
    let level: UInt8?
    /// Of data: the inode, and where in its file the extent's first byte would lie.
    let inode: UInt64
    let offset: UInt64

    func implicit(of root: UInt64) -> BackReference {
        level == nil
            ? .data(root: root, inode: inode, offset: offset) : .treeBlock(root: root)
    }

    func full(from parent: UInt64) -> BackReference {
        level == nil ? .sharedData(parent: parent) : .sharedBlock(parent: parent)
    }
}

extension TreeState {
    /// Header flag: relocation wrote the block.
    private static let flagRelocation: UInt64 = 2

    /// Whether trees with this id hold files, and may share blocks.
    static func isSubvolume(_ treeID: UInt64) -> Bool {
        treeID == ObjectID.filesystemTree
            || (ObjectID.firstFree...ObjectID.lastFree).contains(treeID)
    }

    /// What copying `block` means; changes nothing.
    func sharing(of block: TreeBlock, in tree: Tree) throws(FilesystemError) -> BlockSharing {
        guard mayBeShared(block, in: tree) else { return .none }
        let (count, isFull) = try references(to: block)
        if count > 1 {
            let passesOn = block.owner == tree.treeID && !isFull
            return BlockSharing(
                children: try children(of: block),
                addsImplicit: !passesOn,
                full: passesOn ? 1 : 0
            )
        }
        guard isFull else { return .none }
        return BlockSharing(children: try children(of: block), addsImplicit: true, full: -1)
    }

    /// Records what became of the references when `original` was copied; does not fail.
    func recordCopy(of original: TreeBlock, in tree: Tree, _ sharing: BlockSharing) {
        for child in sharing.children {
            if sharing.addsImplicit { addReference(to: child, child.implicit(of: tree.treeID), 1) }
            if sharing.full != 0 {
                addReference(to: child, child.full(from: original.logical), sharing.full)
            }
        }
        if sharing.full > 0 {
            delayed.setFullBackref(
                logical: original.logical,
                length: nodeBytes,
                level: original.level
            )
        }
        let isKnown = delayed.add(
            logical: original.logical,
            length: nodeBytes,
            level: original.level,
            .treeBlock(root: tree.treeID),
            -1
        )
        precondition(isKnown, "an earlier generation wrote the original")
        // The copy was counted, and the original is no longer the tree's.
        openTrees[tree.treeID]?.item.bytesUsed &-= nodeBytes
    }

    func addReference(to child: ChildExtent, _ reference: BackReference, _ count: Int) {
        let isKnown = delayed.add(
            logical: child.logical,
            length: child.length,
            level: child.level,
            reference,
            count
        )
        precondition(isKnown, "an earlier generation points at it")
    }

    private func mayBeShared(_ block: TreeBlock, in tree: Tree) -> Bool {
        guard Self.isSubvolume(tree.treeID), let open = openTrees[tree.treeID] else { return false }
        return block.generation <= open.item.lastSnapshot
            || block.flags & Self.flagRelocation != 0
    }

    /// How many references a block has now, and whether what it points at is fully referenced.
    private func references(
        to block: TreeBlock
    ) throws(FilesystemError) -> (count: Int, isFull: Bool) {
        let record = try extentRecord(block.logical, nodeBytes, level: block.level)
        let change = delayed[block.logical]
        let (count, overflow) = Int(clamping: record.refs)
            .addingReportingOverflow(change?.netCount ?? 0)
        guard !overflow, count > 0 else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "tree block in use has % references, and one more is dropped",
                record.refs,
                logical: block.logical
            )
        }
        let isFull =
            record.flags & ExtentItem.flagFullBackref != 0 || change?.setsFullBackref == true
        return (count, isFull)
    }

    /// The extents that a block points at: child blocks, or the data of file extents.
    func children(of block: TreeBlock) throws(FilesystemError) -> [ChildExtent] {
        var children: [ChildExtent] = []
        guard block.isLeaf else {
            for slot in 0..<block.itemCount {
                children.append(
                    ChildExtent(
                        logical: block.childLogical(slot),
                        length: nodeBytes,
                        level: block.level - 1,
                        inode: 0,
                        offset: 0
                    )
                )
            }
            return children
        }
        for slot in 0..<block.itemCount {
            let key = block.key(slot)
            guard key.type == .extentData else { continue }
            let child = try block.withItem(slot) { data throws(FilesystemError) in
                try dataExtent(key, data)
            }
            if let child { children.append(child) }
        }
        return children
    }

    /// The data extent that a file extent lies in; nil: none, it is inline or a hole.
    private func dataExtent(_ key: Key, _ data: RawSpan) throws(FilesystemError) -> ChildExtent? {
        let inlineType: UInt8 = 0
        try data.require(21, "file extent")
        guard data.u8(at: 20) != inlineType else { return nil }
        try data.requireExactly(53, "file extent")
        let logical = data.u64(at: 21)
        let length = data.u64(at: 29)
        guard logical != 0 else { return nil }
        guard logical.isAligned(to: superBlock.sectorSize), length > 0,
            length.isAligned(to: superBlock.sectorSize), logical.end(adding: length) != nil
        else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "extent of % bytes not sector aligned",
                length,
                logical: logical
            )
        }
        return ChildExtent(
            logical: logical,
            length: length,
            level: nil,
            inode: key.objectid,
            offset: key.offset &- data.u64(at: 37)
        )
    }
}
