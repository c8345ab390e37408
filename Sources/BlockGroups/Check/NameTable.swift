//===-- NameTable.swift - names from both sides: directory and inode -----------------------------===//
// A directory's index entry and the inode's reference must agree in parent, child, index, name and
// type. Both go into flat arrays, 48 bytes a name, which are sorted and compared at the end.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// One name of one inode, as one side has it.
struct NameRecord {
    let parent: UInt64
    let child: UInt64
    /// In the directory's index.
    let index: UInt64
    /// See fingerprint().
    let nameHash: UInt64
    /// The entry's type, or the one that the inode's mode stands for; 0 is not known.
    let type: UInt8

    static func isOrdered(_ a: NameRecord, _ b: NameRecord) -> Bool {
        if a.child != b.child { return a.child < b.child }
        if a.parent != b.parent { return a.parent < b.parent }
        if a.nameHash != b.nameHash { return a.nameHash < b.nameHash }
        return a.index < b.index
    }
}

struct NameTable {
    /// From DIR_INDEX.
    var entries: [NameRecord] = []
    /// From INODE_REF and INODE_EXTREF.
    var references: [NameRecord] = []

    /// Reports what one side has and the other has not.
    mutating func compare(_ checker: Checker, _ tree: UInt64) {
        entries.sort(by: NameRecord.isOrdered)
        references.sort(by: NameRecord.isOrdered)
        var index = 0
        var other = 0
        while index < entries.count || other < references.count {
            let hasEntry = index < entries.count
            let hasReference = other < references.count
            if hasEntry, hasReference, isSameName(entries[index], references[other]) {
                compare(entries[index], references[other], checker, tree)
                index += 1
                other += 1
            } else if hasEntry,
                !hasReference || NameRecord.isOrdered(entries[index], references[other])
            {
                let entry = entries[index]
                checker.report(
                    CheckFault(
                        .name,
                        "index % of directory % has no inode reference",
                        entry.index,
                        entry.parent,
                        root: tree,
                        inode: entry.child
                    )
                )
                index += 1
            } else {
                let reference = references[other]
                checker.report(
                    CheckFault(
                        .name,
                        "reference to index % of directory %, which has no such entry",
                        reference.index,
                        reference.parent,
                        root: tree,
                        inode: reference.child
                    )
                )
                other += 1
            }
        }
    }

    private func isSameName(_ a: NameRecord, _ b: NameRecord) -> Bool {
        a.child == b.child && a.parent == b.parent && a.nameHash == b.nameHash
    }

    private func compare(
        _ entry: NameRecord,
        _ reference: NameRecord,
        _ checker: Checker,
        _ tree: UInt64
    ) {
        if entry.index != reference.index {
            checker.report(
                CheckFault(
                    .name,
                    "index % in its directory, % in its reference",
                    entry.index,
                    reference.index,
                    root: tree,
                    inode: entry.child
                )
            )
        }
        if entry.type != reference.type, reference.type != 0 {
            checker.report(
                CheckFault(
                    .name,
                    "entry of type %, the inode is of type %",
                    UInt64(entry.type),
                    UInt64(reference.type),
                    root: tree,
                    inode: entry.child
                )
            )
        }
    }
}
