//===-- RootTreeCheck.swift - which trees there are ----------------------------------------------===//
// Reads the root tree into a list of roots and of the links between subvolumes. File systems with
// a free-space cache of the first version keep its files in the root tree, too; those are accounted
// for by TreeAccounting.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

/// A root item.
struct CheckedRoot {
    let tree: TreeRoot
    /// A copy in the making of the tree with this id; not that tree itself.
    let isRelocation: Bool
    /// 0: being deleted.
    let refs: UInt32
    let drop: DropProgress?

    var id: UInt64 { tree.treeID }
    /// A tree with inodes that a user can see.
    var isSubvolume: Bool { !isRelocation && Special.isSubvolume(id) }
}

/// Object ids and key types that only a check needs by name.
enum Special {
    static let treeRelocation = UInt64(bitPattern: -8)
    static let orphans = UInt64(bitPattern: -5)
    static let freeSpaceCache = UInt64(bitPattern: -11)
    static let freeInodes = UInt64(bitPattern: -12)
    static let checksums = UInt64(bitPattern: -10)

    static let inodeExtendedRef = KeyType(rawValue: 13)
    static let attribute = KeyType(rawValue: 24)
    static let verityDescriptor = KeyType(rawValue: 36)
    static let verityTree = KeyType(rawValue: 37)
    static let orphanItem = KeyType(rawValue: 48)
    static let dirIndex = KeyType(rawValue: 96)

    static func isSubvolume(_ id: UInt64) -> Bool {
        id == ObjectID.filesystemTree || (ObjectID.firstFree...ObjectID.lastFree).contains(id)
    }
}

/// A subvolume's place in another: from ROOT_REF, ROOT_BACKREF, or a directory's entry.
struct RootLink {
    enum Source: UInt8 {
        case forward
        case backward
        case entry
    }

    let source: Source
    let child: UInt64
    let parent: UInt64
    let directory: UInt64
    let index: UInt64
    let nameHash: UInt64
}

extension Checker {
    func root(of id: UInt64) -> CheckedRoot? {
        roots.first { $0.id == id && !$0.isRelocation }
    }

    var rootTreeRoot: TreeRoot {
        TreeRoot(
            treeID: ObjectID.rootTree,
            logical: superBlock.root,
            level: superBlock.rootLevel,
            generation: superBlock.generation
        )
    }

    func checkRootTree() {
        var orphans: [UInt64] = []
        var walk = LeafWalk(self, rootTreeRoot, isAccounting: false)
        while let leaf = walk.next() {
            requireItems(leaf, in: ObjectID.rootTree)
            forEachItem(of: leaf, in: ObjectID.rootTree) { (slot, data) throws(FilesystemError) in
                try noteRootTreeItem(leaf.key(slot), data, &orphans)
            } failed: { key, error in
                if key.type == .rootItem { rootsAreWhole = false }
                report(key.type == .rootItem ? .tree : .item, error)
            }
        }
        if !walk.isWhole { rootsAreWhole = false }
        if rootsAreWhole {
            requireTrees()
            checkDeletedRoots(orphans)
        } else if root(of: ObjectID.extentTree) == nil {
            extentsAreWhole = false
        }
    }

    private func noteRootTreeItem(
        _ key: Key,
        _ data: RawSpan,
        _ orphans: inout [UInt64]
    ) throws(FilesystemError) {
        switch key.type {
        case .rootItem: try noteRoot(key, data)
        case .rootRef, .rootBackref: try noteRootLink(key, data)
        case Special.orphanItem where key.objectid == Special.orphans: orphans.append(key.offset)
        default: break
        }
    }

    private func noteRoot(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        let item = try RootItem(key: key, data, limits)
        let isRelocation = item.objectid == Special.treeRelocation
        var drop: DropProgress?
        let dropKey = data.key(at: 220)
        if dropKey != .min {
            let level = data.u8(at: 237)
            guard level <= SuperBlock.levelMax else {
                throw FilesystemError(.corrupt, "root item", "drop level %", UInt64(level))
            }
            drop = DropProgress(key: dropKey, level: level)
        }
        roots.append(
            CheckedRoot(
                // Blocks of a relocation tree name the tree that they are copies of.
                tree: TreeRoot(
                    treeID: isRelocation ? key.offset : item.objectid,
                    logical: item.logical,
                    level: item.level,
                    generation: item.generation
                ),
                isRelocation: isRelocation,
                refs: item.refs,
                drop: drop
            )
        )
        if data.byteCount == RootItem.byteCount {
            let second = data.u64(at: 239)
            guard second == item.generation else {
                throw FilesystemError(
                    .corrupt,
                    "root item",
                    "generation %, generation_v2 %",
                    item.generation,
                    second
                )
            }
        }
        let knownFlags: UInt64 = 1 | 1 << 48
        guard item.flags & ~knownFlags == 0 else {
            throw FilesystemError(.corrupt, "root item", "flags %", item.flags)
        }
        guard data.u64(at: 200) <= superBlock.generation else {
            throw FilesystemError(
                .corrupt,
                "root item",
                "last snapshot in generation %",
                data.u64(at: 200)
            )
        }
        guard item.generation > 0, item.logical != 0 else {
            throw FilesystemError(.corrupt, "root item", "root block at %", item.logical)
        }
    }

    private func noteRootLink(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        try data.require(18, "root reference")
        let nameLength = Int(data.u16(at: 16))
        guard nameLength > 0, nameLength <= 255, 18 + nameLength == data.byteCount else {
            throw FilesystemError(
                .corrupt,
                "root reference",
                "name of % bytes in an item of %",
                UInt64(nameLength),
                UInt64(data.byteCount)
            )
        }
        let isForward = key.type == .rootRef
        rootLinks.append(
            RootLink(
                source: isForward ? .forward : .backward,
                child: isForward ? key.offset : key.objectid,
                parent: isForward ? key.objectid : key.offset,
                directory: data.u64(at: 0),
                index: data.u64(at: 8),
                nameHash: fingerprint(data.extracting(18..<data.byteCount))
            )
        )
    }

    private func requireTrees() {
        var wanted: [UInt64] = [
            ObjectID.extentTree, ObjectID.deviceTree, ObjectID.filesystemTree,
            ObjectID.checksumTree, ObjectID.dataRelocationTree,
        ]
        if superBlock.compatReadOnly.contains(.freeSpaceTree) {
            wanted.append(ObjectID.freeSpaceTree)
        }
        if superBlock.compatReadOnly.contains(.blockGroupTree) {
            wanted.append(ObjectID.blockGroupTree)
        }
        for id in wanted where root(of: id) == nil {
            report(CheckFault(.tree, "is not there", root: id))
            if id == ObjectID.extentTree { extentsAreWhole = false }
        }
    }

    /// A tree without references is on its way out, and says so, or nobody would finish it.
    private func checkDeletedRoots(_ orphans: [UInt64]) {
        for root in roots where root.refs == 0 && root.isSubvolume {
            if !orphans.contains(root.id) {
                report(
                    CheckFault(
                        .subvolume,
                        "has no references and no orphan item",
                        root: root.id
                    )
                )
            }
        }
        for orphan in orphans where root(of: orphan) == nil {
            // The kernel drops such a mark at the next mount.
            report(
                CheckFault(
                    .subvolume,
                    "orphan item for a tree that is gone",
                    root: orphan,
                    isRemark: true
                )
            )
        }
    }
}
