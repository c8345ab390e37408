//===-- SubvolumeCheck.swift - the inodes of one subvolume, in order -----------------------------===//
// Items of one inode lie side by side, so most of an inode is checked as its items go by
// (InodeCheck). What ties two inodes together, a name, is kept from both sides and compared at the
// end (NameTable).
//
// The root tree and the data relocation tree hold inodes, too, which no directory names: of those
// only fields and file extents are checked.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

struct SubvolumeCheck {
    let checker: Checker
    let root: TreeRoot
    /// Whether its inodes have names.
    let isSubvolume: Bool
    private var inode: InodeCheck?
    private var names = NameTable()
    /// Inodes without links, ascending.
    private var unlinked: [UInt64] = []
    /// Inodes with an orphan item, ascending.
    private var orphans: [UInt64] = []
    private var hasRootDirectory = false

    init(_ checker: Checker, _ root: TreeRoot, isSubvolume: Bool) {
        self.checker = checker
        self.root = root
        self.isSubvolume = isSubvolume
    }

    /// Takes the items of the next leaf.
    ///
    /// - Parameter isAfterLoss: leaves between this and the one before could not be read; the inodes
    ///   at their borders are not whole.
    mutating func add(_ leaf: TreeBlock, isAfterLoss: Bool) {
        if isAfterLoss { inode?.isPartial = true }
        var isPartial = isAfterLoss
        for slot in 0..<leaf.itemCount {
            let key = leaf.key(slot)
            if inode?.number != key.objectid {
                endInode()
                if isInode(key) {
                    inode = InodeCheck(checker, root.treeID, key.objectid, isSubvolume)
                    inode?.isPartial = isPartial
                    isPartial = false
                }
            }
            do throws(FilesystemError) {
                try leaf.withItem(slot) { (data) throws(FilesystemError) in
                    try addItem(key, data)
                }
            } catch {
                checker.report(
                    CheckFault(
                        kind(of: key.type),
                        error.located(root: root.treeID, logical: leaf.logical, slot: slot),
                        inode: inode?.number
                    )
                )
            }
        }
    }

    private func kind(of type: KeyType) -> CheckFault.Kind {
        switch type {
        case .inodeItem: .inode
        case .inodeRef, Special.inodeExtendedRef, .dirItem, Special.dirIndex: .name
        case .extentData: .fileExtent
        default: .item
        }
    }

    /// Other object ids of a subvolume: orphans, and numbers of free inodes that old kernels kept.
    private func isInode(_ key: Key) -> Bool {
        switch key.objectid {
        case Special.orphans, Special.freeSpaceCache: false
        case Special.freeInodes: false
        default: isSubvolume || hasInodeItems(key)
        }
    }

    /// In the root tree the same object ids stand for trees.
    private func hasInodeItems(_ key: Key) -> Bool {
        root.treeID != ObjectID.rootTree || key.type.rawValue <= KeyType.extentData.rawValue
    }

    private mutating func addItem(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        if key.objectid == Special.orphans {
            guard key.type == Special.orphanItem, data.byteCount == 0 else {
                throw FilesystemError(.corrupt, "item", "no orphan item among orphans")
            }
            orphans.append(key.offset)
            return
        }
        switch key.type {
        case .inodeItem: try inode?.setItem(key, data)
        case .inodeRef where isSubvolume: try inode?.addRefs(key, data, &names)
        case Special.inodeExtendedRef where isSubvolume:
            try inode?.addExtendedRefs(key, data, &names)
        case .dirItem where isSubvolume: try inode?.addEntries(key, data)
        case Special.dirIndex where isSubvolume: try inode?.addIndex(key, data, &names)
        case Special.attribute where isSubvolume: try inode?.checkAttributes(key, data)
        case .extentData: try inode?.addExtent(key, data)
        case Special.verityDescriptor, Special.verityTree, Special.orphanItem: break
        default:
            guard !isSubvolume || key.objectid == Special.freeInodes else {
                throw FilesystemError(
                    .corrupt,
                    "item",
                    "type % in a subvolume",
                    UInt64(key.type.rawValue)
                )
            }
        }
    }

    private mutating func endInode() {
        guard var ended = inode else { return }
        inode = nil
        checker.countInode()
        if !ended.isPartial { ended.finish() }
        if ended.number == ObjectID.firstFree, ended.isDirectory { hasRootDirectory = true }
        if isSubvolume, ended.isUnlinked { unlinked.append(ended.number) }
    }

    /// Compares what lies apart.
    ///
    /// - Parameter isWhole: every leaf was given.
    mutating func finish(isWhole: Bool) {
        if !isWhole { inode?.isPartial = true }
        endInode()
        guard isSubvolume, isWhole else { return }
        if !hasRootDirectory {
            checker.report(CheckFault(.tree, "has no root directory", root: root.treeID))
        }
        compareOrphans()
        names.compare(checker, root.treeID)
    }

    private func compareOrphans() {
        var index = 0
        for number in unlinked {
            while index < orphans.count, orphans[index] < number { index += 1 }
            if index < orphans.count, orphans[index] == number { continue }
            checker.report(
                CheckFault(
                    .linkCount,
                    "no links and no orphan item",
                    root: root.treeID,
                    inode: number
                )
            )
        }
    }
}
