//===-- File+Truncating.swift - other sizes, and data that was placed by the caller --------------===//

public import BGAllocation
public import BGDiskFormat

extension File {
    /// Gives the file another size: what lies behind it is dropped, what is new reads as zeroes.
    ///
    /// Shortening succeeds on a full file system, too. Shortening by many thousand extents is several
    /// changes, each of which leaves the file a little shorter.
    ///
    /// - Throws: EFBIG, EPERM, `.readOnly`, `.io`; `.noSpace` for lengthening, and for shortening only where
    ///   somebody else left less than any commit needs.
    public func truncate(to size: UInt64) throws(FilesystemError) {
        guard size <= File.sizeMax else {
            throw FilesystemError(.system(Errno.fileTooBig), "file", "size %", size)
        }
        try locked { () throws(FilesystemError) in
            let (item, inline) = try beginChange(at: size)
            if let inline, size <= UInt64(inline.count) {
                try shortenInline(inline, to: Int(size))
            } else if size < item.size {
                try shorten(to: size)
            } else {
                if let inline, size > item.size { try moveOut(inline, item) }
                if size > item.size { try zeroBehindEnd(item, writing: .max) }
                try lengthen(to: size)
            }
        }
    }

    private func shortenInline(_ data: [UInt8], to size: Int) throws(FilesystemError) {
        try filesystem.changeFiles(.freeing) { (_) throws(FilesystemError) in
        } apply: { (change, _: Void) throws(FilesystemError) in
            try change.setInlineData(
                of: inode.number,
                unsafe data.span.bytes.extracting(0..<size)
            )
            try change.updateInode(inode.number) {
                $0.size = UInt64(size)
                $0.byteCount = UInt64(size)
                $0.modificationTime = change.time
            }
        }
    }

    private func lengthen(to size: UInt64) throws(FilesystemError) {
        let sector = filesystem.sectorSize
        try filesystem.changeFiles { (change) throws(FilesystemError) in
            try change.files.inode(inode.number).size
        } apply: { (change, oldSize) throws(FilesystemError) in
            try change.insertHoles(
                of: inode.number,
                from: (oldSize + sector - 1) / sector * sector,
                to: (size + sector - 1) / sector * sector
            )
            try change.updateInode(inode.number) {
                $0.size = size
                $0.modificationTime = change.time
            }
        }
    }

    private func shorten(to size: UInt64) throws(FilesystemError) {
        let sector = filesystem.sectorSize
        let end = (size + sector - 1) / sector * sector
        var isDone = false
        while !isDone {
            isDone = try filesystem.changeFiles(.freeing) { (change) throws(FilesystemError) in
                try change.lastParts(of: inode.number, from: end)
            } apply: { (change, last) throws(FilesystemError) in
                let dropped = try change.drop(last, of: inode.number)
                try change.updateInode(inode.number) {
                    $0.size = last.isAll ? size : min($0.size, last.low)
                    $0.byteCount -= min($0.byteCount, dropped)
                    $0.modificationTime = change.time
                }
                return last.isAll
            }
        }
        guard end > size else { return }
        do throws(FilesystemError) {
            let shortened = try filesystem.readFiles { (files) throws(FilesystemError) in
                try files.inode(inode.number)
            }
            try rewriteLastSector(shortened, end: size)
        } catch {
            // Without space for it, and where it cannot be read, the rest of the sector stays: it is
            // not part of the file, and is made zero before the file grows over it.
            if let failure = filesystem.failure { throw failure }
        }
    }

    // MARK: extents that the caller placed

    /// Makes claimed space, whose data `Filesystem.write(logical:_:)` wrote, the file's bytes from
    /// `offset` on, in place of what it had there. The file grows to hold all of it.
    ///
    /// The claim is over in any case: on failure it was given back.
    ///
    /// - Parameters:
    ///   - claim: of the file system's own allocator, of data.
    ///   - offset: bytes, a multiple of the sector size.
    /// - Throws: `.invalidArgument` for an unaligned offset or what is no claim of data; EFBIG; EPERM;
    ///   `.noSpace`; `.readOnly`; `.io` where what was written cannot be read for its checksums.
    public func attach(
        _ claim: consuming ClaimedExtent,
        at offset: UInt64
    ) throws(FilesystemError) {
        let extent = claim.commit()
        do throws(FilesystemError) {
            try attach(extent, at: offset)
        } catch {
            filesystem.giveBackFileData(extent)
            throw error
        }
    }

    /// The same for a plain range, which stays the caller's on failure.
    package func attach(_ extent: Extent, at offset: UInt64) throws(FilesystemError) {
        let sector = filesystem.sectorSize
        guard offset % sector == 0, extent.length > 0, extent.length % sector == 0 else {
            throw FilesystemError(.invalidArgument, "file", "offset % is not aligned", offset)
        }
        try File.checkFits(offset, extent.length)
        try filesystem.checkClaim(extent)
        try locked { () throws(FilesystemError) in
            let (item, inline) = try beginChange(at: offset)
            let sums = item.hasDataChecksums ? try filesystem.checksums(ofClaimed: extent) : []
            if let inline, offset > 0 { try moveOut(inline, item) }
            try zeroBehindEnd(item, writing: offset)
            var written: [WrittenExtent] = []
            var done: UInt64 = 0
            let sumBytes = sums.count / Int(extent.length / sector)
            while done < extent.length {
                let length = min(extent.length - done, FileChange.extentBytesMax)
                let first = Int(done / sector) * sumBytes
                let last = first + Int(length / sector) * sumBytes
                written.append(
                    WrittenExtent(
                        extent: Extent(logical: extent.logical + done, length: length),
                        start: offset + done,
                        checksums: [UInt8](sums[first..<last])
                    )
                )
                done += length
            }
            try record(written, endOfFile: offset + extent.length, areCallers: true)
        }
    }
}
