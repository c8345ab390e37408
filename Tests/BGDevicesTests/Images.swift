//===-- Images.swift - file systems for the tests: made by mkfs.btrfs, read with our own code -===//
// Images are sparse files in a temporary folder that goes when the fixture does.

import BGDevices
import BGDiskFormat
import Foundation
import Testing

func program(_ name: String) -> String? {
    for folder in ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"] {
        let path = "\(folder)/\(name)"
        if FileManager.default.isExecutableFile(atPath: path) { return path }
    }
    return nil
}

let hasBtrfsProgs = program("mkfs.btrfs") != nil && program("btrfs") != nil

/// Whether this process may make loop devices and mount btrfs on them: the programs, the right to
/// mount (capability 21), a kernel with btrfs, and a loop device to be had.
let canLoopMount: Bool = {
    guard hasBtrfsProgs, program("mount") != nil, program("umount") != nil,
        let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
        let line = status.split(separator: "\n").first(where: { $0.hasPrefix("CapEff:") }),
        let capabilities = UInt64(
            line.dropFirst(7).trimmingCharacters(in: .whitespaces),
            radix: 16
        ),
        capabilities >> 21 & 1 == 1,
        let known = try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8),
        known.split(whereSeparator: { $0.isWhitespace }).contains("btrfs")
    else { return false }
    return (try? run("losetup", ["-f"])) != nil
}()

let testSeed =
    ProcessInfo.processInfo.environment["BG_SEED"].flatMap { UInt64($0) }
    ?? UInt64.random(in: 0...UInt64.max)

/// splitmix64.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

struct CommandFailed: Error {
    let command: String
    let output: String
}

@discardableResult
func run(_ name: String, _ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(program(name)))
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    let text = String(decoding: data, as: UTF8.self)
    guard process.terminationStatus == 0 else {
        throw CommandFailed(command: "\(name) \(arguments)", output: text)
    }
    return text
}

/// A file system on `deviceCount` image files.
final class Image {
    let folder: URL
    let paths: [String]

    init(deviceCount: Int, megabytes: UInt64 = 300, _ arguments: [String]) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "bg-\(UUID().uuidString)"
        )
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var made: [String] = []
        for index in 1...deviceCount {
            let path = folder.appendingPathComponent("device\(index)").path
            #expect(FileManager.default.createFile(atPath: path, contents: nil))
            let file = try #require(FileHandle(forUpdatingAtPath: path))
            try file.truncate(atOffset: megabytes << 20)
            try file.close()
            made.append(path)
        }
        paths = made
        try run("mkfs.btrfs", ["-q", "-f"] + arguments + made)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    /// The devices with changes kept in memory.
    func memoryDevices() throws -> [MemoryDevice] {
        try paths.map { path in
            try path.withCString { MemoryDevice(over: try FileDevice(path: $0, writable: false)) }
        }
    }
}

/// What a profile needs to be made, and how many devices may go.
struct ProfileCase: CustomTestStringConvertible, Sendable {
    let name: String
    let devices: Int
    let mirrors: Int
    let spares: Int
    var testDescription: String { name }

    static let all: [ProfileCase] = [
        ProfileCase(name: "single", devices: 1, mirrors: 1, spares: 0),
        ProfileCase(name: "dup", devices: 1, mirrors: 2, spares: 0),
        ProfileCase(name: "raid0", devices: 3, mirrors: 1, spares: 0),
        ProfileCase(name: "raid1", devices: 2, mirrors: 2, spares: 1),
        ProfileCase(name: "raid1c3", devices: 3, mirrors: 3, spares: 2),
        ProfileCase(name: "raid1c4", devices: 4, mirrors: 4, spares: 3),
        ProfileCase(name: "raid10", devices: 4, mirrors: 2, spares: 1),
        ProfileCase(name: "raid5", devices: 3, mirrors: 2, spares: 1),
        ProfileCase(name: "raid6", devices: 4, mirrors: 4, spares: 2),
    ]

    static var redundant: [ProfileCase] { all.filter { $0.spares > 0 } }

    func make(_ arguments: [String] = []) throws -> Image {
        try Image(deviceCount: devices, ["-m", name, "-d", name] + arguments)
    }
}

extension Volume {
    /// Reads a tree block and checks it.
    func treeBlock(_ logical: UInt64, mirror: Int? = nil) throws -> [UInt8] {
        if let mirror {
            var bytes = [UInt8](repeating: 0, count: Int(superBlock.nodeSize))
            try bytes.withUnsafeMutableBytes {
                try read(logical: logical, into: $0, mirror: mirror)
            }
            _ = try NodeHeader(verifying: bytes.span.bytes, at: logical, superBlock)
            return bytes
        }
        return try readBlock(logical: logical, length: Int(superBlock.nodeSize)) {
            block throws(FilesystemError) in
            _ = try NodeHeader(verifying: block, at: logical, superBlock)
        }
    }

    /// Maps the chunks of a chunk tree that is a single leaf, as in a small fresh file system.
    func loadChunkLeaf() throws {
        let block = try treeBlock(superBlock.chunkRoot)
        let raw = block.span.bytes
        let header = try NodeHeader(raw)
        try #require(header.level == 0)
        for slot in 0..<Int(header.itemCount) {
            let item = LeafItem(raw, slot: slot)
            try item.checkBounds(blockBytes: block.count, itemCount: Int(header.itemCount))
            let bytes = raw.extracting(item.dataStart..<item.dataEnd)
            if item.key.type == .deviceItem {
                try addDevice(DeviceItem(key: item.key, bytes))
            } else if item.key.type == .chunkItem {
                try addChunk(ChunkItem(key: item.key, bytes, superBlock.limits))
            }
        }
    }

    func bytes(_ logical: UInt64, _ count: Int, mirror: Int = 0) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: count)
        try bytes.withUnsafeMutableBytes { try read(logical: logical, into: $0, mirror: mirror) }
        return bytes
    }

    /// The first chunk of this type.
    func chunk(_ type: ChunkFlags) throws -> Chunk {
        try #require(chunkMap.chunks.first { $0.item.flags.contains(type) })
    }
}

func failure(_ body: () throws -> Void) -> FilesystemError? {
    do { try body() } catch { return error as? FilesystemError }
    return nil
}
