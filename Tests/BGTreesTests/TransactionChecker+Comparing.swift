// Compares what a file system says in one place with what it says in another.

import BGDiskFormat
import Testing

@testable import BGTrees

extension FileSystemFacts {
    /// Compares everything with everything.
    func check() {
        checkReferences()
        checkSpace()
        #expect(superBlock.bytesUsed == groups.reduce(0) { $0 + $1.used })
        #expect(superBlock.logRoot == 0)
        let system = chunks.filter { $0.flags.contains(.system) }
        #expect(superBlock.systemChunks == system)
        #expect(device.bytesUsed == chunks.reduce(0) { $0 + $1.length })
        #expect(deviceExtents.map { $0.chunkLogical }.sorted() == chunks.map { $0.logical })
        #expect(groups.map { $0.logical } == chunks.map { $0.logical })
        #expect(groups.map { $0.flags } == chunks.map { $0.flags })
        for (key, item) in roots {
            let blocks = expected.values.filter {
                $0.level != nil && $0.references[.treeBlock(root: key.objectid)] != nil
            }
            if !TreeState.isSubvolume(key.objectid) {
                let bytes = UInt64(blocks.count) * UInt64(superBlock.nodeSize)
                #expect(item.bytesUsed == bytes, "bytes of tree \(key.objectid)")
            }
        }
        for logical in checksums.keys {
            let extent = extents.values.contains {
                $0.level == nil && $0.logical <= logical && logical < $0.logical + $0.length
            }
            #expect(extent, "a checksum of free space at \(logical)")
        }
    }

    private func checkReferences() {
        for (logical, extent) in extents where expected[logical] == nil {
            Issue.record("nobody refers to \(extent)")
        }
        for (logical, extent) in expected {
            #expect(extents[logical] == extent)
        }
    }

    private func checkSpace() {
        let sorted = extents.values.sorted { $0.logical < $1.logical }
        var free: [FreeRun] = []
        var index = 0
        for group in groups {
            var used: UInt64 = 0
            var at = group.logical
            while index < sorted.count, sorted[index].logical < group.end {
                let extent = sorted[index]
                #expect(extent.logical >= at, "extents overlap at \(extent.logical)")
                if extent.logical > at {
                    free.append(FreeRun(logical: at, length: extent.logical - at))
                }
                at = extent.logical + extent.length
                used += extent.length
                index += 1
            }
            #expect(at <= group.end)
            if at < group.end { free.append(FreeRun(logical: at, length: group.end - at)) }
            #expect(used == group.used, "bytes used of the group at \(group.logical)")
        }
        #expect(index == sorted.count, "extents outside of groups")
        guard superBlock.hasValidFreeSpaceTree else { return }
        #expect(freeRuns == free)
        #expect(infos.map { $0.logical } == groups.map { $0.logical })
        for info in infos {
            let end = info.logical + info.length
            let runs = free.filter { $0.logical >= info.logical && $0.logical < end }
            #expect(Int(info.extentCount) == runs.count, "runs of the group at \(info.logical)")
        }
    }
}
