//===-- FileChange+Extents.swift - changing which bytes of a file lie where ---------------------===//
// Extents are shared: by parts of one file, by reflinked files, by snapshots. So a part that is
// replaced only loses its own reference; a part cut in two gains one.
//
// What these return is what the inode's count of bytes changes by; the caller writes the inode once.
//
// Locks: the tree mutex is held, and the inode's own where it is open.
//===-------------------------------------------------------------------------------------------===//

internal import BGAllocation
internal import BGDiskFormat
internal import BGTrees

/// Data that was written to claimed space and is to become a part of a file.
struct WrittenExtent {
    var extent: Extent
    /// Where in the file it begins.
    var start: UInt64
    /// Of every sector; empty for an inode without.
    var checksums: [UInt8]
    var end: UInt64 { start + extent.length }
}

/// Parts at the end of a file, to be dropped in one change.
struct LastParts {
    /// Where they begin; the largest offset where there is none.
    var low: UInt64
    /// There are none before them that are to go.
    var isAll: Bool
}

extension FileChange {
    /// Extents longer than this are recorded as several, as the kernel does.
    static let extentBytesMax: UInt64 = 128 << 20
    /// Parts of files that one change drops at most when it empties a large file.
    static let partsPerChange = 2048

    /// What `dropExtents` would drop in `start..<end`.
    func parts(
        of inode: UInt64,
        from start: UInt64,
        to end: UInt64
    ) throws(FilesystemError) -> DroppedParts {
        var dropped = DroppedParts()
        for part in try files.extents(of: inode, from: start, to: end) {
            dropped.add(dataBytes: part.item.kind == .inline ? 0 : part.item.diskBytes)
        }
        return dropped
    }

    /// Ends what the file has in `start..<end` (whole sectors; `end` may lie beyond everything).
    ///
    /// - Returns: bytes that the inode counts fewer.
    func dropExtents(
        of inode: UInt64,
        from start: UInt64,
        to end: UInt64
    ) throws(FilesystemError) -> UInt64 {
        var dropped: UInt64 = 0
        var whole: (first: UInt64, last: UInt64)?
        let touched = try files.extents(of: inode, from: start, to: end)
        for part in touched {
            if part.item.kind == .inline || (part.start >= start && part.end <= end) {
                whole = (whole?.first ?? part.start, part.start)
                dropped += part.item.countedBytes
            } else {
                dropped += try cut(part, of: inode, from: start, to: end)
            }
        }
        if let whole {
            try tree.removeAll(
                from: Key(inode, .extentData, whole.first),
                through: Key(inode, .extentData, whole.last)
            )
        }
        // After the items are gone, so that what a leaf shares with a snapshot is settled.
        for part in touched where part.start >= start && part.end <= end {
            if let reference = reference(of: part, in: inode) {
                try transaction.dropReference(reference)
            }
        }
        return dropped
    }

    /// Cuts `start..<end` out of a part that reaches beyond it on one side or both.
    private func cut(
        _ part: FileExtent,
        of inode: UInt64,
        from start: UInt64,
        to end: UInt64
    ) throws(FilesystemError) -> UInt64 {
        let hasHead = part.start < start
        let hasTail = part.end > end
        if hasHead {
            var head = part.item
            head.length = start - part.start
            try tree.replace(Key(inode, .extentData, part.start), head.encoded)
        } else {
            try tree.remove(Key(inode, .extentData, part.start))
        }
        if hasTail {
            var tail = part.item
            // A hole lies nowhere, so it has no place to count from.
            if !tail.isHole { tail.offset += end - part.start }
            tail.length = part.end - end
            try tree.insert(Key(inode, .extentData, end), tail.encoded)
        }
        if hasHead && hasTail, let reference = reference(of: part, in: inode) {
            try transaction.addReference(reference)
        }
        return part.item.isHole ? 0 : min(end, part.end) - max(start, part.start)
    }

    /// The reference by which a part holds its extent; nil: it holds none.
    private func reference(of part: FileExtent, in inode: UInt64) -> DataReference? {
        guard part.item.kind != .inline, !part.item.isHole else { return nil }
        return DataReference(
            logical: part.item.logical,
            length: part.item.diskBytes,
            root: tree.treeID,
            inode: inode,
            // Reflinked parts may begin before their extent: the format lets it wrap around.
            offset: part.start &- part.item.offset
        )
    }

    /// - Throws: `.busy` where a tree records some of the range.
    func checkNotRecorded(_ extent: Extent) throws(FilesystemError) {
        guard try transaction.isRecorded(logical: extent.logical, length: extent.length) else {
            return
        }
        throw .recorded(extent)
    }

    /// Makes written data a part of a file, where nothing is any more. Takes its claim over.
    ///
    /// - Returns: bytes that the inode counts more.
    func insertExtent(
        _ written: WrittenExtent,
        of inode: UInt64
    ) throws(FilesystemError) -> UInt64 {
        let item = FileExtentItem(
            generation: generation,
            logical: written.extent.logical,
            diskBytes: written.extent.length,
            length: written.extent.length
        )
        try transaction.recordExtent(
            DataReference(
                logical: written.extent.logical,
                length: written.extent.length,
                root: tree.treeID,
                inode: inode,
                offset: written.start
            )
        )
        try tree.insert(Key(inode, .extentData, written.start), item.encoded)
        if !written.checksums.isEmpty {
            try transaction.setChecksums(
                logical: written.extent.logical,
                written.checksums
            )
        }
        return written.extent.length
    }

    /// Fills what has no item in `start..<end` with holes, for file systems that need items for them.
    func insertHoles(
        of inode: UInt64,
        from start: UInt64,
        to end: UInt64
    ) throws(FilesystemError) {
        guard !limits.incompat.contains(.noHoles), start < end else { return }
        var gap = start
        for part in try files.extents(of: inode, from: start, to: end) {
            if part.start > gap { try insertHole(of: inode, from: gap, to: part.start) }
            gap = max(gap, part.end)
        }
        if gap < end { try insertHole(of: inode, from: gap, to: end) }
    }

    private func insertHole(
        of inode: UInt64,
        from start: UInt64,
        to end: UInt64
    ) throws(FilesystemError) {
        let hole = FileExtentItem(
            generation: generation,
            logical: 0,
            diskBytes: 0,
            length: end - start
        )
        try tree.insert(Key(inode, .extentData, start), hole.encoded)
    }

    // MARK: inline data

    /// Most bytes that a file may keep in its item: as the kernel's own default.
    var inlineBytesMax: Int {
        min(2048, Int(limits.sectorSize) - 1, tree.itemBytesMax - FileExtentItem.headerBytes)
    }

    /// Gives a file these bytes as its only data. - Precondition: it has none but inline.
    func setInlineData(
        of inode: UInt64,
        _ data: RawSpan
    ) throws(FilesystemError) {
        let key = Key(inode, .extentData, 0)
        let exists = try tree.withItem(key) { (_) throws(FilesystemError) in true } ?? false
        let item = FileExtentItem.inline(generation: generation, data)
        switch (exists, data.byteCount == 0) {
        case (true, true): try tree.remove(key)
        case (true, false): try tree.replace(key, item)
        case (false, true): break
        case (false, false): try tree.insert(key, item)
        }
    }

    // MARK: ends of inodes

    /// The last parts of a file that begin at or above `start`: at most `partsPerChange`, and fewer where
    /// little metadata is left to commit that with. Changes nothing, and finds what cannot be read.
    func lastParts(
        of inode: UInt64,
        from start: UInt64
    ) throws(FilesystemError) -> LastParts {
        let reserve = transaction.reserve
        let freeBytes = filesystem.source.freeMetadataBytes(in: filesystem.allocator)
        var parts = DroppedParts()
        var low = UInt64.max
        while low > start {
            guard
                let last = try tree.last(atOrBelow: Key(inode, .extentData, low - 1)),
                last.key.objectid == inode, last.key.type == .extentData
            else { break }
            let item = try FileExtentItem(key: last.key, unsafe last.data.span.bytes, limits)
            parts.add(dataBytes: item.kind == .inline ? 0 : item.diskBytes)
            // The first one goes in any case: else nothing would ever.
            guard
                parts.count == 1
                    || parts.count <= FileChange.partsPerChange
                        && filesystem.fits(reserve, parts, freeBytes: freeBytes)
            else { return LastParts(low: low, isAll: false) }
            // One that begins before `start` may reach beyond it.
            low = max(last.key.offset, start)
            if last.key.offset <= start { break }
        }
        return LastParts(low: low, isAll: true)
    }

    /// Drops them.
    ///
    /// - Returns: bytes that the inode counts fewer.
    func drop(_ last: LastParts, of inode: UInt64) throws(FilesystemError) -> UInt64 {
        last.low < .max ? try dropExtents(of: inode, from: last.low, to: .max) : 0
    }

    /// Removes every item of an inode that has no extents any more.
    func removeInode(_ number: UInt64) throws(FilesystemError) {
        try tree.removeAll(
            from: Key(number, KeyType(rawValue: 0), 0),
            through: Key(number, KeyType(rawValue: 255), .max)
        )
        state.forgetDirectory(number)
    }

    /// Marks an inode without a name, so that the kernel removes it after a crash; or ends that.
    func insertOrphan(_ number: UInt64) throws(FilesystemError) {
        try tree.insert(Key(ObjectID.orphans, .orphanItem, number), [])
    }
    func removeOrphan(_ number: UInt64) throws(FilesystemError) {
        try tree.remove(Key(ObjectID.orphans, .orphanItem, number))
    }
}
