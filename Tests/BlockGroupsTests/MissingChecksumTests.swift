//===-- MissingChecksumTests.swift - data whose checksum is not recorded -----------------------------===//
// A file has checksums or says that it has none; where one is missing all the same, the checksum tree is
// damaged, and nobody can tell whether the data is right. The kernel does not return it either.
// Not covered here: what the checker says (PlantedFaultTests), wrong checksums (RepairTests).
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees
@testable import BlockGroups

@Suite struct MissingChecksumTests {
    /// A file of three sectors, the second of which has lost its checksum.
    private func fileWithout(
        _ filesystem: Filesystem,
        flags: UInt64
    ) throws -> (file: File, extent: FileExtent) {
        let file = try filesystem.createFile("/file")
        let number = file.inodeNumber
        try file.write(at: 0, pattern(3, count: 3 * 4096))
        let extent = try filesystem.readFiles { (files) throws(FilesystemError) in
            try files.extents(of: number, from: 0, to: 4096)
        }[0]
        try filesystem.changeFiles { (_) throws(FilesystemError) in
        } apply: { (change, _: Void) throws(FilesystemError) in
            try change.updateInode(number) { $0.flags |= flags }
            try change.transaction.removeChecksums(
                logical: extent.item.logical + 4096,
                length: 4096
            )
        }
        try filesystem.commit()
        return (file, extent)
    }

    private func read(_ file: File, at offset: UInt64, count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try bytes.withUnsafeMutableBytes { try file.read(at: offset, into: $0) }
        #expect(read == count)
        return bytes
    }

    @Test func isNotReturned() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device)
        let (file, extent) = try fileWithout(filesystem, flags: 0)
        let bytes = pattern(3, count: 3 * 4096)
        #expect(try read(file, at: 0, count: 4096) == Array(bytes[..<4096]))
        #expect(try read(file, at: 8192, count: 4096) == Array(bytes[8192...]))
        for (offset, count) in [(4096, 4096), (0, 3 * 4096), (5000, 1)] {
            let words = expectRefusal(.io) { () throws(FilesystemError) in
                var buffer = [UInt8](repeating: 0, count: count)
                var failure: FilesystemError?
                buffer.withUnsafeMutableBytes { target in
                    do throws(FilesystemError) {
                        _ = try file.read(at: UInt64(offset), into: target)
                    } catch {
                        failure = error
                    }
                }
                if let failure { throw failure }
            }
            #expect(words.contains("no checksum is recorded"), "\(words)")
        }
        // A sector written in part would get a checksum that nobody can answer for.
        expectRefusal(.io) { () throws(FilesystemError) in
            try file.write(at: 4100, [1, 2, 3])
        }
        try file.write(at: 4096, [UInt8](repeating: 7, count: 4096))
        #expect(try read(file, at: 4096, count: 4096) == [UInt8](repeating: 7, count: 4096))
        // Whoever asks for an address is told what is there.
        #expect(try filesystem.bytes(extent.item.logical, 4096) == Array(bytes[..<4096]))
        try filesystem.close()
    }

    @Test func isReturnedOfAFileThatHasNone() throws {
        let device = MemoryDevice(byteCount: 256 << 20)
        let filesystem = try makeFilesystem(device)
        let (file, _) = try fileWithout(filesystem, flags: InodeItem.flagNoDataChecksums)
        #expect(try read(file, at: 0, count: 3 * 4096) == pattern(3, count: 3 * 4096))
        try file.write(at: 4100, [1, 2, 3])
        #expect(try read(file, at: 4100, count: 3) == [1, 2, 3])
        try filesystem.close()
    }
}
