//===-- Filesystem+Removing.swift - removing, renaming and linking ------------------------------===//
// An inode goes with its last name; one that is open then goes with its last close. Until then it is
// an "orphan": an item in the tree says so, and after a crash the kernel removes it at its next mount.
// The same item guards a large file while it is removed in several changes.
//===-------------------------------------------------------------------------------------------===//

public import BGDiskFormat

/// What a change has to do about an inode that lost a name.
private enum Leftover {
    case nothing
    /// The caller goes on dropping its extents.
    case orphan(UInt64)
}

extension Filesystem {
    /// Removes a name of a file, symbolic link or other inode that is no directory. With its last
    /// name, and once it is open no more, the inode goes.
    ///
    /// - Throws: `.notFound`, EISDIR, EPERM for one that must not change, `.readOnly`; `.noSpace` only where
    ///   somebody else left less than any commit needs.
    public func removeFile(_ path: FilePath) throws(FilesystemError) {
        try remove(path, isDirectory: false)
    }

    /// Removes an empty directory.
    ///
    /// - Throws: `.notFound`, ENOTDIR, ENOTEMPTY, `.busy` for the top one, `.readOnly`; `.noSpace` as there.
    public func removeDirectory(_ path: FilePath) throws(FilesystemError) {
        try remove(path, isDirectory: true)
    }

    private func remove(_ path: FilePath, isDirectory: Bool) throws(FilesystemError) {
        let names = try path.names()
        let leftover = try changeFiles(.freeing) { (change) throws(FilesystemError) in
            try change.planRemoval(names, isDirectory: isDirectory)
        } apply: { (change, found) throws(FilesystemError) in
            try change.unlink(found)
        }
        try finishRemoving(leftover)
    }

    /// Gives a file, directory or other inode another name, in any directory. A file, or an empty
    /// directory, that has that name is replaced by one of its own sort.
    ///
    /// - Throws: `.notFound`; `.invalidArgument` for a directory into itself; EISDIR, ENOTDIR, ENOTEMPTY for
    ///   what cannot be replaced; `.busy` for the top directory.
    public func rename(_ path: FilePath, to newPath: FilePath) throws(FilesystemError) {
        let names = try path.names()
        let newNames = try newPath.names()
        guard !names.isEmpty, let newName = newNames.last else {
            throw FilesystemError(.busy, "path", "is the top directory")
        }
        let leftover = try changeFiles {
            (change) throws(FilesystemError) in
            try change.planRename(names, newNames)
        } apply: { (change, plan) throws(FilesystemError) -> Leftover in
            // Two names of one inode: both stay, as POSIX wants it.
            guard let plan else { return .nothing }
            var leftover = Leftover.nothing
            if let target = plan.target { leftover = try change.unlink(target) }
            let source = plan.source
            try change.removeName(source.name, of: source.inode, in: source.directory)
            try change.insertName(
                newName,
                of: source.inode,
                type: source.type,
                in: plan.directory
            )
            try change.updateInode(source.inode) { _ in }
            return leftover
        }
        try finishRemoving(leftover)
    }

    /// Gives a file another name beside those that it has.
    ///
    /// - Throws: `.notFound`; `.exists`; EPERM for a directory; EMLINK.
    public func makeHardLink(
        _ path: FilePath,
        to existing: FilePath
    ) throws(FilesystemError) {
        let names = try path.names()
        let existingNames = try existing.names()
        guard let name = names.last else {
            throw FilesystemError(.exists, "path", "the top directory exists")
        }
        try changeFiles {
            (change) throws(FilesystemError) in
            let number = try change.files.resolve(existingNames[...])
            let inode = try change.files.inode(number)
            let directory = try change.planName(names)
            try checkMayChange(inode)
            guard !inode.isDirectory else {
                throw FilesystemError(.system(Errno.notPermitted), "path", "is a directory")
            }
            guard inode.linkCount < 65535,
                try change.canInsertReference(named: name, in: directory, to: number)
            else {
                throw FilesystemError(.system(Errno.tooManyLinks), "file", "has too many names")
            }
            return (number, FileKind(inode), directory)
        } apply: { (change, plan: (UInt64, FileKind, UInt64)) throws(FilesystemError) in
            try change.insertName(name, of: plan.0, type: plan.1.rawValue, in: plan.2)
            try change.updateInode(plan.0) { $0.linkCount += 1 }
        }
    }

    // MARK: the end of an inode

    private func finishRemoving(_ leftover: Leftover) throws(FilesystemError) {
        guard case .orphan(let number) = leftover else { return }
        try removeOrphan(number)
    }

    /// Removes what a crash left: inodes without a name. One that cannot be removed stays for the next
    /// call. Those with a name that are marked are the kernel's affair: it was shortening them.
    ///
    /// - Returns: whether there was one that could be removed.
    func removeLeftOrphans() throws(FilesystemError) -> Bool {
        let left = try readTrees { (transaction) throws(FilesystemError) in
            if openFiles.leftOrphans == nil { try fileChange(transaction).noteLeftOrphans() }
            // They are this thread's now.
            defer { openFiles.leftOrphans = [] }
            return openFiles.leftOrphans ?? []
        }
        // Each removal looks for space where it lacks some, and so comes here. What failed is therefore
        // put back last: else it would be tried again for each of those that follow.
        var failed: [UInt64] = []
        for number in left {
            do throws(FilesystemError) {
                try removeNameless(number)
            } catch {
                failed.append(number)
            }
        }
        if !failed.isEmpty { try putBack(failed) }
        return failed.count < left.count
    }

    private func putBack(_ orphans: [UInt64]) throws(FilesystemError) {
        try readTrees { (_) throws(FilesystemError) in
            openFiles.leftOrphans?.append(contentsOf: orphans)
        }
    }

    /// Removes an inode that has neither a name nor anyone who has it open, a bounded number of its
    /// extents at a time. One that cannot be removed is tried again when space is short.
    func removeOrphan(_ number: UInt64) throws(FilesystemError) {
        do throws(FilesystemError) {
            try removeNameless(number)
        } catch {
            try putBack([number])
            throw error
        }
    }

    private func removeNameless(_ number: UInt64) throws(FilesystemError) {
        var isDone = false
        while !isDone {
            isDone = try changeFiles(.freeing) { (change) throws(FilesystemError) in
                try change.lastParts(of: number, from: 0)
            } apply: { (change, last) throws(FilesystemError) in
                let dropped = try change.drop(last, of: number)
                guard last.isAll else {
                    try change.updateInode(number) {
                        $0.byteCount -= min($0.byteCount, dropped)
                        $0.size = min($0.size, last.low)
                    }
                    return false
                }
                try change.removeInode(number)
                try change.removeOrphan(number)
                return true
            }
        }
    }
}

/// - Throws: EPERM for an inode that is marked as one that must not change.
func checkMayChange(_ inode: InodeItem) throws(FilesystemError) {
    let fixed = InodeItem.flagImmutable | InodeItem.flagReadOnly | InodeItem.flagVerity
    guard inode.flags & fixed == 0 else {
        throw FilesystemError(.system(Errno.notPermitted), "file", "is marked as immutable")
    }
}

/// A name that goes, and what goes with it.
private struct Removal {
    var found: FoundName
    var inode: InodeItem
    /// What the inode drops first, where it goes with the name.
    var last: LastParts?
}

/// A name that a change is about.
struct FoundName {
    var directory: UInt64
    var name: [UInt8]
    var inode: UInt64
    var type: UInt8
}

extension FileChange {
    fileprivate func find(_ names: [[UInt8]]) throws(FilesystemError) -> FoundName {
        let files = files
        let directory = try files.resolveDirectory(names.dropLast())
        guard let name = names.last else {
            throw FilesystemError(.busy, "path", "is the top directory")
        }
        guard let entry = try files.entry(named: name, in: directory) else {
            throw FilesystemError(.notFound, "path", "no such file or directory")
        }
        try FileTree.checkIsInode(entry)
        return FoundName(
            directory: directory,
            name: name,
            inode: entry.location.objectid,
            type: entry.type
        )
    }

    fileprivate func planRemoval(
        _ names: [[UInt8]],
        isDirectory: Bool
    ) throws(FilesystemError) -> Removal {
        let found = try find(names)
        let inode = try files.inode(found.inode)
        try checkMayChange(inode)
        try checkRemovable(found, isDirectory: isDirectory)
        let goes = inode.linkCount <= 1 && state.opened(found.inode) == nil
        return Removal(
            found: found,
            inode: inode,
            last: goes && inode.isRegular ? try lastParts(of: found.inode, from: 0) : nil
        )
    }

    private func checkRemovable(
        _ found: FoundName,
        isDirectory: Bool
    ) throws(FilesystemError) {
        switch (isDirectory, found.type == DirectoryItem.typeDirectory) {
        case (false, true):
            throw FilesystemError(.system(Errno.isADirectory), "path", "is a directory")
        case (true, false):
            throw FilesystemError(.system(Errno.notADirectory), "path", "is not a directory")
        case (true, true):
            guard try files.isEmptyDirectory(found.inode) else {
                throw FilesystemError(.system(Errno.notEmpty), "directory", "is not empty")
            }
        default: break
        }
    }

    fileprivate func planRename(
        _ names: [[UInt8]],
        _ newNames: [[UInt8]]
    ) throws(FilesystemError) -> (source: FoundName, target: Removal?, directory: UInt64)? {
        let source = try find(names)
        let files = files
        let isDirectory = source.type == DirectoryItem.typeDirectory
        let directory = try files.resolveDirectory(newNames.dropLast())
        try checkMayChange(files.inode(source.inode))
        if isDirectory { try checkIsOutside(directory, of: source.inode) }
        let newName = newNames[newNames.count - 1]
        try nextIndex(of: directory)
        var target: Removal?
        if let entry = try files.entry(named: newName, in: directory) {
            guard entry.location.objectid != source.inode else { return nil }
            target = try planRemoval(newNames, isDirectory: isDirectory)
        } else {
            try checkRoom(for: newName, in: directory)
        }
        guard try canInsertReference(named: newName, in: directory, to: source.inode) else {
            throw FilesystemError(.system(Errno.tooManyLinks), "file", "has too many names")
        }
        return (source, target, directory)
    }

    /// - Throws: `.invalidArgument` when `directory` is `top` or lies below it.
    private func checkIsOutside(
        _ directory: UInt64,
        of top: UInt64
    ) throws(FilesystemError) {
        // More levels than a path can have: a circle.
        let levelsMax = 65536
        var current = directory
        for _ in 0..<levelsMax {
            guard current != top else {
                throw FilesystemError(.invalidArgument, "path", "leads into the directory itself")
            }
            guard current != FileTree.rootDirectory else { return }
            current = try files.parent(ofDirectory: current)
        }
        throw FilesystemError(.corrupt, "directory", "% lies in itself", directory)
    }

    /// Removes a name; with the last one the inode, unless it is open or large.
    fileprivate func unlink(_ removal: Removal) throws(FilesystemError) -> Leftover {
        let (found, inode) = (removal.found, removal.inode)
        try removeName(found.name, of: found.inode, in: found.directory)
        guard inode.isDirectory || inode.linkCount <= 1 else {
            try updateInode(found.inode) { $0.linkCount -= 1 }
            return .nothing
        }
        if let opened = state.opened(found.inode) {
            opened.isOrphan = true
            try markOrphan(found.inode)
            return .nothing
        }
        guard let last = removal.last else {
            try removeInode(found.inode)
            return .nothing
        }
        let dropped = try drop(last, of: found.inode)
        guard !last.isAll else {
            try removeInode(found.inode)
            return .nothing
        }
        try markOrphan(found.inode)
        try updateInode(found.inode) {
            $0.byteCount -= min($0.byteCount, dropped)
            $0.size = min($0.size, last.low)
        }
        return .orphan(found.inode)
    }

    /// Looks for what a crash left, once. What damage hides is left to the checker: it keeps nobody from
    /// making changes.
    func noteLeftOrphans() {
        do throws(FilesystemError) {
            state.leftOrphans = try orphansWithoutName()
        } catch {
            state.leftOrphans = []
        }
    }

    /// The inodes that are marked as without a name, and are, but for those that are open.
    private func orphansWithoutName() throws(FilesystemError) -> [UInt64] {
        var marked: [UInt64] = []
        let files = files
        try files.forEachItem(from: Key(ObjectID.orphans, .orphanItem, 0)) {
            (key, _) throws(FilesystemError) in
            marked.append(key.offset)
            return true
        }
        var nameless: [UInt64] = []
        for number in marked where state.opened(number) == nil {
            let key = Key(number, .inodeItem, 0)
            let isNameless = try files.withItem(key) { (data) throws(FilesystemError) in
                try InodeItem(key: key, data, limits).linkCount == 0
            }
            if isNameless ?? false { nameless.append(number) }
        }
        return nameless
    }

    private func markOrphan(_ number: UInt64) throws(FilesystemError) {
        try updateInode(number) { $0.linkCount = 0 }
        try insertOrphan(number)
    }
}
