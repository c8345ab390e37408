//===-- SubvolumeLinkCheck.swift - where each subvolume hangs -------------------------------------===//
// A subvolume's place is written three times: ROOT_REF with the parent, ROOT_BACKREF with the child,
// and the entry in the parent's directory. A snapshot of the parent has the entry too, but no
// references: such an entry leads nowhere, and that is no fault.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension RootLink {
    static func isOrdered(_ a: RootLink, _ b: RootLink) -> Bool {
        if a.child != b.child { return a.child < b.child }
        if a.parent != b.parent { return a.parent < b.parent }
        return a.source.rawValue < b.source.rawValue
    }

    fileprivate func isSamePlace(as other: RootLink) -> Bool {
        directory == other.directory && index == other.index && nameHash == other.nameHash
    }
}

extension Checker {
    func checkSubvolumeLinks() {
        rootLinks.sort(by: RootLink.isOrdered)
        var index = 0
        while index < rootLinks.count {
            var end = index
            while end < rootLinks.count, rootLinks[end].child == rootLinks[index].child,
                rootLinks[end].parent == rootLinks[index].parent
            {
                end += 1
            }
            checkLink(rootLinks[index..<end])
            index = end
        }
        guard rootsAreWhole else { return }
        for root in roots where root.isSubvolume && root.id != ObjectID.filesystemTree {
            let count = rootLinks.filter { $0.child == root.id && $0.source == .backward }.count
            if count != Int(root.refs) {
                report(
                    CheckFault(
                        .subvolume,
                        "% references, its root item says %",
                        UInt64(count),
                        UInt64(root.refs),
                        root: root.id
                    )
                )
            }
        }
    }

    /// - Parameter links: all between one parent and one child.
    private func checkLink(_ links: ArraySlice<RootLink>) {
        guard let first = links.first else { return }
        func fault(_ what: StaticString) {
            report(CheckFault(.subvolume, what, first.parent, root: first.child))
        }
        let forward = links.filter { $0.source == .forward }
        let backward = links.filter { $0.source == .backward }
        let entries = links.filter { $0.source == .entry }
        guard !forward.isEmpty || !backward.isEmpty else { return }
        guard forward.count == 1, backward.count == 1 else {
            return fault("not one reference in tree % and one back")
        }
        if !forward[0].isSamePlace(as: backward[0]) {
            fault("the reference in tree % and the one back do not agree")
        }
        if root(of: first.child) == nil, rootsAreWhole {
            fault("tree % refers to it, but it is gone")
        }
        // A parent on its way out has lost its entries already, and one that cannot be read too.
        guard referencesAreWhole, let parent = root(of: first.parent), parent.refs > 0 else {
            return
        }
        if entries.count != 1 || !entries[0].isSamePlace(as: forward[0]) {
            fault("no entry in tree % as the reference says")
        }
    }
}
