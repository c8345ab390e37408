//===-- File.swift - an open file: reading ------------------------------------------------------===//
// Reads go from the tree's list of extents to the data, with the checksums verified underneath.
//
// Invariant: while an inode's mutex is held, nobody drops its extents (its last close removes an
// unlinked one), so what the list says stays readable though the tree mutex is given up.
//
// Locks: the inode's mutex is held around each call, so calls on one inode wait for each other; it is
// taken before the tree mutex, which the parts of a call take and give up.
//===-------------------------------------------------------------------------------------------===//

internal import BGDevices
public import BGDiskFormat

/// An open regular file of the default subvolume.
///
/// Any number may be open for one inode, and any thread may use them. A file that is removed while it
/// is open keeps its data until the last of them is closed.
public final class File: @unchecked Sendable {
    /// Extents that one look at the tree takes out of it at most.
    static let extentsPerLook = 512

    public let filesystem: Filesystem
    let inode: OpenInode
    /// Guarded by the inode's mutex.
    private var isClosed = false

    /// - Parameter inode: counted as opened once more.
    init(_ filesystem: Filesystem, _ inode: OpenInode) {
        self.filesystem = filesystem
        self.inode = inode
    }

    deinit {
        // Whoever lets go of a file without closing it learns nothing of an error.
        if !isClosed { do throws(FilesystemError) { try end() } catch {} }
    }

    /// Number of the inode in its subvolume.
    public var inodeNumber: UInt64 { inode.number }

    /// Closes the file; calls on it fail from then on. Closing again does nothing. Data is durable with
    /// the next `Filesystem.commit()`, whether or not it is closed before.
    ///
    /// - Throws: what removing the inode throws, where this was the last close of one without a name.
    public func close() throws(FilesystemError) {
        let wasClosed = inode.mutex.withLock { () -> Bool in
            defer { isClosed = true }
            return isClosed
        }
        if !wasClosed { try end() }
    }

    private func end() throws(FilesystemError) {
        let wasLastOfOrphan = try filesystem.readTrees { (_) throws(FilesystemError) in
            filesystem.openFiles.close(inode)
        }
        if wasLastOfOrphan { try filesystem.removeOrphan(inode.number) }
    }

    /// Calls `body` with the inode's mutex held.
    func locked<Result>(
        _ body: () throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        try inode.mutex.withLock { () throws(FilesystemError) in
            guard !isClosed else {
                throw FilesystemError(.system(Errno.badFile), "file", "is closed")
            }
            return try body()
        }
    }

    // MARK: reading

    /// What is known of the file now.
    public var metadata: FileMetadata {
        get throws(FilesystemError) {
            try locked { () throws(FilesystemError) in
                FileMetadata(inode.number, try inodeItem())
            }
        }
    }

    /// Fills `buffer` from byte `offset` of the file on. Holes, and space set aside but never written,
    /// read as zeroes.
    ///
    /// - Returns: bytes read: fewer than asked for only where the file ends, 0 at its end and beyond.
    /// - Throws: `.io` where no copy can be read, none has the right checksum, or none is recorded, as the
    ///   kernel; `.unsupported` for compressed data; `.corrupt`.
    public func read(
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) -> Int {
        try locked { () throws(FilesystemError) in
            let item = try inodeItem()
            guard offset < item.size else { return 0 }
            let count = Int(min(UInt64(buffer.count), item.size - offset))
            guard count > 0 else { return 0 }
            let span = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
            try unsafe readContents(item, at: offset, into: span)
            return count
        }
    }

    func inodeItem() throws(FilesystemError) -> InodeItem {
        try filesystem.readFiles { (files) throws(FilesystemError) in
            try files.inode(inode.number)
        }
    }

    /// Fills the whole buffer; what lies behind the end of the extents is zero. The mutex is held.
    func readContents(
        _ inodeItem: InodeItem,
        at offset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        let end = offset + UInt64(buffer.count)
        var next = offset
        // Ends: each look gets further by at least one extent.
        while next < end {
            let extents = try filesystem.readFiles { (files) throws(FilesystemError) in
                try files.extents(
                    of: inode.number,
                    from: next,
                    to: end,
                    limit: File.extentsPerLook
                )
            }
            for extent in extents {
                let start = max(extent.start, next)
                try unsafe zero(buffer, offset, next..<start)
                let partEnd = min(extent.end, end)
                try unsafe read(inodeItem, extent, start..<partEnd, buffer, offset)
                next = partEnd
            }
            if extents.count < File.extentsPerLook {
                try unsafe zero(buffer, offset, next..<end)
                return
            }
        }
    }

    /// The part of a buffer, which begins at `offset` of the file, for a range of the file.
    private func part(
        _ buffer: UnsafeMutableRawBufferPointer,
        _ offset: UInt64,
        _ range: Range<UInt64>
    ) -> UnsafeMutableRawBufferPointer {
        let low = Int(range.lowerBound - offset)
        return unsafe UnsafeMutableRawBufferPointer(
            rebasing: buffer[low..<low + Int(range.upperBound - range.lowerBound)]
        )
    }

    private func zero(
        _ buffer: UnsafeMutableRawBufferPointer,
        _ offset: UInt64,
        _ range: Range<UInt64>
    ) throws(FilesystemError) {
        guard !range.isEmpty else { return }
        unsafe part(buffer, offset, range).initializeMemory(as: UInt8.self, repeating: 0)
    }

    private func read(
        _ inodeItem: InodeItem,
        _ extent: FileExtent,
        _ range: Range<UInt64>,
        _ buffer: UnsafeMutableRawBufferPointer,
        _ offset: UInt64
    ) throws(FilesystemError) {
        let item = extent.item
        if item.isHole || item.kind == .preallocated {
            return try unsafe zero(buffer, offset, range)
        }
        try item.checkNotCompressed()
        let target = unsafe part(buffer, offset, range)
        if item.kind == .inline {
            let data = try filesystem.readFiles { (files) throws(FilesystemError) in
                try files.inlineData(of: inode.number, size: extent.end)
            }
            guard let data, data.count >= range.upperBound else {
                throw FilesystemError(.corrupt, "file extent", "inline data is gone")
            }
            unsafe target.copyBytes(
                from: data[Int(range.lowerBound)..<Int(range.upperBound)]
            )
            return
        }
        let logical = item.logical + item.offset + (range.lowerBound - extent.start)
        try unsafe filesystem.read(
            logical: logical,
            into: target,
            requiresChecksums: inodeItem.hasDataChecksums
        )
    }
}
