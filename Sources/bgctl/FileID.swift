//===-- FileID.swift - which file of the machine's it is, by whatever path -------------------------===//
// So that no command takes an image for something to copy, or to write over.

import Glibc

/// Which inode of the machine's a file is.
struct FileID: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }

    /// Of the file that a path leads to; nil: it leads to none.
    init?(_ path: String) {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    /// Of all files that these paths lead to.
    static func ofFiles(_ paths: [String]) -> Set<FileID> {
        Set(paths.compactMap { FileID($0) })
    }
}
