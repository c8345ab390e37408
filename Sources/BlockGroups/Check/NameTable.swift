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
        if comesBefore(a, b) { return true }
        if comesBefore(b, a) { return false }
        return a.index < b.index
    }

    /// Whether `a` comes before `b` and is not the same name, whatever index each side gives it.
    static func comesBefore(_ a: NameRecord, _ b: NameRecord) -> Bool {
        if a.child != b.child { return a.child < b.child }
        if a.parent != b.parent { return a.parent < b.parent }
        return a.nameHash < b.nameHash
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
        forEachPair(entries, references, by: NameRecord.comesBefore) { entry, reference in
            if let entry, let reference {
                compare(entry, reference, checker, tree)
            } else if let entry {
                report(entry, "index % of directory % has no inode reference", checker, tree)
            } else if let reference {
                let words: StaticString =
                    "reference to index % of directory %, which has no such entry"
                report(reference, words, checker, tree)
            }
        }
    }

    private func report(
        _ name: NameRecord,
        _ what: StaticString,
        _ checker: Checker,
        _ tree: UInt64
    ) {
        checker.report(
            CheckFault(.name, what, name.index, name.parent, root: tree, inode: name.child)
        )
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
