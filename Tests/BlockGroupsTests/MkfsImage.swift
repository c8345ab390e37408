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
///
/// By posix_spawn and read: Foundation's Process leaks a little, and so does its Data for an empty
/// file, which the address sanitizer reports.
@discardableResult
func run(_ name: String, _ arguments: [String]) throws -> String {
    guard let path = Machine.tool(name) else { throw ToolFailure(description: "no \(name)") }
    // A file, not a pipe: tools started meanwhile by other threads would hold a pipe open.
    let output = FileManager.default.temporaryDirectory
        .appendingPathComponent("blockgroups-" + UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: output) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(
        &actions,
        1,
        output.path,
        O_WRONLY | O_CREAT | O_TRUNC,
        0o600
    )
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var words = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    let failed = posix_spawn(&child, path, &actions, nil, &words, environ)
    guard failed == 0 else { throw ToolFailure(description: "\(path): errno \(failed)") }
    var status: CInt = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    let text = String(decoding: try readFile(output.path), as: UTF8.self)
    guard status == 0 else {
        throw ToolFailure(description: "\(name) \(arguments): \(text)")
    }
    return text
}

/// A whole file.
func readFile(_ path: String) throws -> [UInt8] {
    let file = open(path, O_RDONLY)
    guard file >= 0 else { throw ToolFailure(description: "cannot open \(path)") }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw ToolFailure(description: "no size: \(path)") }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var done = 0
    while done < bytes.count {
        let left = bytes.count - done
        let count = bytes.withUnsafeMutableBytes { read(file, $0.baseAddress! + done, left) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { throw ToolFailure(description: "cannot read \(path)") }
        done += count
    }
    return bytes
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

    /// Mounts the image through the kernel (without flushes, for speed: no power fails here), runs `body` on the mount point, unmounts.
    func mounted(_ body: (String) throws -> Void) throws {
        let point = folder.appendingPathComponent("mount").path
        try FileManager.default.createDirectory(
            atPath: point,
            withIntermediateDirectories: true
        )
        var loops: [String] = []
        defer { for loop in loops { _ = try? run("losetup", ["-d", loop]) } }
        for path in paths {
            let output = try run("losetup", ["-f", "--show", path])
            loops.append(output.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        let devices = loops.map { "device=" + $0 }.joined(separator: ",")
        try run("mount", ["-t", "btrfs", "-o", "nobarrier," + devices, loops[0], point])
        do {
            try body(point)
        } catch {
            try? unmount(point)
            throw error
        }
        try unmount(point)
    }

    /// A process that another test is just starting may hold the mount for a moment: ask again.
    private func unmount(_ point: String) throws {
        for _ in 0..<50 {
            do {
                try run("umount", [point])
                return
            } catch let failure as ToolFailure where failure.description.contains("busy") {
                usleep(200_000)
            }
        }
        try run("umount", [point])
    }

    /// Lets the kernel write `count` small files, then remove about half of them, at random.
    func age(_ point: String, files count: Int, _ random: inout SeededGenerator) throws {
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
