// Images that the kernel made, aged and took a snapshot of, written to by us and judged, by the kernel too:
// those without a free-space tree above all, where the kernel keeps a space cache that we make stale.
// These need root and loop mounts, and are skipped where there are none.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"), .serialized)
struct AgedWritingTests {
    @Test(arguments: [["-R", "^free-space-tree"], ["--mixed", "-n", "4096"]])
    func whatWeWriteIntoAnAgedImageTheKernelAccepts(options: [String]) throws {
        var random = SeededGenerator.printed("aged writing \(options)")
        let image = try MkfsImage(sizes: [512 << 20], options)
        try image.mounted { point in
            try run("btrfs", ["subvolume", "snapshot", point, point + "/first"])
            try image.age(point, files: 600, &random)
            try run("btrfs", ["subvolume", "snapshot", point, point + "/snapshot"])
        }
        let before = try Filesystem(paths: image.paths).superBlock
        var extents: [Extent] = []
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            var file = try OrphanFile(filesystem, inode: 100_000)
            for index in 0..<60 as Range<UInt64> {
                let count = 4096 * Int.random(in: 1...100, using: &random)
                try file.append(filesystem, bytes: pattern(index, count: count))
                if index % 20 == 19 { try filesystem.commit() }
                if index % 3 == 2 { try file.removeLast(filesystem) }
            }
            extents = file.extents.map { $0.extent }
            try filesystem.close()
        }
        let after = try Filesystem(paths: image.paths)
        #expect(after.superBlock.cacheGeneration == before.cacheGeneration)
        #expect(after.superBlock.cacheGeneration != after.superBlock.generation)
        for (index, extent) in extents.enumerated() {
            // Every third was dropped again.
            let seed = UInt64(index / 2 * 3 + index % 2)
            let bytes = try after.bytes(extent.logical, Int(extent.length))
            #expect(bytes == pattern(seed, count: bytes.count))
        }
        try judge(image.paths)
        // The kernel wrote meanwhile; so do we again.
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            var file = try OrphanFile(filesystem, inode: 200_000)
            try file.append(filesystem, bytes: pattern(1, count: 1 << 20))
            try filesystem.close()
        }
        try image.expectCleanCheck()
    }
}
