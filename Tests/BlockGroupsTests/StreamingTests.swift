// Long writes whose bytes come piece by piece: what is in the file afterwards, what is refused, and what
// others may do with the file meanwhile, since no lock is held while the bytes are made.

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct StreamingTests {
    /// Writes `bytes`, calling `meanwhile` before the first of them are made.
    private func stream(
        _ file: File,
        at offset: UInt64,
        _ bytes: [UInt8],
        meanwhile: () throws(FilesystemError) -> Void = {}
    ) throws(FilesystemError) {
        var isFirst = true
        try file.write(at: offset, length: UInt64(bytes.count)) {
            (from, buffer) throws(FilesystemError) in
            if isFirst { try meanwhile() }
            isFirst = false
            let low = Int(from - offset)
            buffer.copyBytes(from: bytes[low..<low + buffer.count])
        }
    }

    @Test(arguments: [[], ["-O", "^no-holes"]])
    func whatIsStreamedIsThere(options: [String]) throws {
        let image = try MkfsImage(sizes: [512 << 20], options)
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let file = try filesystem.createFile("/a")
        try file.put([UInt8](repeating: 9, count: 100), at: 0)
        let bytes = Array(pattern(1, count: 3_000_008).prefix(3_000_003))
        try stream(file, at: 8192, bytes)
        var expected = [UInt8](repeating: 0, count: 8192) + bytes
        for index in 0..<100 { expected[index] = 9 }
        #expect(try file.allBytes() == expected)
        let other = pattern(2, count: 1 << 20)
        try stream(file, at: 4096, other)
        expected.replaceSubrange(4096..<4096 + other.count, with: other)
        #expect(try file.allBytes() == expected)
        // Neither begins nor ends where a sector does.
        for (offset, count) in [(1, 4096), (4096, 4095)] as [(UInt64, Int)] {
            expectRefusal(.invalidArgument) { () throws(FilesystemError) in
                try stream(file, at: offset, [UInt8](repeating: 1, count: count))
            }
        }
        #expect(try file.allBytes() == expected)
        try file.close()
        try filesystem.close()
        try image.expectCleanCheck()
    }

    @Test func bytesThatCannotBeMadeLeaveTheFileAsItWas() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let file = try filesystem.createFile("/a")
        try file.put(pattern(3, count: 8192), at: 0)
        try filesystem.commit()
        let before = try space(filesystem)
        expectRefusal(.io) { () throws(FilesystemError) in
            try stream(file, at: 0, [UInt8](repeating: 1, count: 8192)) {
                () throws(FilesystemError) in
                throw FilesystemError(.io, "source", "ends too early")
            }
        }
        #expect(try file.allBytes() == pattern(3, count: 8192))
        #expect(try space(filesystem).claimed == before.claimed)
        #expect(try space(filesystem).free == before.free)
        try file.close()
        try filesystem.close()
    }

    /// What another writes into the file while the bytes are made.
    enum Meanwhile: CaseIterable {
        case fewBytes, manyBytes, shorter, longer, removed

        func change(_ file: File) throws(FilesystemError) {
            switch self {
            case .fewBytes: try file.write(at: 0, [7, 7, 7])
            case .manyBytes: try file.write(at: 5000, [UInt8](repeating: 7, count: 100_000))
            case .shorter: try file.truncate(to: 2)
            case .longer: try file.truncate(to: 3_000_001)
            case .removed: try file.filesystem.removeFile("/a")
            }
        }
    }

    /// The rest of the last sector is another's then.
    @Test func aFileThatGrowsOverAnEndInsideOfASectorKeepsWhatItGot() throws {
        let image = try MkfsImage(sizes: [256 << 20])
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        let file = try filesystem.createFile("/a")
        expectRefusal(.invalidArgument) { () throws(FilesystemError) in
            try stream(file, at: 0, [UInt8](repeating: 1, count: 5000)) {
                () throws(FilesystemError) in
                try file.write(at: 6000, [2, 2])
            }
        }
        #expect(try file.allBytes() == [UInt8](repeating: 0, count: 6000) + [2, 2])
        try filesystem.commit()
        #expect(try space(filesystem).claimed == 0)
        try file.close()
        try filesystem.close()
        try image.expectCleanCheck()
    }

    /// - Parameter size: of the file before.
    @Test(arguments: Meanwhile.allCases, [0, 50, 5000])
    func othersMayChangeTheFileMeanwhile(_ meanwhile: Meanwhile, size: Int) throws {
        for options in [[], ["-O", "^no-holes"]] {
            let image = try MkfsImage(sizes: [256 << 20], options)
            let filesystem = try Filesystem(paths: image.paths, readOnly: false)
            let file = try filesystem.createFile("/a")
            var expected = [UInt8](repeating: 5, count: size)
            try file.put(expected, at: 0)
            let bytes = pattern(4, count: 49 * 4096)
            try stream(file, at: 65536, bytes) { () throws(FilesystemError) in
                try meanwhile.change(file)
            }
            func put(_ bytes: [UInt8], at offset: Int) {
                let missing = max(0, offset + bytes.count - expected.count)
                expected += [UInt8](repeating: 0, count: missing)
                expected.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            }
            switch meanwhile {
            case .fewBytes: put([7, 7, 7], at: 0)
            case .manyBytes: put([UInt8](repeating: 7, count: 100_000), at: 5000)
            case .shorter: expected = Array((expected + [0, 0]).prefix(2))
            case .longer: put([0], at: 3_000_000)
            case .removed: break
            }
            put(bytes, at: 65536)
            #expect(try file.allBytes() == expected)
            try file.close()
            try filesystem.close()
            try image.expectCleanCheck()
            #expect(try faults(image.memoryDevices()) == [])
        }
    }
}
