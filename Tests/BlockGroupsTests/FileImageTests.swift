// Items of files in images that mkfs.btrfs made of a folder: each comes back, byte for byte, from what
// its parser made of it; names are found by their hash; each file's data is where its items say.
// Not covered here: writing (FileTests, FileModelTests).

import BGDevices
import BGDiskFormat
import BGTestSupport
import BGTrees
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

/// A folder with what a file system can hold, for mkfs.btrfs.
final class SampleFolder {
    let path: String
    /// Relative paths of the regular files, and what is in them.
    private(set) var contents: [String: [UInt8]] = [:]

    init(seed: UInt64 = 1) throws {
        path =
            FileManager.default.temporaryDirectory
            .appendingPathComponent("blockgroups-folder-" + UUID().uuidString).path
        try FileManager.default.createDirectory(
            atPath: path + "/deep/er",
            withIntermediateDirectories: true
        )
        var random = SeededGenerator(state: seed)
        for (name, size) in [
            ("empty", 0), ("one", 1), ("inline", 2000), ("sector", 4096), ("odd", 70_001),
            ("deep/er/large", 3 << 20), ("deep/x", 12_345),
        ] {
            let bytes = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
            try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name))
            contents[name] = bytes
        }
        for number in 0..<300 {
            let name = "deep/many-\(number)"
            contents[name] = [UInt8](name.utf8)
            try Data(name.utf8).write(to: URL(fileURLWithPath: path + "/" + name))
        }
        guard symlink("deep/er/large", path + "/link") == 0 else {
            throw ToolFailure(description: "no symbolic link")
        }
        // Not every file system that holds temporary files knows attributes.
        _ = try? run("setfattr", ["-n", "user.note", "-v", "text", path + "/one"])
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct FileImageTests {
    /// The default subvolume of an image, without a Filesystem.
    private func tree(_ reader: FilesystemReader) throws -> FileTree {
        let blocks = TreeReader(reader.source, cacheBlocks: 64)
        let superBlock = reader.superBlock
        let rootTree = TreeRoot(
            treeID: ObjectID.rootTree,
            logical: superBlock.root,
            level: superBlock.rootLevel,
            generation: superBlock.generation
        )
        var cursor = TreeCursor(blocks, rootTree)
        let key = Key(ObjectID.filesystemTree, .rootItem, 0)
        #expect(try cursor.seek(key) && cursor.key == key)
        let item = try cursor.withItem { data throws(FilesystemError) in
            try RootItem(key: key, data, superBlock.limits)
        }
        return FileTree(
            blocks,
            TreeRoot(
                treeID: key.objectid,
                logical: item.logical,
                level: item.level,
                generation: item.generation
            )
        )
    }

    @Test func everyItemOfAFolderComesBackFromItsParser() throws {
        let folder = try SampleFolder()
        let image = try MkfsImage(sizes: [256 << 20], ["--rootdir", folder.path, "-n", "4096"])
        let reader = try FilesystemReader.open(paths: image.paths)
        let tree = try tree(reader)
        var cursor = TreeCursor(tree.blocks, tree.root)
        var counts: [UInt8: Int] = [:]
        var found = try cursor.seek(.min)
        while found {
            let key = cursor.key
            try cursor.withItem { data throws(FilesystemError) in
                let bytes = data.bytes(0..<data.byteCount)
                guard let again = try encoded(key, data, reader.limits) else { return }
                #expect(again == bytes, "item \(key)")
                counts[key.type.rawValue, default: 0] += 1
            }
            found = try cursor.next()
        }
        for type in [KeyType.inodeItem, .inodeRef, .dirItem, .dirIndex, .extentData] {
            #expect((counts[type.rawValue] ?? 0) > 0, "no item of type \(type.rawValue)")
        }
    }

    /// What our encoders make of an item; nil for a type that is none of theirs.
    private func encoded(
        _ key: Key,
        _ data: RawSpan,
        _ limits: FormatLimits
    ) throws(FilesystemError) -> [UInt8]? {
        switch key.type {
        case .inodeItem: return try InodeItem(key: key, data, limits).encoded
        case .inodeRef where key.objectid != FileTree.rootDirectory:
            return try InodeRef.entries(key: key, data).flatMap { $0.encoded }
        case .dirItem, .dirIndex, .extendedAttribute:
            return try DirectoryItem.entries(key: key, data).flatMap { $0.encoded }
        case .extentData:
            let item = try FileExtentItem(key: key, data, limits)
            guard item.kind == .inline else { return item.encoded }
            let inline = data.bytes(FileExtentItem.headerBytes..<data.byteCount)
            return FileExtentItem.inline(generation: item.generation, inline.span.bytes)
        default: return nil
        }
    }

    @Test func everyNameIsFoundAndLeadsToItsBytes() throws {
        let folder = try SampleFolder()
        let image = try MkfsImage(sizes: [256 << 20], ["--rootdir", folder.path])
        let reader = try FilesystemReader.open(paths: image.paths)
        let tree = try tree(reader)
        for (name, expected) in folder.contents {
            let number = try tree.resolve(try FilePath(name).names()[...])
            let inode = try tree.inode(number)
            #expect(inode.size == UInt64(expected.count) && inode.isRegular)
            var bytes: [UInt8] = []
            if let inline = try tree.inlineData(of: number, size: inode.size) {
                bytes = inline
            } else {
                bytes = [UInt8](repeating: 0, count: (expected.count + 4095) / 4096 * 4096)
                var counted: UInt64 = 0
                for extent in try tree.extents(of: number, from: 0, to: .max) {
                    counted += extent.item.countedBytes
                    guard !extent.item.isHole else { continue }
                    let logical = extent.item.logical + extent.item.offset
                    let range = Int(extent.start)..<Int(extent.end)
                    try bytes.withUnsafeMutableBytes {
                        try reader.read(
                            logical: logical,
                            into: UnsafeMutableRawBufferPointer(rebasing: $0[range])
                        )
                    }
                }
                #expect(counted == inode.byteCount)
            }
            #expect(Array(bytes.prefix(expected.count)) == expected, "\(name)")
            let names = try FilePath(name).names()
            let directory = try tree.resolve(names.dropLast())
            let reference = try tree.reference(
                to: number,
                named: names[names.count - 1],
                in: directory
            )
            #expect(reference != nil)
        }
        #expect(throws: FilesystemError.self) { try tree.resolve([[0x61], [0x62]]) }
        let link = try tree.resolve([[UInt8]("link".utf8)])
        #expect(
            try tree.inlineData(of: link, size: tree.inode(link).size)
                == [UInt8]("deep/er/large".utf8)
        )
    }

    @Test func extentsAreFoundFromAnyOffset() throws {
        let folder = try SampleFolder()
        let image = try MkfsImage(sizes: [256 << 20], ["--rootdir", folder.path])
        let tree = try tree(FilesystemReader.open(paths: image.paths))
        let number = try tree.resolve(try FilePath("deep/er/large").names()[...])
        let all = try tree.extents(of: number, from: 0, to: .max)
        #expect(!all.isEmpty)
        var random = SeededGenerator.printed("extents")
        for _ in 0..<200 {
            let start = UInt64.random(in: 0..<4 << 20, using: &random)
            let end = UInt64.random(in: start...5 << 20, using: &random)
            let found = try tree.extents(of: number, from: start, to: end)
            let expected = all.filter { $0.start < end && $0.end > start && start < end }
            #expect(found.map(\.start) == expected.map(\.start))
        }
        #expect(try tree.extents(of: number + 100_000, from: 0, to: .max).isEmpty)
    }
}
