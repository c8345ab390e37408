//===-- TreeAccounting.swift - walks every tree and counts who refers to what --------------------===//
// A block refers to its children, and a leaf to its file extents, once, however many snapshots
// share it: the first walk that meets it counts. How it refers depends on the block itself:
//   full back references    its children name this block as their parent
//   otherwise               they name the tree in its header as their owner
// A root item refers to its root by the tree's id; of a relocation tree, the root by itself.
//
// Every reference met is looked up among those recorded, and counted there.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

/// In a block's header flags: the block was made by relocation.
private let relocationFlag: UInt64 = 2

extension Checker {
    /// Walks all trees; the subvolumes are checked in the same walk.
    func checkTrees() {
        walk(chunkTreeRoot)
        walkInodes(rootTreeRoot, isSubvolume: false, drop: nil)
        for root in roots where !isStopped {
            countRoot(root.tree, isRelocation: root.isRelocation)
            if root.isRelocation || root.refs == 0 || !hasInodes(root.id) {
                walk(root.tree, drop: root.drop)
            } else {
                walkInodes(root.tree, isSubvolume: root.isSubvolume, drop: root.drop)
            }
        }
    }

    private func hasInodes(_ tree: UInt64) -> Bool {
        Special.isSubvolume(tree) || tree == ObjectID.dataRelocationTree
    }

    private func walk(_ root: TreeRoot, drop: DropProgress? = nil) {
        if root.treeID == ObjectID.chunkTree { countRoot(root, isRelocation: false) }
        var walk = LeafWalk(self, root, isAccounting: true, drop: drop)
        while let leaf = walk.next() {
            guard walk.isFirstVisit else { continue }
            checkForeignItems(leaf, in: root.treeID)
        }
    }

    private func walkInodes(_ root: TreeRoot, isSubvolume: Bool, drop: DropProgress?) {
        if root.treeID == ObjectID.rootTree { countRoot(root, isRelocation: false) }
        var walk = LeafWalk(self, root, isAccounting: true, drop: drop)
        var check = SubvolumeCheck(self, root, isSubvolume: isSubvolume)
        var lostBlocks = 0
        while let leaf = walk.next() {
            if root.treeID != ObjectID.rootTree { requireItems(leaf, in: root.treeID) }
            check.add(leaf, isAfterLoss: walk.lostBlocks > lostBlocks)
            lostBlocks = walk.lostBlocks
        }
        check.finish(isWhole: walk.isWhole && !isStopped)
    }

    /// Items of trees that are walked for their blocks alone.
    private func checkForeignItems(_ leaf: TreeBlock, in tree: UInt64) {
        guard tree == ObjectID.uuidTree else { return }
        for slot in 0..<leaf.itemCount {
            let type = leaf.key(slot).type.rawValue
            let size = leaf.itemRange(slot).count
            if type != 251 && type != 252 || size == 0 || size % 8 != 0 {
                report(
                    CheckFault(
                        .item,
                        "type % of % bytes in the UUID tree",
                        UInt64(type),
                        UInt64(size),
                        root: tree,
                        logical: leaf.logical,
                        slot: slot
                    )
                )
            }
        }
    }

    // MARK: counting

    private func countRoot(_ root: TreeRoot, isRelocation: Bool) {
        count(
            isRelocation
                ? ExtentReference(.sharedTree, root.logical)
                : ExtentReference(.tree, root.treeID),
            to: root.logical,
            length: nodeSize,
            from: nil
        )
    }

    /// Counts pointer `slot` of a node.
    func countPointer(from node: TreeBlock, _ slot: Int) {
        count(
            hasFullBackrefs(node)
                ? ExtentReference(.sharedTree, node.logical)
                : ExtentReference(.tree, node.owner),
            to: node.childLogical(slot),
            length: nodeSize,
            from: (node, slot)
        )
    }

    /// Counts the file extents of a leaf.
    func countDataReferences(of leaf: TreeBlock) {
        let isFull = hasFullBackrefs(leaf)
        for slot in 0..<leaf.itemCount where leaf.key(slot).type == .extentData {
            let key = leaf.key(slot)
            guard let extent = StoredFileExtent.read(leaf, slot), extent.logical != 0 else {
                continue
            }
            count(
                isFull
                    ? ExtentReference(.sharedData, leaf.logical)
                    : ExtentReference(
                        .data,
                        leaf.owner,
                        inode: key.objectid,
                        // Below zero where a range was cloned to the front of a file: it wraps.
                        offset: key.offset &- extent.offset
                    ),
                to: extent.logical,
                length: extent.diskLength,
                from: (leaf, slot)
            )
        }
    }

    private func hasFullBackrefs(_ block: TreeBlock) -> Bool {
        guard let index = extents.index(at: block.logical) else { return false }
        return extents.extents[index].isFullBackref
    }

    private func count(
        _ reference: ExtentReference,
        to logical: UInt64,
        length: UInt64,
        from place: (block: TreeBlock, slot: Int)?
    ) {
        func fault(_ kind: CheckFault.Kind, _ what: StaticString, _ other: UInt64? = nil) {
            report(
                CheckFault(
                    kind,
                    what,
                    logical,
                    other,
                    root: place?.block.owner ?? reference.owner,
                    inode: reference.kind == .data ? reference.inode : nil,
                    logical: place?.block.logical,
                    slot: place?.slot
                )
            )
        }
        let isTree = reference.kind == .tree || reference.kind == .sharedTree
        guard let index = extents.index(at: logical) else {
            if extentsAreWhole {
                fault(
                    isTree ? .extent : .fileExtent,
                    isTree
                        ? "tree block at % is not recorded"
                        : "extent at % is not recorded"
                )
            }
            return
        }
        let extent = extents.extents[index]
        guard extent.isTreeBlock == isTree else {
            fault(.extent, "extent at % is recorded as another kind")
            return
        }
        if extent.length != length {
            fault(
                isTree ? .extent : .fileExtent,
                "extent at % is recorded with % bytes",
                extent.length
            )
        }
        guard let found = extents.find(reference, of: index) else {
            if extentsAreWhole {
                fault(
                    .reference,
                    reference.kind == .sharedTree || reference.kind == .sharedData
                        ? "not recorded: to %, shared below %" : "not recorded: to %, of tree %",
                    reference.owner
                )
            }
            return
        }
        extents.noteFound(found)
    }

    // MARK: visiting

    func wasVisited(_ logical: UInt64) -> Bool {
        guard let index = extents.index(at: logical) else {
            return unrecordedBlocks.contains(logical)
        }
        return extents.extents[index].wasVisited
    }

    /// Notes that a walk has met a block.
    ///
    /// - Returns: whether it is the first one to do so.
    func visit(_ block: TreeBlock, in root: TreeRoot) -> Bool {
        guard let index = extents.index(at: block.logical), extents.extents[index].isTreeBlock
        else { return unrecordedBlocks.insert(block.logical).inserted }
        guard !extents.extents[index].wasVisited else { return false }
        extents.noteVisit(index)
        compare(block, extents.extents[index], index, in: root)
        return true
    }

    private func compare(
        _ block: TreeBlock,
        _ extent: RecordedExtent,
        _ index: Int,
        in root: TreeRoot
    ) {
        func fault(_ kind: CheckFault.Kind, _ what: StaticString, _ a: UInt64, _ b: UInt64) {
            report(CheckFault(kind, what, a, b, root: root.treeID, logical: block.logical))
        }
        if block.level != extent.level {
            fault(.extent, "level %, recorded %", UInt64(block.level), UInt64(extent.level))
        }
        if block.generation != extent.generation {
            fault(.extent, "generation %, recorded %", block.generation, extent.generation)
        }
        let isFull = mustHaveFullBackrefs(block, index, in: root)
        if isFull != extent.isFullBackref {
            fault(
                .extent,
                "full back references %, expected %",
                extent.isFullBackref ? 1 : 0,
                isFull ? 1 : 0
            )
        }
        if Special.isSubvolume(root.treeID), !Special.isSubvolume(block.owner) {
            fault(.treeBlock, "belongs to tree %, not a subvolume like %", block.owner, root.treeID)
        }
        guard let group = groupIndex(at: block.logical) else { return }
        let isSystem = groups[group].flags.contains(.system)
        if isSystem != (root.treeID == ObjectID.chunkTree), !groups[group].flags.isMixed {
            fault(
                .extent,
                "block of tree % in a group of type %",
                root.treeID,
                groups[group].flags.rawValue
            )
        }
    }

    /// A block that its owner no longer refers to, or that relocation made, names itself as the
    /// parent of its children.
    private func mustHaveFullBackrefs(
        _ block: TreeBlock,
        _ index: Int,
        in root: TreeRoot
    ) -> Bool {
        guard Special.isSubvolume(root.treeID), block.logical != root.logical else {
            return false
        }
        if block.flags & relocationFlag != 0 { return true }
        if block.owner == root.treeID { return false }
        return extents.find(ExtentReference(.tree, block.owner), of: index) == nil
    }
}
