//===-- OpenFiles.swift - what the file calls remember of a file system -------------------------===//
// Which subvolume is written, which inodes are open, and two numbers that are costly to look up: the
// next inode, and the next index of directories in use.
//
// Locks: the tree mutex guards everything here: it is touched inside Filesystem.change and
// Filesystem.readTrees only. The mutex of an open inode is taken before that.
//===-------------------------------------------------------------------------------------------===//

internal import BGDevices
internal import BGDiskFormat

/// One inode that is open, however often.
package final class OpenInode: @unchecked Sendable {
    let number: UInt64
    /// Held around every reading and changing of the file's data: its extents stay while it is held.
    let mutex = Mutex(.file)
    /// How many `File`s there are. Guarded by the tree mutex.
    var openCount = 0
    /// Its last name is gone; the last close removes it. Guarded by the tree mutex.
    var isOrphan = false

    init(_ number: UInt64) { self.number = number }
}

/// The subvolume that files are in.
package struct Subvolume: Sendable {
    /// In a root item's flags.
    static let flagReadOnly: UInt64 = 1 << 0

    package var treeID: UInt64
    package var isReadOnly: Bool
}

package final class OpenFiles: @unchecked Sendable {
    /// Directories whose next index is remembered at most: beyond, all are forgotten.
    private static let indexesMax = 4096

    /// Found at first use.
    var subvolume: Subvolume?
    /// nil: not looked up yet.
    var nextInode: UInt64?
    /// Inodes without a name that a crash left and nobody has removed yet; nil: not looked for.
    var leftOrphans: [UInt64]?
    private var nextIndexes: [UInt64: UInt64] = [:]
    private var inodes: [UInt64: OpenInode] = [:]

    package init() {}

    // MARK: open inodes

    func open(_ number: UInt64) -> OpenInode {
        let inode = inodes[number] ?? OpenInode(number)
        inodes[number] = inode
        inode.openCount += 1
        return inode
    }

    /// - Returns: whether this was the last of an inode without a name.
    func close(_ inode: OpenInode) -> Bool {
        inode.openCount -= 1
        guard inode.openCount == 0 else { return false }
        inodes[inode.number] = nil
        return inode.isOrphan
    }

    /// nil: it is not open.
    func opened(_ number: UInt64) -> OpenInode? { inodes[number] }

    // MARK: indexes of directories

    func nextIndex(of directory: UInt64) -> UInt64? { nextIndexes[directory] }

    func setNextIndex(of directory: UInt64, _ index: UInt64) {
        if nextIndexes.count >= OpenFiles.indexesMax { nextIndexes.removeAll() }
        nextIndexes[directory] = index
    }

    func forgetDirectory(_ directory: UInt64) { nextIndexes[directory] = nil }
}
