// The built bgctl as a user runs it, and images of mkfs.btrfs to run it on.

import Foundation
import Testing

/// What a run of a program came to.
struct Outcome {
    let status: Int32
    let output: String
    let complaint: String

    /// Standard output as JSON.
    func json() throws -> [String: Any] {
        let value = try JSONSerialization.jsonObject(with: Data(output.utf8))
        return try #require(value as? [String: Any])
    }
}

enum Program {
    /// bgctl lies beside the test bundle's executable, which is this process.
    static let path: String? = {
        guard let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        else { return nil }
        let path = URL(fileURLWithPath: own).deletingLastPathComponent()
            .appendingPathComponent("bgctl").path
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }()

    static let mkfs = ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"].map { $0 + "mkfs.btrfs" }
        .first { FileManager.default.isExecutableFile(atPath: $0) }

    /// Why nothing can be run here; nil when it can.
    static let whyNot: String? =
        path == nil
        ? "bgctl was not built beside the tests" : mkfs == nil ? "mkfs.btrfs is not installed" : nil

    /// Runs bgctl to its end.
    static func run(_ arguments: String..., columns: Int = 100) throws -> Outcome {
        try execute(#require(path), arguments, ["COLUMNS": String(columns)])
    }

    static func execute(
        _ path: String,
        _ arguments: [String],
        _ variables: [String: String] = [:]
    ) throws -> Outcome {
        // Files and not pipes: neither can fill up while the other is read.
        let folder = try Folder()
        let files = try ["output", "complaint"].map { name in
            let path = folder.path(name)
            try #require(FileManager.default.createFile(atPath: path, contents: nil))
            return path
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle(forWritingAtPath: files[0])
        process.standardError = FileHandle(forWritingAtPath: files[1])
        try process.run()
        process.waitUntilExit()
        let texts = try files.map {
            String(decoding: try Data(contentsOf: URL(fileURLWithPath: $0)), as: UTF8.self)
        }
        return Outcome(status: process.terminationStatus, output: texts[0], complaint: texts[1])
    }
}

/// A temporary folder, removed with its content.
final class Folder {
    private let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory
            .appendingPathComponent("bgctl-tests-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func path(_ name: String) -> String { url.appendingPathComponent(name).path }
}

/// A file system on sparse files, made by mkfs.btrfs; with some files in it where it has one device.
final class TestImage {
    private let folder: Folder
    let paths: [String]
    var path: String { paths[0] }

    init(bytes: UInt64 = 300 << 20, devices: Int = 1, _ options: String...) throws {
        folder = try Folder()
        var made: [String] = []
        for index in 0..<devices {
            let path = folder.path("device\(index)")
            try #require(FileManager.default.createFile(atPath: path, contents: nil))
            let file = try #require(FileHandle(forWritingAtPath: path))
            try file.truncate(atOffset: bytes)
            try file.close()
            made.append(path)
        }
        paths = made
        var arguments = ["-q", "-f"] + options
        if devices == 1 {
            let root = folder.path("root")
            try FileManager.default.createDirectory(
                atPath: root,
                withIntermediateDirectories: true
            )
            for number in 1...20 {
                let content = Data(repeating: UInt8(number), count: number * 20_000)
                try content.write(to: URL(fileURLWithPath: root + "/file\(number)"))
            }
            arguments += ["--rootdir", root]
        }
        let outcome = try Program.execute(try #require(Program.mkfs), arguments + made)
        try #require(outcome.status == 0, "mkfs.btrfs: \(outcome.complaint)")
    }

    /// Overwrites a byte of every tree block of a tree, in all its copies.
    ///
    /// - Returns: how many copies there were.
    func damage(treeID: UInt64, nodeSize: Int = 16384) throws -> Int {
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        defer { try? file.close() }
        try file.seek(toOffset: 65536 + 32)
        let fsid = try #require(try file.read(upToCount: 16))
        let end = try file.seekToEnd()
        var damaged = 0
        for offset in stride(from: UInt64(1 << 20), to: end - UInt64(nodeSize), by: 4096) {
            try file.seek(toOffset: offset + 32)
            guard let header = try file.read(upToCount: 69), header.prefix(16) == fsid else {
                continue
            }
            let owner = (0..<8).reduce(UInt64(0)) { $0 | UInt64(header[56 + $1]) << (8 * $1) }
            guard owner == treeID else { continue }
            try file.seek(toOffset: offset + 200)
            try file.write(contentsOf: Data([0x5a, 0xa5]))
            damaged += 1
        }
        return damaged
    }
}
