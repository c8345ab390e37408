//===-- ChecksumTree.swift - checksums of data sectors -------------------------------------------===//
// An EXTENT_CSUM item holds the checksums of neighbouring sectors, from the address in its key on.
//
// Invariants:
//   1. Items do not overlap; none is empty.
//   2. An item takes at most half a leaf, so that it can grow and be cut without a search for room.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// One item of the checksum tree.
private struct ChecksumRun {
    let logical: UInt64
    var sums: [UInt8]

    var key: Key { ChecksumRun.key(logical) }

    static func key(_ logical: UInt64) -> Key {
        Key(ObjectID.extentChecksum, .extentChecksum, logical)
    }
}

extension TreeState {
    private var sumBytes: Int { superBlock.checksumType.byteCount }

    /// Most bytes of an item.
    private var checksumItemBytesMax: Int {
        let half =
            (geometry.nodeSize - TreeBlock.Layout.headerSize) / 2 - TreeBlock.Layout.itemSize
        return half / sumBytes * sumBytes
    }

    /// First address behind `count` bytes of sums.
    private func end(of logical: UInt64, sumBytes count: Int) -> UInt64 {
        logical + UInt64(count / sumBytes) * sectorBytes
    }

    // MARK: setting

    func setChecksums(_ logical: UInt64, _ sums: [UInt8]) throws(FilesystemError) {
        precondition(sums.count % sumBytes == 0 && logical.isAligned(to: superBlock.sectorSize))
        guard !sums.isEmpty else { return }
        let end = end(of: logical, sumBytes: sums.count)
        try removeChecksums(logical, end - logical)
        let tree = trees.checksum.tree
        let most = checksumItemBytesMax
        var done = 0
        if var left = try checksumRun(endingAt: logical), left.sums.count < most {
            done = min(most - left.sums.count, sums.count)
            left.sums += sums[..<done]
            try tree.replace(left.key, left.sums)
        }
        // Ends: every round takes at least one sum.
        while done < sums.count {
            let count = min(most, sums.count - done)
            var run = ChecksumRun(
                logical: self.end(of: logical, sumBytes: done),
                sums: Array(sums[done..<done + count])
            )
            done += count
            if done == sums.count { try takeRight(&run, at: end) }
            try tree.insert(run.key, run.sums)
        }
    }

    /// Joins the item that starts at `end`, where both fit into one.
    private func takeRight(_ run: inout ChecksumRun, at end: UInt64) throws(FilesystemError) {
        let tree = trees.checksum.tree
        guard let right = try tree.item(ChecksumRun.key(end)),
            run.sums.count + right.count <= checksumItemBytesMax
        else { return }
        try tree.remove(ChecksumRun.key(end))
        run.sums += right
    }

    private func checksumRun(endingAt logical: UInt64) throws(FilesystemError) -> ChecksumRun? {
        guard logical > 0, let run = try checksumRun(atOrBelow: logical - 1),
            end(of: run.logical, sumBytes: run.sums.count) == logical
        else { return nil }
        return run
    }

    /// The last item that starts at an address or below.
    private func checksumRun(atOrBelow logical: UInt64) throws(FilesystemError) -> ChecksumRun? {
        guard let item = try trees.checksum.tree.last(atOrBelow: ChecksumRun.key(logical)),
            item.key.objectid == ObjectID.extentChecksum, item.key.type == .extentChecksum
        else { return nil }
        try check(item.key, byteCount: item.data.count)
        return ChecksumRun(logical: item.key.offset, sums: item.data)
    }

    private func check(_ key: Key, byteCount: Int) throws(FilesystemError) {
        guard byteCount > 0, byteCount % sumBytes == 0,
            key.offset.isAligned(to: superBlock.sectorSize),
            key.offset.end(adding: UInt64(byteCount / sumBytes) * sectorBytes) != nil
        else {
            throw FilesystemError(
                .corrupt,
                "checksums",
                "item of % bytes",
                UInt64(byteCount),
                root: ObjectID.checksumTree,
                logical: key.offset
            )
        }
    }

    // MARK: removing

    /// Removes the checksums of the sectors in a range, cutting items at its ends.
    func removeChecksums(_ logical: UInt64, _ length: UInt64) throws(FilesystemError) {
        let tree = trees.checksum.tree
        var high = logical + length
        // Ends: every round goes to an item further down.
        while high > logical, let run = try checksumRun(atOrBelow: high - 1) {
            let runEnd = end(of: run.logical, sumBytes: run.sums.count)
            guard runEnd > logical else { return }
            let keptBelow = sumCount(from: run.logical, to: logical)
            let keptAbove = sumCount(from: logical + length, to: runEnd)
            if keptBelow > 0 {
                try tree.replace(run.key, Array(run.sums[..<keptBelow]))
            } else {
                try tree.remove(run.key)
            }
            if keptAbove > 0 {
                try tree.insert(
                    ChecksumRun.key(logical + length),
                    Array(run.sums[(run.sums.count - keptAbove)...])
                )
            }
            high = run.logical
        }
    }

    /// Bytes of the sums of a range; 0 where it is empty or turned around.
    private func sumCount(from low: UInt64, to high: UInt64) -> Int {
        high > low ? Int((high - low) / sectorBytes) * sumBytes : 0
    }

    // MARK: reading

    func forEachChecksum(
        _ logical: UInt64,
        _ length: UInt64,
        _ body: (_ logical: UInt64, _ sums: RawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        let end = logical + length
        let first = try trees.checksum.tree.last(atOrBelow: ChecksumRun.key(logical))
        let low = first.map { $0.key.objectid == ObjectID.extentChecksum ? $0.key.offset : logical }
        try trees.checksum.tree.forEach(
            from: ChecksumRun.key(low ?? logical),
            through: ChecksumRun.key(end - 1)
        ) { key, data throws(FilesystemError) in
            guard key.type == .extentChecksum else { return true }
            try check(key, byteCount: data.byteCount)
            let runEnd = self.end(of: key.offset, sumBytes: data.byteCount)
            guard runEnd > logical else { return true }
            let start = sumCount(from: key.offset, to: logical)
            let stop = data.byteCount - sumCount(from: end, to: runEnd)
            try body(max(key.offset, logical), data.extracting(start..<stop))
            return true
        }
    }
}
