// Images for the tests: made by mkfs.btrfs, kept in a temporary folder, removed at the end.

import Foundation

/// One file system on sparse image files.
package final class MkfsImage {
    private let folder: TemporaryFolder
    package let paths: [String]
    /// The first device.
    package var path: String { paths[0] }

    /// - Parameters:
    ///   - sizes: bytes of each device.
    ///   - options: for mkfs.btrfs.
    ///   - files: how many files of 4 KiB, too large for inline, to put in, through `--rootdir` (one device only).
    package convenience init(sizes: [Int], _ options: [String] = [], files: Int = 0) throws {
        let content = (0..<files).map { number in
            ("file\(number)", [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 4096))
        }
        try self.init(sizes: sizes, options, content: content)
    }

    /// - Parameter content: names and bytes of files to put in, through `--rootdir` (one device only).
    package init(sizes: [Int], _ options: [String], content: [(String, [UInt8])]) throws {
        folder = try TemporaryFolder()
        var made: [String] = []
        for (index, size) in sizes.enumerated() {
            made.append(try folder.sparseFile("device\(index)", UInt64(size)))
        }
        paths = made
        var arguments = ["-q", "-f"] + options
        let root = folder.path("root")
        if !content.isEmpty {
            try FileManager.default.createDirectory(
                atPath: root,
                withIntermediateDirectories: true
            )
            for (name, bytes) in content {
                try Data(bytes).write(to: URL(fileURLWithPath: root + "/" + name))
            }
            arguments += ["--rootdir", root]
        }
        try run("mkfs.btrfs", arguments + paths)
        if !content.isEmpty { try FileManager.default.removeItem(atPath: root) }
    }

    /// Mounts the image through the kernel (without flushes, for speed: no power fails here), runs `body` on the mount point, unmounts.
    ///
    /// - Parameters:
    ///   - options: further ones for mount, such as "ro".
    ///   - count: how many of the devices are there, from the first on; nil: all.
    package func mounted(
        _ options: String = "",
        devices count: Int? = nil,
        _ body: (String) throws -> Void
    ) throws {
        try withLoopDevices(paths.prefix(count ?? paths.count)) { loops in
            let options = ["nobarrier"] + (options.isEmpty ? [] : [options])
            try withMount(loops, at: folder.path("mount"), options) { try body($0) }
        }
    }

    /// Lets the kernel write `count` small files, then remove about half of them, at random.
    package func age(_ point: String, files count: Int, _ random: inout SeededGenerator) throws {
        for number in 0..<count {
            let size = 4096 * Int.random(in: 1...4, using: &random)
            let data = Data(repeating: UInt8(truncatingIfNeeded: number), count: size)
            try data.write(to: URL(fileURLWithPath: "\(point)/file\(number)"))
        }
        try run("sync", ["-f", point])
        for number in 0..<count where Bool.random(using: &random) {
            try FileManager.default.removeItem(atPath: "\(point)/file\(number)")
        }
    }

    package func read(device: Int = 0, at offset: Int, count: Int) throws -> [UInt8] {
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: paths[device]))
        defer { try? file.close() }
        try file.seek(toOffset: UInt64(offset))
        return [UInt8](try file.read(upToCount: count) ?? Data())
    }

    package func write(_ bytes: [UInt8], device: Int = 0, at offset: Int) throws {
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: paths[device]))
        defer { try? file.close() }
        try file.seek(toOffset: UInt64(offset))
        try file.write(contentsOf: bytes)
    }

    /// The devices with changes kept in memory.
    package func memoryDevices() throws -> [MemoryDevice] {
        try paths.map { MemoryDevice(over: try fileDevice($0)) }
    }

    package func truncate(device: Int, to size: Int) throws {
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: paths[device]))
        defer { try? file.close() }
        try file.truncate(atOffset: UInt64(size))
    }
}
