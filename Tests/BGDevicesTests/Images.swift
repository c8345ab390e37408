//===-- Images.swift - file systems for the tests: made by mkfs.btrfs, read with our own code -===//

import BGDevices
import BGDiskFormat
import BGTestSupport
import Testing

typealias Image = MkfsImage

extension MkfsImage {
    convenience init(deviceCount: Int, megabytes: UInt64 = 300, _ arguments: [String]) throws {
        try self.init(
            sizes: Array(repeating: Int(megabytes) << 20, count: deviceCount),
            arguments
        )
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
