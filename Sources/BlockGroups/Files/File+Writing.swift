//===-- File+Writing.swift - writing bytes into a file ------------------------------------------===//
// Nothing is overwritten in place. The sectors that a write touches are claimed anew, written with their
// checksums while no lock but the inode's is held, and recorded in one change that drops what they
// replace. So a crash leaves a sector as it was or as it was written, never between.
//
// A file of at most 2048 bytes keeps its data in its item ("inline"), as the kernel does by default, as
// long as it was never larger.
//===-------------------------------------------------------------------------------------------===//

internal import BGAllocation
public import BGDiskFormat
internal import BGTrees

extension File {
    /// The largest size that a file can have.
    static let sizeMax = UInt64(Int64.max)

    /// Writes all of `buffer` at byte `offset`; the file grows where that passes its end, and what lies
    /// between the old end and `offset` is a hole.
    ///
    /// A write of up to 128 MiB is one change: it is in a commit whole or not at all, if there is a free
    /// run of that length. When a longer one fails, what was written before the failure may stay.
    ///
    /// - Throws: `.noSpace`, `.readOnly`, `.io`; EFBIG; EPERM for a file that must not change;
    ///   `.unsupported` for a part of a compressed sector.
    public func write(
        at offset: UInt64,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        try File.checkFits(offset, UInt64(buffer.count))
        guard buffer.count > 0 else { return }
        try locked { () throws(FilesystemError) in
            let (item, inline) = try beginChange(at: offset)
            let bytes = unsafe RawSpan(_unsafeBytes: buffer)
            if try writeInline(at: offset, bytes, item, inline) { return }
            let sector = filesystem.sectorSize
            if let inline, offset >= sector { try moveOut(inline, item) }
            try zeroBehindEnd(item, writing: offset)
            try writeSectors(at: offset, bytes, item)
        }
    }

    /// - Throws: EFBIG where a range ends behind what a file can have.
    static func checkFits(_ offset: UInt64, _ length: UInt64) throws(FilesystemError) {
        guard offset <= sizeMax, length <= sizeMax - offset else {
            throw FilesystemError(.system(Errno.fileTooBig), "file", "offset %", offset)
        }
    }

    /// What the file is before a change of its bytes from `offset` on, and its data where that is inline.
    /// The mutex is held.
    ///
    /// - Throws: EPERM for a file that must not change, or not there.
    func beginChange(
        at offset: UInt64
    ) throws(FilesystemError) -> (item: InodeItem, inline: [UInt8]?) {
        let found = try filesystem.readFiles {
            (files) throws(FilesystemError) -> (item: InodeItem, inline: [UInt8]?) in
            let item = try files.inode(inode.number)
            // Only a small file is worth the search.
            guard item.size <= UInt64(files.limits.sectorSize) else { return (item, nil) }
            return (item, try files.inlineData(of: inode.number, size: item.size))
        }
        try checkMayChange(found.item)
        if found.item.flags & InodeItem.flagAppend != 0, offset < found.item.size {
            throw FilesystemError(.system(Errno.notPermitted), "file", "may only grow")
        }
        return found
    }

    /// Writes into a file that stays small enough to be inline.
    ///
    /// - Returns: false when it does not.
    private func writeInline(
        at offset: UInt64,
        _ bytes: RawSpan,
        _ item: InodeItem,
        _ inline: [UInt8]?
    ) throws(FilesystemError) -> Bool {
        let end = Int(clamping: offset + UInt64(bytes.byteCount))
        // 2048: more than any file system's own limit, which the change knows.
        guard end <= 2048, item.size <= 2048, inline != nil || item.byteCount == 0 else {
            return false
        }
        var data = inline ?? []
        let size = max(Int(item.size), end)
        data.append(zeros: max(0, size - data.count))
        data.replaceSubrange(Int(offset)..<end, with: bytes.bytes(0..<bytes.byteCount))
        return try setInline(data)
    }

    /// Makes `data` all that the file has, if it may be inline and nothing else is there.
    private func setInline(_ data: [UInt8]) throws(FilesystemError) -> Bool {
        let sector = filesystem.sectorSize
        return try filesystem.changeFiles(itemBytes: UInt64(data.count)) {
            (change) throws(FilesystemError) -> Bool in
            guard data.count <= change.inlineBytesMax else { return false }
            // Space set aside behind the end, or a hole's item, keeps a file from being inline.
            let others = try change.files.extents(of: inode.number, from: 0, to: .max, limit: 2)
            return others.isEmpty || (others.count == 1 && others[0].item.kind == .inline)
                || (others.count == 1 && others[0].item.isHole && others[0].end <= sector)
        } apply: { (change, fits) throws(FilesystemError) in
            guard fits else { return false }
            _ = try change.dropExtents(of: inode.number, from: 0, to: sector)
            try change.setInlineData(of: inode.number, unsafe data.span.bytes)
            try change.updateInode(inode.number) {
                $0.size = UInt64(data.count)
                $0.byteCount = UInt64(data.count)
                $0.modificationTime = change.time
            }
            return true
        }
    }

    /// Moves inline data into a sector of its own; the file's size stays.
    func moveOut(_ inline: [UInt8], _ item: InodeItem) throws(FilesystemError) {
        var bytes = inline
        bytes.append(zeros: Int(filesystem.sectorSize) - inline.count)
        try writeAligned(at: 0, pieces: [.sectors(bytes)], endOfFile: item.size, item)
    }

    // MARK: whole sectors

    /// Bytes of whole sectors that a write is made of, one after another.
    enum Piece {
        case sectors([UInt8])
        /// Of the caller's bytes, from here to there.
        case callers(Range<Int>)
    }

    /// Writes at any offset, completing the sectors at both ends with what they hold.
    func writeSectors(
        at offset: UInt64,
        _ bytes: RawSpan,
        _ item: InodeItem
    ) throws(FilesystemError) {
        let sector = filesystem.sectorSize
        let end = offset + UInt64(bytes.byteCount)
        let start = offset / sector * sector
        let sectorsEnd = (end + sector - 1) / sector * sector
        // Copying is cheaper than writing in three parts while there is little to copy.
        let copyBytesMax: UInt64 = 128 << 10
        var pieces: [Piece] = []
        if offset == start && end == sectorsEnd {
            pieces = [.callers(0..<bytes.byteCount)]
        } else if sectorsEnd - start <= copyBytesMax {
            pieces = [.sectors(try completed(start, sectorsEnd, offset, bytes, item))]
        } else {
            let headEnd = offset == start ? start : start + sector
            let tailStart = end == sectorsEnd ? end : sectorsEnd - sector
            let head = Int(headEnd - min(offset, headEnd))
            let middle = Int(tailStart - offset)
            if headEnd > start {
                let part = bytes.extracting(0..<head)
                pieces.append(
                    .sectors(try completed(start, headEnd, offset, part, item))
                )
            }
            pieces.append(.callers((headEnd > start ? head : 0)..<middle))
            if tailStart < sectorsEnd {
                let part = bytes.extracting(middle..<bytes.byteCount)
                pieces.append(
                    .sectors(
                        try completed(tailStart, sectorsEnd, tailStart, part, item)
                    )
                )
            }
        }
        try writeAligned(
            at: start,
            pieces: pieces,
            callers: bytes,
            endOfFile: max(item.size, end),
            item
        )
    }

    /// The sectors from `start` to `end` as they will be with `bytes` at `offset`.
    private func completed(
        _ start: UInt64,
        _ end: UInt64,
        _ offset: UInt64,
        _ bytes: RawSpan,
        _ item: InodeItem
    ) throws(FilesystemError) -> [UInt8] {
        let sector = filesystem.sectorSize
        let size = item.size
        var sectors = [UInt8](repeating: 0, count: Int(end - start))
        let bytesEnd = offset + UInt64(bytes.byteCount)
        // Behind the end of the file there may be anything, and it counts as zero.
        if offset > start, start < size {
            try readOld(item, start..<min(start + sector, size, offset), into: &sectors, start)
        }
        if bytesEnd < end, bytesEnd < size {
            try readOld(item, bytesEnd..<min(end, size), into: &sectors, start)
        }
        let low = Int(offset - start)
        unsafe sectors.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { from in
                unsafe UnsafeMutableRawBufferPointer(
                    rebasing: target[low..<low + from.count]
                ).copyMemory(from: from)
            }
        }
        return sectors
    }

    private func readOld(
        _ item: InodeItem,
        _ range: Range<UInt64>,
        into sectors: inout [UInt8],
        _ start: UInt64
    ) throws(FilesystemError) {
        guard !range.isEmpty else { return }
        let low = Int(range.lowerBound - start)
        let high = Int(range.upperBound - start)
        var failure: FilesystemError?
        unsafe sectors.withUnsafeMutableBytes { all in
            do throws(FilesystemError) {
                try unsafe readContents(
                    item,
                    at: range.lowerBound,
                    into: UnsafeMutableRawBufferPointer(rebasing: all[low..<high])
                )
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// Claims space for whole sectors from `start` on, writes them, and makes them the file's.
    ///
    /// - Parameters:
    ///   - callers: what pieces of the caller's are parts of.
    ///   - endOfFile: the size that the file has once all of it is written.
    func writeAligned(
        at start: UInt64,
        pieces: [Piece],
        callers: RawSpan = RawSpan(),
        endOfFile: UInt64,
        _ item: InodeItem
    ) throws(FilesystemError) {
        var length: UInt64 = 0
        for piece in pieces { length += piece.byteCount }
        var done: UInt64 = 0
        // Ends: a claim has at least one sector.
        while done < length {
            let claim = try filesystem.claimFileData(
                length: min(length - done, FileChange.extentBytesMax)
            )
            do throws(FilesystemError) {
                var sums: [UInt8] = []
                try write(pieces, callers, from: done, claim) { sums.append(contentsOf: $0) }
                let written = WrittenExtent(
                    extent: claim,
                    start: start + done,
                    checksums: item.hasDataChecksums ? sums : []
                )
                try record([written], endOfFile: min(endOfFile, written.end))
            } catch {
                filesystem.giveBackFileData(claim)
                throw error
            }
            done += claim.length
        }
    }

    /// Writes the part of all pieces that a claim has room for, `done` bytes into them.
    private func write(
        _ pieces: [Piece],
        _ callers: RawSpan,
        from done: UInt64,
        _ claim: Extent,
        _ sums: ([UInt8]) -> Void
    ) throws(FilesystemError) {
        var pieceStart: UInt64 = 0
        for piece in pieces {
            let low = max(pieceStart, done)
            let high = min(pieceStart + piece.byteCount, done + claim.length)
            if low < high {
                let range = Int(low - pieceStart)..<Int(high - pieceStart)
                let logical = claim.logical + (low - done)
                switch piece {
                case .sectors(let bytes):
                    sums(
                        try filesystem.writeData(
                            logical: logical,
                            unsafe bytes.span.bytes.extracting(range)
                        )
                    )
                case .callers(let all):
                    let part =
                        all.lowerBound + range.lowerBound..<all.lowerBound + range.upperBound
                    sums(
                        try filesystem.writeData(logical: logical, callers.extracting(part))
                    )
                }
            }
            pieceStart += piece.byteCount
        }
    }

    /// Makes written extents the file's, in place of what it has there.
    ///
    /// - Parameter areCallers: somebody else claimed them, and may have had them recorded meanwhile.
    /// - Throws: `.busy` where that is so.
    func record(
        _ written: [WrittenExtent],
        endOfFile: UInt64,
        areCallers: Bool = false
    ) throws(FilesystemError) {
        let sector = filesystem.sectorSize
        var itemBytes: UInt64 = 0
        for one in written { itemBytes += 256 + UInt64(one.checksums.count) }
        try filesystem.changeFiles(
            itemBytes: itemBytes,
            dropping: { (change) throws(FilesystemError) in
                var dropped = DroppedParts()
                for one in written {
                    dropped += try change.parts(of: inode.number, from: one.start, to: one.end)
                }
                return dropped
            }
        ) { (change) throws(FilesystemError) in
            if areCallers {
                for one in written { try change.checkNotRecorded(one.extent) }
            }
            return try change.files.inode(inode.number).size
        } apply: { (change, size) throws(FilesystemError) in
            var added: UInt64 = 0
            var dropped: UInt64 = 0
            var oldEnd = (size + sector - 1) / sector * sector
            for one in written {
                dropped += try change.dropExtents(of: inode.number, from: one.start, to: one.end)
                added += try change.insertExtent(one, of: inode.number)
                try change.insertHoles(of: inode.number, from: oldEnd, to: one.start)
                oldEnd = max(oldEnd, one.end)
            }
            try change.updateInode(inode.number) {
                $0.size = max($0.size, endOfFile)
                $0.byteCount = $0.byteCount &+ added &- dropped
                $0.modificationTime = change.time
            }
        }
    }

    /// Makes zero what the last sector holds behind the end of the file, before the file grows over it:
    /// whoever shortened it may have left something there.
    func zeroBehindEnd(_ item: InodeItem, writing offset: UInt64) throws(FilesystemError) {
        let sector = filesystem.sectorSize
        let start = item.size / sector * sector
        // A write into this very sector completes it with zeroes anyhow.
        guard start < item.size, offset >= start + sector else { return }
        try rewriteLastSector(item, end: item.size)
    }

    /// Zeroes the sector that `end` lies in from there on, unless it is zero there.
    func rewriteLastSector(_ item: InodeItem, end: UInt64) throws(FilesystemError) {
        let sector = filesystem.sectorSize
        let start = end / sector * sector
        let extents = try filesystem.readFiles { (files) throws(FilesystemError) in
            try files.extents(of: inode.number, from: start, to: start + sector)
        }
        guard let extent = extents.first, !extent.item.isHole, extent.item.kind == .regular
        else { return }
        var bytes = [UInt8](repeating: 0, count: Int(sector))
        try readOld(item, start..<start + sector, into: &bytes, start)
        var isZero = true
        for index in Int(end - start)..<Int(sector) where bytes[index] != 0 {
            isZero = false
            bytes[index] = 0
        }
        guard !isZero else { return }
        try writeAligned(at: start, pieces: [.sectors(bytes)], endOfFile: 0, item)
    }
}

extension File.Piece {
    var byteCount: UInt64 {
        switch self {
        case .sectors(let bytes): UInt64(bytes.count)
        case .callers(let range): UInt64(range.count)
        }
    }
}
