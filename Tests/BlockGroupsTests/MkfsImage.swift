// Images for the tests: made by mkfs.btrfs, kept in a temporary folder, removed at the end.

import Foundation
import Testing

/// Where btrfs-progs are, and what this machine lets a test do.
enum Machine {
    static let hasMkfs = tool("mkfs.btrfs") != nil
    /// Loop mounts need root and a kernel with btrfs.
    static let canMount: Bool = {
        guard geteuid() == 0, hasMkfs, tool("mount") != nil else { return false }
        guard let image = try? MkfsImage(sizes: [256 << 20]) else { return false }
        return (try? image.mounted { _ in }) != nil
    }()

    static func tool(_ name: String) -> String? {
        ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"].map { $0 + name }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}

struct ToolFailure: Error, CustomStringConvertible {
    let description: String
}

/// Runs a tool to its end and returns what it printed.
@discardableResult
func run(_ name: String, _ arguments: [String]) throws -> String {
    guard let path = Machine.tool(name) else { throw ToolFailure(description: "no \(name)") }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    let text = String(decoding: output, as: UTF8.self)
    guard process.terminationStatus == 0 else {
        throw ToolFailure(description: "\(name) \(arguments): \(text)")
    }
    return text
}

/// One file system on sparse image files.
final class MkfsImage {
    let folder: URL
    let paths: [String]

    /// - Parameters:
    ///   - sizes: bytes of each device.
    ///   - options: for mkfs.btrfs.
    ///   - files: how many files of 4 KiB, too large for inline, to put in, through `--rootdir` (one device only).
    init(sizes: [Int], _ options: [String] = [], files: Int = 0) throws {
        folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("blockgroups-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var made: [String] = []
        for (index, size) in sizes.enumerated() {
            let path = folder.appendingPathComponent("device\(index)").path
            guard FileManager.default.createFile(atPath: path, contents: nil) else {
                throw ToolFailure(description: "cannot make \(path)")
            }
            let file = try #require(FileHandle(forWritingAtPath: path))
            try file.truncate(atOffset: UInt64(size))
            try file.close()
            made.append(path)
        }
        paths = made
        var arguments = ["-q", "-f"] + options
        if files > 0 {
            let root = folder.appendingPathComponent("root")
            try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
            for number in 0..<files {
                let content = Data(repeating: UInt8(truncatingIfNeeded: number), count: 4096)
                try content.write(to: root.appendingPathComponent("file\(number)"))
            }
            arguments += ["--rootdir", root.path]
        }
        try run("mkfs.btrfs", arguments + paths)
        if files > 0 {
            try FileManager.default.removeItem(at: folder.appendingPathComponent("root"))
        }
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    /// Mounts the image through the kernel, runs `body` on the mount point, unmounts.
    func mounted(_ options: String = "loop", _ body: (String) throws -> Void) throws {
        let point = folder.appendingPathComponent("mount").path
        try FileManager.default.createDirectory(
            atPath: point,
            withIntermediateDirectories: true
        )
        try run("mount", ["-t", "btrfs", "-o", options, paths[0], point])
        do {
            try body(point)
        } catch {
            _ = try? run("umount", [point])
            throw error
        }
        try run("umount", [point])
    }

    func read(device: Int = 0, at offset: Int, count: Int) throws -> [UInt8] {
        let file = try #require(FileHandle(forReadingAtPath: paths[device]))
        defer { try? file.close() }
        try file.seek(toOffset: UInt64(offset))
        return try [UInt8](#require(try file.read(upToCount: count)))
    }

    func write(_ bytes: [UInt8], device: Int = 0, at offset: Int) throws {
        let file = try #require(FileHandle(forUpdatingAtPath: paths[device]))
        defer { try? file.close() }
        try file.seek(toOffset: UInt64(offset))
        try file.write(contentsOf: bytes)
    }

    func truncate(device: Int, to size: Int) throws {
        let file = try #require(FileHandle(forWritingAtPath: paths[device]))
        defer { try? file.close() }
        try file.truncate(atOffset: UInt64(size))
    }
}
