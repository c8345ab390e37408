//===-- ChecksumCheck.swift - which data has checksums --------------------------------------------===//
// Reads the checksum tree into runs: in order, apart, and only over data that is recorded.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTrees

extension Checker {
    func checkChecksumTree() {
        guard let root = root(of: ObjectID.checksumTree) else {
            checksumsAreWhole = false
            return
        }
        var end: UInt64 = 0
        var walk = LeafWalk(self, root.tree, isAccounting: false)
        while let leaf = walk.next() {
            advance(.tables, leaf.logical, of: 0)
            for slot in 0..<leaf.itemCount {
                do throws(FilesystemError) {
                    try noteChecksums(leaf.key(slot), leaf.itemRange(slot).count, &end)
                } catch {
                    report(
                        .checksumTree,
                        error.located(root: root.id, logical: leaf.logical, slot: slot)
                    )
                }
            }
        }
        if !walk.isWhole { checksumsAreWhole = false }
        if extentsAreWhole { compareChecksumsWithExtents() }
    }

    private func noteChecksums(
        _ key: Key,
        _ byteCount: Int,
        _ end: inout UInt64
    ) throws(FilesystemError) {
        guard key.objectid == Special.checksums, key.type == .extentChecksum else {
            throw FilesystemError(
                .corrupt,
                "item",
                "type % in the checksum tree",
                UInt64(key.type.rawValue)
            )
        }
        let sumBytes = superBlock.checksumType.byteCount
        guard byteCount > 0, byteCount % sumBytes == 0 else {
            throw FilesystemError(
                .corrupt,
                "checksum tree",
                "item of % bytes, a sum has %",
                UInt64(byteCount),
                UInt64(sumBytes)
            )
        }
        let length = UInt64(byteCount / sumBytes) * sectorSize
        guard key.offset.isAligned(to: superBlock.sectorSize),
            let next = key.offset.end(adding: length)
        else {
            throw FilesystemError(
                .corrupt,
                "checksum tree",
                "address % not sector aligned",
                key.offset
            )
        }
        let start = max(key.offset, end)
        if start < next { checksums.append(start, next - start) }
        guard key.offset >= end else {
            throw FilesystemError(
                .corrupt,
                "checksum tree",
                "sums at % overlap those before, which end at %",
                key.offset,
                end
            )
        }
        end = next
    }

    private func compareChecksumsWithExtents() {
        var index = 0
        for run in checksums.runs {
            var at = run.logical
            while index < extents.extents.count, extents.extents[index].end <= at { index += 1 }
            var next = index
            while at < run.end {
                while next < extents.extents.count,
                    extents.extents[next].end <= at || extents.extents[next].isTreeBlock
                {
                    next += 1
                }
                let start =
                    next < extents.extents.count ? extents.extents[next].logical : UInt64.max
                if start > at {
                    let gapEnd = min(start, run.end)
                    report(
                        CheckFault(
                            .checksumTree,
                            "sums of % bytes that no data extent holds",
                            gapEnd - at,
                            root: ObjectID.checksumTree,
                            logical: at
                        )
                    )
                    at = gapEnd
                } else {
                    at = extents.extents[next].end
                }
            }
        }
    }
}
