//===-- ManyExtentsTests.swift - one write over very many extents, with little metadata left --------===//
// What one change drops, the commit must be able to record, however little was left before.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BlockGroups

@Suite struct ManyExtentsTests {
    @Test(.disabled("the commit runs out of metadata: the reserve does not know what is dropped"))
    func aWriteOverVeryManyExtentsIsRefusedOrCommitted() throws {
        let pieces = 12_000
        let device = MemoryDevice(byteCount: 192 << 20)
        var options = FormatOptions()
        options.nodeSize = 4096
        options.metadataProfile = .single
        try Filesystem.format(devices: [device], options)
        let filesystem = try openFilesystem([device], readOnly: false)
        let sector = [UInt8](repeating: 1, count: 4096)
        func write(_ file: File, _ offset: Int, _ bytes: [UInt8]) throws(FilesystemError) {
            try bytes.withUnsafeBytesThrowing { (buffer) throws(FilesystemError) in
                try file.write(at: UInt64(offset), from: buffer)
            }
        }
        let large = [UInt8](repeating: 2, count: pieces * 4096)
        let spare = try filesystem.createFile(FilePath("/spare"))
        try write(spare, 0, large)
        let a = try filesystem.createFile(FilePath("/a"))
        let b = try filesystem.createFile(FilePath("/b"))
        var made = 0
        do {
            for piece in 0..<pieces {
                try write(a, piece * 4096, sector)
                made += 1
                try write(b, piece * 4096, sector)
            }
        } catch { print("after \(made): \(error)") }
        // All the rest of the device is data, or metadata in use.
        let rest = try filesystem.createFile(FilePath("/rest"))
        var at = 0
        while (try? write(rest, at, [UInt8](repeating: 3, count: 1 << 20))) != nil { at += 1 << 20 }
        var small = 0
        while true {
            do {
                try [UInt8](repeating: 4, count: 2000).withUnsafeBytesThrowing {
                    (bytes) throws(FilesystemError) in
                    try filesystem.createFile(FilePath("/small\(small)"), contents: bytes)
                }
            } catch { print("small \(small): \(error)"); break }
            small += 1
        }
        try spare.close()
        try filesystem.removeFile(FilePath("/spare"))
        try filesystem.commit()
        for step in 0..<200 {
            do {
                try write(a, 0, [UInt8](large[..<(made * 4096)]))
                try filesystem.commit()
                print("done at step \(step)")
                break
            } catch {
                print("step \(step): \(error), failure \(String(describing: filesystem.failure))")
                if filesystem.failure != nil { break }
                for index in 0..<16 where small > 0 {
                    _ = index
                    small -= 1
                    try filesystem.removeFile(FilePath("/small\(small)"))
                }
                try filesystem.commit()
            }
        }
        #expect(filesystem.failure == nil)
    }
}
