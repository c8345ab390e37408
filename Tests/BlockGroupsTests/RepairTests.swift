// Copies that went bad on one device are read from another one, put right, and counted.
// Not covered here: devices that fail (FailureTests), parity (BGDevicesTests).

import BGDevices
import BGDiskFormat
import BGTrees
import Foundation
import BGTestSupport
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs and btrfs check"), .serialized)
struct RepairTests {
    private static let profiles = [
        (["-d", "dup", "-m", "dup"], 1, 2), (["-d", "raid1", "-m", "raid1"], 2, 2),
        (["-d", "raid1c3", "-m", "raid1c3"], 3, 3), (["-d", "raid10", "-m", "raid10"], 4, 2),
    ]

    /// Writes bytes over one copy of a logical range.
    private func spoil(_ image: MkfsImage, _ logical: UInt64, mirror: Int, count: Int) throws {
        let volume = try Volume.open(paths: image.paths, writable: true)
        let reader = try FilesystemReader(volume)
        try [UInt8](repeating: 0xee, count: count).withUnsafeBytesThrowing {
            bytes throws(FilesystemError) in
            try reader.volume.writeCopy(logical: logical, mirror: mirror, from: bytes)
        }
    }

    private func made(_ options: [String], _ devices: Int) throws -> (MkfsImage, Extent) {
        let image = try MkfsImage(sizes: Array(repeating: 512 << 20, count: devices), options)
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        var file = try OrphanFile(filesystem, inode: 1000)
        try file.append(filesystem, bytes: pattern(9, count: 256 << 10))
        try filesystem.close()
        return (image, file.extents[0].extent)
    }

    @Test(arguments: profiles)
    func aBadCopyOfDataIsRepairedFromAGoodOne(
        options: [String],
        devices: Int,
        copies: Int
    ) throws {
        let (image, extent) = try made(options, devices)
        let bytes = pattern(9, count: 256 << 10)
        // Every copy but the last: 10 sectors each, across a stripe's end.
        for mirror in 1..<copies {
            try spoil(image, extent.logical + 40960, mirror: mirror, count: 40960)
        }
        do {
            let reading = try Filesystem(paths: image.paths)
            #expect(try reading.bytes(extent.logical, bytes.count) == bytes)
            #expect(reading.statistics.checksumMismatches >= UInt64(10))
            #expect(reading.statistics.repairedCopies == 0)
        }
        do {
            let writing = try Filesystem(paths: image.paths, readOnly: false)
            #expect(try writing.bytes(extent.logical, bytes.count) == bytes)
            #expect(writing.statistics.repairedCopies == UInt64(10 * (copies - 1)))
            #expect(writing.statistics.correctedReads >= 10)
            try writing.close()
        }
        let again = try Filesystem(paths: image.paths)
        for mirror in 1...copies {
            var copy = [UInt8](repeating: 0, count: 40960)
            var span = copy.mutableSpan
            var raw = span.mutableBytes
            try again.reader.volume.read(
                logical: extent.logical + 40960,
                into: &raw,
                mirror: mirror
            )
            #expect(copy == Array(bytes[40960..<81920]), "mirror \(mirror)")
        }
        #expect(again.statistics.checksumMismatches == 0)
    }

    @Test func withoutAGoodCopyReadingFails() throws {
        let (image, extent) = try made(["-d", "raid1", "-m", "raid1"], 2)
        try spoil(image, extent.logical + 8192, mirror: 1, count: 4096)
        try spoil(image, extent.logical + 8192, mirror: 2, count: 4096)
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let message = expectRefusal(.io) { () throws(FilesystemError) in
            _ = try filesystem.bytes(extent.logical, 256 << 10)
        }
        #expect(message.contains("checksum"))
        // The sectors around it are there.
        #expect(try filesystem.bytes(extent.logical, 8192) == pattern(9, count: 8192))
        #expect(filesystem.statistics.repairedCopies == 0)
        try filesystem.close()
    }

    @Test func afterAFailureNothingIsRepaired() throws {
        let devices = [MemoryDevice(byteCount: 512 << 20), MemoryDevice(byteCount: 512 << 20)]
        var options = FormatOptions()
        options.nodeSize = 4096
        options.dataProfile = .raid1
        options.metadataProfile = .raid1
        try Filesystem.format(devices: devices, options)
        let bytes = pattern(9, count: 65536)
        do {
            let filesystem = try openFilesystem(devices, readOnly: false)
            let file = try filesystem.createFile("/a")
            try file.write(at: 0, bytes)
            // Leaves enough that the first of them is not read at opening.
            for number in 0..<200 {
                try filesystem.createFile(FilePath("/\(number)")).write(at: 0, [1, 2, 3])
            }
            try file.close()
            try filesystem.close()
        }
        let filesystem = try openFilesystem(devices, readOnly: false)
        let places = try filesystem.readFiles { (files) throws(FilesystemError) -> [UInt64] in
            let number = try files.resolve([[UInt8]("a".utf8)])
            let extents = try files.extents(of: number, from: 0, to: 65536)
            return [try leaf(of: number, files), extents[0].item.logical]
        }
        for logical in places {
            try [UInt8](repeating: 0xee, count: 4096).withUnsafeBytesThrowing {
                (bytes) throws(FilesystemError) in
                try filesystem.reader.volume.writeCopy(logical: logical, mirror: 1, from: bytes)
            }
        }
        // The leaf is in no cache of this one; the super block is as it was.
        let failed = try openFilesystem(devices, readOnly: false)
        devices[0].onFlush = { () throws(FilesystemError) in
            throw FilesystemError(.io, "device", "was made to fail")
        }
        try failed.makeDirectory("/folder")
        expectRefusal(.io) { () throws(FilesystemError) in try failed.commit() }
        devices[0].onFlush = nil
        let written = devices.map { $0.writeCount }
        let file = try failed.openFile("/a")
        #expect(try file.contents() == bytes)
        #expect(failed.statistics.correctedReads >= 2)
        #expect(failed.statistics.checksumMismatches == 1)
        #expect(failed.statistics.repairedCopies == 0)
        #expect(devices.map { $0.writeCount } == written)
    }

    /// Where the leaf with an inode's item lies.
    private func leaf(
        of number: UInt64,
        _ files: FileTree
    ) throws(FilesystemError) -> UInt64 {
        var cursor = TreeCursor(files.blocks, files.root)
        _ = try cursor.seek(Key(number, .inodeItem, 0))
        return cursor.leaf.logical
    }

    @Test func aBadCopyOfATreeBlockIsRepaired() throws {
        let (image, _) = try made(["-d", "single", "-m", "raid1"], 2)
        let root: UInt64 = try Filesystem(paths: image.paths).superBlock.root
        try spoil(image, root, mirror: 1, count: 16384)
        do {
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            try filesystem.readTrees { (transaction) throws(FilesystemError) in
                _ = try transaction.tree(5)
            }
            #expect(filesystem.statistics.correctedReads > 0)
            #expect(filesystem.statistics.repairedCopies == 1)
            try filesystem.close()
        }
        try image.expectCleanCheck()
        let again = try Filesystem(paths: image.paths)
        #expect(again.statistics.correctedReads == 0)
    }
}
