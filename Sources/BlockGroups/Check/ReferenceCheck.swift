//===-- ReferenceCheck.swift - what the extent tree records and nothing refers to -----------------===//
// After every tree was walked: each recorded reference was met as often as it says. Where blocks
// could not be read, references below them would only seem to be missing: then one remark says so.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension Checker {
    func checkReferences() {
        guard referencesAreWhole, rootsAreWhole, chunksAreWhole else {
            report(
                CheckFault(
                    .reference,
                    "not compared the other way: a tree could not be read to its end",
                    isRemark: true
                )
            )
            return
        }
        for index in extents.extents.indices {
            for number in extents.references(of: index) { checkReference(number, of: index) }
        }
    }

    private func checkReference(_ number: Int, of index: Int) {
        let reference = extents.references[number]
        guard reference.found != reference.count else { return }
        let isTree = reference.kind == .tree || reference.kind == .data
        var fault = CheckFault(
            .reference,
            isTree
                ? "recorded % times, found % times"
                : "recorded % times below a shared block, found % times",
            UInt64(reference.count),
            UInt64(reference.found),
            root: isTree ? reference.owner : nil,
            logical: extents.extents[index].logical
        )
        if reference.kind == .data { fault.inode = reference.inode }
        report(fault)
    }
}
