//===-- File+Streaming.swift - long writes whose bytes come piece by piece -----------------------===//
// For copying into a file: space is claimed in extents as long as they may be, filled in pieces of a size
// that stays in the processor's caches, and each extent is recorded once it is whole. No lock is held
// while the caller makes the bytes or the devices take them, so several threads may write ranges of
// one file at once.
//===-------------------------------------------------------------------------------------------===//

internal import BGAllocation
public import BGDiskFormat
internal import BGTrees

extension File {
    /// Writes `length` bytes from `offset` on, in place of what the file has there; it grows where they
    /// pass its end.
    ///
    /// Each extent, of up to 128 MiB, is one change. When a later one fails, those before it stay. Others
    /// may write to the file meanwhile; what they put where this writes is replaced.
    ///
    /// - Parameters:
    ///   - offset: a multiple of the sector size.
    ///   - length: a multiple of it too, unless nothing of the file lies behind the end.
    ///   - fill: makes the bytes from an offset of the file on. Called in order, on this thread, with
    ///     no lock held; what it throws ends the write and is passed on.
    /// - Throws: as `write(at:from:)`; `.invalidArgument` for what is not aligned, also where the file has
    ///   grown over an end that is not, while the bytes were made.
    public func write(
        at offset: UInt64,
        length: UInt64,
        fill: (UInt64, UnsafeMutableRawBufferPointer) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        guard offset % filesystem.sectorSize == 0 else {
            throw FilesystemError(.invalidArgument, "file", "offset % is not aligned", offset)
        }
        try File.checkFits(offset, length)
        guard length > 0 else { return }
        let item = try locked { () throws(FilesystemError) in
            try prepareStreaming(at: offset, length)
        }
        let sector = filesystem.sectorSize
        let end = offset + length
        var next = offset
        // Ends: a claim has at least one sector.
        while next < end {
            let wanted = (end - next + sector - 1) / sector * sector
            let claim = try filesystem.claimFileData(
                length: min(wanted, FileChange.extentBytesMax)
            )
            do throws(FilesystemError) {
                let sums = try unsafe stream(into: claim, from: next, to: end, fill)
                let written = WrittenExtent(
                    extent: claim,
                    start: next,
                    checksums: item.hasDataChecksums ? sums : []
                )
                let writtenEnd = min(end, written.end)
                try locked { () throws(FilesystemError) in
                    // Once more: others may have changed the file meanwhile.
                    _ = try prepareStreaming(at: next, writtenEnd - next)
                    try record([written], endOfFile: writtenEnd)
                }
            } catch {
                filesystem.giveBackFileData(claim)
                throw error
            }
            next += claim.length
        }
    }

    /// Refuses, and puts in order what the file has so far. The mutex is held.
    private func prepareStreaming(
        at offset: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) -> InodeItem {
        let (item, inline) = try beginChange(at: offset)
        guard (offset + length) % filesystem.sectorSize == 0 || offset + length >= item.size else {
            throw FilesystemError(.invalidArgument, "file", "% bytes are not aligned", length)
        }
        if let inline { try moveOut(inline, item) }
        try zeroBehindEnd(item, writing: offset)
        return item
    }

    /// Fills claimed space with the file's bytes from `start` on; what lies behind `end` is zero.
    ///
    /// - Returns: the checksums of all sectors.
    private func stream(
        into claim: Extent,
        from start: UInt64,
        to end: UInt64,
        _ fill: (UInt64, UnsafeMutableRawBufferPointer) throws(FilesystemError) -> Void
    ) throws(FilesystemError) -> [UInt8] {
        let pieceBytes: UInt64 = 1 << 20
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(min(pieceBytes, claim.length)),
            alignment: 4096
        )
        defer { unsafe buffer.deallocate() }
        var sums: [UInt8] = []
        var done: UInt64 = 0
        while done < claim.length {
            let count = Int(min(pieceBytes, claim.length - done))
            let filled = min(count, Int(end - (start + done)))
            try unsafe fill(
                start + done,
                UnsafeMutableRawBufferPointer(rebasing: buffer[..<filled])
            )
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<count])
                .initializeMemory(as: UInt8.self, repeating: 0)
            let piece = unsafe UnsafeRawBufferPointer(rebasing: buffer[..<count])
            sums += try filesystem.writeData(
                logical: claim.logical + done,
                unsafe RawSpan(_unsafeBytes: piece)
            )
            done += UInt64(count)
        }
        return sums
    }

    // MARK: holes

    /// The first range at or behind `offset` that is not a hole, cut at the file's end; nil: there is
    /// none. What was set aside but never written counts as a hole.
    public func nextData(atOrAbove offset: UInt64) throws(FilesystemError) -> Range<UInt64>? {
        try locked { () throws(FilesystemError) in
            let size = try inodeItem().size
            var from = offset
            // Ends: each look gets further by at least one extent.
            while from < size {
                let parts = try filesystem.readFiles { (files) throws(FilesystemError) in
                    try files.extents(
                        of: inode.number,
                        from: from,
                        to: size,
                        limit: File.extentsPerLook
                    )
                }
                var found: Range<UInt64>?
                for part in parts where !part.item.isHole && part.item.kind != .preallocated {
                    let start = max(part.start, offset)
                    let end = min(part.end, size)
                    guard start < end else { continue }
                    guard let before = found else {
                        found = start..<end
                        continue
                    }
                    guard before.upperBound == start else { return before }
                    found = before.lowerBound..<end
                }
                if found != nil { return found }
                guard let last = parts.last, parts.count == File.extentsPerLook else { return nil }
                from = last.end
            }
            return nil
        }
    }
}
