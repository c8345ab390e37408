//===-- ExtentTreeCheck.swift - what the extent tree records, into tables -----------------------===//
// Reads extents, their references and, where there is no block-group tree, the items of the block
// groups. Each extent is held against the one before it and against its own count of references.
//
// Not here: whether a reference exists (TreeAccounting, ReferenceCheck), groups (BlockGroupCheck).
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

/// The extent whose references are being read.
private struct OpenExtent {
    let item: ExtentItem
    var refs: [ExtentReference]
    let leaf: UInt64
    let slot: Int
}

extension Checker {
    func checkExtentTree() {
        if superBlock.compatReadOnly.contains(.blockGroupTree) {
            checkBlockGroupTree()
        }
        guard let root = root(of: ObjectID.extentTree) else { return }
        var open: OpenExtent?
        var end: UInt64 = 0
        var walk = LeafWalk(self, root.tree, isAccounting: false)
        while let leaf = walk.next() {
            requireItems(leaf, in: ObjectID.extentTree)
            advance(.tables, leaf.logical, of: 0)
            forEachItem(of: leaf, in: ObjectID.extentTree) { (slot, data) throws(FilesystemError) in
                try noteExtentTreeItem(leaf, slot, data, &open, &end)
            } failed: { key, error in
                extentsAreWhole = false
                report(key.type == .blockGroupItem ? .blockGroup : .extent, error)
            }
        }
        close(&open)
        if !walk.isWhole {
            extentsAreWhole = false
            if !superBlock.compatReadOnly.contains(.blockGroupTree) { groupsAreWhole = false }
        }
    }

    private func checkBlockGroupTree() {
        guard let root = root(of: ObjectID.blockGroupTree) else {
            groupsAreWhole = false
            return
        }
        var walk = LeafWalk(self, root.tree, isAccounting: false)
        while let leaf = walk.next() {
            forEachItem(of: leaf, in: ObjectID.blockGroupTree) {
                (slot, data) throws(FilesystemError) in
                try noteGroup(leaf.key(slot), data)
            } failed: { _, error in
                groupsAreWhole = false
                report(.blockGroup, error)
            }
        }
        if !walk.isWhole { groupsAreWhole = false }
    }

    private func noteGroup(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        let item: BlockGroupItem
        do throws(FilesystemError) {
            item = try BlockGroupItem(key: key, data, limits)
        } catch {
            groupsAreWhole = false
            throw error
        }
        if let last = groups.last, last.end > item.logical {
            throw FilesystemError(
                .corrupt,
                "block group",
                "at % overlaps the one at %",
                item.logical,
                last.logical
            )
        }
        groups.append(
            CheckedGroup(
                logical: item.logical,
                length: item.length,
                used: item.used,
                flags: item.flags
            )
        )
    }

    private func noteExtentTreeItem(
        _ leaf: TreeBlock,
        _ slot: Int,
        _ data: RawSpan,
        _ open: inout OpenExtent?,
        _ end: inout UInt64
    ) throws(FilesystemError) {
        let key = leaf.key(slot)
        switch key.type {
        case .extentItem, .metadataItem:
            close(&open)
            let item = try ExtentItem(key: key, data, limits)
            if item.logical < end {
                report(
                    CheckFault(
                        .extent,
                        "at % overlaps the one before, which ends at %",
                        item.logical,
                        end,
                        root: ObjectID.extentTree,
                        logical: leaf.logical,
                        slot: slot
                    )
                )
            }
            end = max(end, item.end)
            let refs = try inlineReferences(of: item, data)
            open = OpenExtent(item: item, refs: refs, leaf: leaf.logical, slot: slot)
        case .treeBlockRef, .sharedBlockRef, .extentDataRef, .sharedDataRef:
            let reference = try keyedReference(key, data)
            guard open != nil, open?.item.logical == key.objectid else {
                throw FilesystemError(
                    .corrupt,
                    "extent",
                    "reference of type % without its extent at %",
                    UInt64(key.type.rawValue),
                    key.objectid
                )
            }
            open?.refs.append(reference)
        case .blockGroupItem where !superBlock.compatReadOnly.contains(.blockGroupTree):
            try noteGroup(key, data)
        default:
            throw FilesystemError(
                .corrupt,
                "item",
                "type % in the extent tree",
                UInt64(key.type.rawValue)
            )
        }
    }

    /// The references inside an item; the kernel insists on their order: by type, then falling.
    private func inlineReferences(
        of item: ExtentItem,
        _ data: RawSpan
    ) throws(FilesystemError) -> [ExtentReference] {
        var refs: [ExtentReference] = []
        var offset = item.inlineRefsStart
        var lastType: UInt8 = 0
        var lastSequence = UInt64.max
        while offset < data.byteCount {
            let type = data.u8(at: offset)
            guard let ref = try item.nextInlineRef(data, &offset) else { break }
            let sequence = Self.sequence(of: ref)
            guard type > lastType || type == lastType && sequence <= lastSequence else {
                throw FilesystemError(
                    .corrupt,
                    "extent",
                    "at %: inline reference of type % is out of order",
                    item.logical,
                    UInt64(type)
                )
            }
            lastType = type
            lastSequence = sequence
            if let reference = ExtentReference(ref) { refs.append(reference) }
        }
        return refs
    }

    private static func sequence(of ref: InlineRef) -> UInt64 {
        switch ref {
        case .treeBlock(let root), .owner(let root): root
        case .sharedBlock(let parent), .sharedData(let parent, _): parent
        case .data(let root, let inode, let offset, _):
            dataReferenceHash(root: root, inode: inode, offset: offset)
        }
    }

    private func keyedReference(
        _ key: Key,
        _ data: RawSpan
    ) throws(FilesystemError) -> ExtentReference {
        switch key.type {
        case .treeBlockRef:
            try data.requireExactly(0, "reference")
            return ExtentReference(.tree, key.offset)
        case .sharedBlockRef:
            try data.requireExactly(0, "reference")
            return ExtentReference(.sharedTree, key.offset)
        case .sharedDataRef:
            try data.requireExactly(4, "reference")
            return ExtentReference(.sharedData, key.offset, count: data.u32(at: 0))
        default:
            try data.requireExactly(28, "reference")
            return ExtentReference(
                .data,
                data.u64(at: 0),
                inode: data.u64(at: 8),
                offset: data.u64(at: 16),
                count: data.u32(at: 24)
            )
        }
    }

    /// Ends an extent: its references are all known.
    private func close(_ open: inout OpenExtent?) {
        guard let extent = open else { return }
        open = nil
        var sum: UInt64 = 0
        for ref in extent.refs { sum += UInt64(ref.count) }
        let isTree = extent.item.level != nil
        func fault(_ what: StaticString, _ value: UInt64, _ other: UInt64? = nil) {
            report(
                CheckFault(
                    .reference,
                    what,
                    value,
                    other,
                    root: ObjectID.extentTree,
                    logical: extent.leaf,
                    slot: extent.slot
                )
            )
        }
        if sum != extent.item.refs {
            fault("extent counts % references and lists %", extent.item.refs, sum)
        }
        for ref in extent.refs {
            let isOfTree = ref.kind == .tree || ref.kind == .sharedTree
            if isOfTree != isTree { fault("reference of the wrong kind to %", extent.item.logical) }
        }
        if !isTree { countDataExtent() }
        extents.append(extent.item, extent.refs)
    }
}
