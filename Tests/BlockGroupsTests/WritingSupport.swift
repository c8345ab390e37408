// What the tests of writing share: extents recorded the plain way, btrfs check as a referee, and
// super blocks with a field changed.
//
// The extents belong to inodes without a name (orphans, as deleted files that are still open): what
// btrfs check and the kernel accept with the fewest items.

import BGDevices
import BGDiskFormat
import BGTrees
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

/// An inode of tree 5 that only an orphan item names, and its extents.
struct OrphanFile {
    let inode: UInt64
    private(set) var extents: [(offset: UInt64, extent: Extent)] = []
    private(set) var size: UInt64 = 0

    static let tree: UInt64 = 5
    private static let orphans = UInt64(bitPattern: -5)
    private static let orphanType = KeyType(rawValue: 48)

    /// - Parameter inlineBytes: of content that lies in the item; at most 2048.
    init(
        _ filesystem: Filesystem,
        inode: UInt64,
        inlineBytes: Int = 0
    ) throws(FilesystemError) {
        self.inode = inode
        try filesystem.change { (transaction) throws(FilesystemError) in
            // This one is in use: nothing that a crash left.
            filesystem.openFiles.leftOrphans = []
            let tree = try transaction.tree(Self.tree)
            try tree.insert(
                Key(inode, .inodeItem, 0),
                Self.inodeItem(transaction.generation, size: UInt64(inlineBytes))
            )
            if inlineBytes > 0 {
                var item: [UInt8] = []
                item.append(littleEndian: transaction.generation)
                item.append(littleEndian: UInt64(inlineBytes))
                item.append(zeros: 5 + inlineBytes)
                try tree.insert(Key(inode, .extentData, 0), item)
            }
            try tree.insert(Key(Self.orphans, Self.orphanType, inode), [])
        }
    }

    private static func inodeItem(_ generation: UInt64, size: UInt64) -> [UInt8] {
        var item: [UInt8] = []
        item.append(littleEndian: generation)
        item.append(littleEndian: generation)
        item.append(littleEndian: size)
        item.append(littleEndian: size)
        item.append(zeros: 8 + 4 + 4 + 4)
        item.append(littleEndian: UInt32(0o100644))
        item.append(zeros: 160 - item.count)
        return item
    }

    private func reference(_ offset: UInt64, _ extent: Extent) -> DataReference {
        DataReference(
            logical: extent.logical,
            length: extent.length,
            root: Self.tree,
            inode: inode,
            offset: offset
        )
    }

    /// Records a claimed extent behind what the file has.
    mutating func append(
        _ filesystem: Filesystem,
        _ extent: Extent
    ) throws(FilesystemError) {
        try filesystem.checkClaim(extent)
        let sums = try filesystem.checksums(ofClaimed: extent)
        let offset = size
        let inode = inode
        let reference = reference(offset, extent)
        try filesystem.change(itemBytes: UInt64(sums.count)) {
            (transaction) throws(FilesystemError) in
            filesystem.openFiles.leftOrphans = []
            let tree = try transaction.tree(Self.tree)
            var item: [UInt8] = []
            item.append(littleEndian: transaction.generation)
            item.append(littleEndian: extent.length)
            item += [0, 0, 0, 0, 1]
            item.append(littleEndian: extent.logical)
            item.append(littleEndian: extent.length)
            item.append(littleEndian: UInt64(0))
            item.append(littleEndian: extent.length)
            try tree.insert(Key(inode, .extentData, offset), item)
            try tree.replace(
                Key(inode, .inodeItem, 0),
                Self.inodeItem(transaction.generation, size: offset + extent.length)
            )
            try transaction.recordExtent(reference)
            try transaction.setChecksums(logical: extent.logical, sums)
        }
        extents.append((offset, extent))
        size += extent.length
    }

    /// Claims, writes, records.
    mutating func append(_ filesystem: Filesystem, bytes: [UInt8]) throws(FilesystemError) {
        let extent = try filesystem.claimData(length: UInt64(bytes.count)).commit()
        try bytes.withUnsafeBytesThrowing { buffer throws(FilesystemError) in
            try filesystem.write(logical: extent.logical, from: buffer)
        }
        try append(filesystem, extent)
    }

    /// Drops the last extent.
    mutating func removeLast(_ filesystem: Filesystem) throws(FilesystemError) {
        guard let (offset, extent) = extents.popLast() else { return }
        size -= extent.length
        let size = size
        let inode = inode
        let reference = reference(offset, extent)
        try filesystem.change(.freeing) { (transaction) throws(FilesystemError) in
            let tree = try transaction.tree(Self.tree)
            try tree.remove(Key(inode, .extentData, offset))
            try tree.replace(
                Key(inode, .inodeItem, 0),
                Self.inodeItem(transaction.generation, size: size)
            )
            try transaction.dropReference(reference)
        }
    }
}

extension [UInt8] {
    func withUnsafeBytesThrowing(
        _ body: (UnsafeRawBufferPointer) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        try span.bytes.withUnsafeBytes(body)
    }
}

extension Filesystem {
    func bytes(_ logical: UInt64, _ count: Int) throws(FilesystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        try readData(logical: logical, into: &raw)
        return bytes
    }

    func write(_ logical: UInt64, _ bytes: [UInt8]) throws(FilesystemError) {
        try bytes.withUnsafeBytesThrowing { buffer throws(FilesystemError) in
            try write(logical: logical, from: buffer)
        }
    }
}

/// Bytes that differ from sector to sector and from seed to seed.
func pattern(_ seed: UInt64, count: Int) -> [UInt8] {
    var random = SeededGenerator(state: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count { bytes.append(littleEndian: random.next()) }
    return bytes
}

extension MkfsImage {
    /// The judge's steps that need no kernel: `btrfs check` in both modes complains of nothing.
    func expectCleanCheck() throws { try judge(paths, ["--no-kernel"]) }

    /// Changes the super block of every copy on every device, and gives each its right checksum.
    func changeSuperBlocks(_ change: (inout [UInt8]) -> Void) throws {
        for device in paths.indices {
            for offset in [64 << 10, 64 << 20] {
                guard var bytes = try? read(device: device, at: offset, count: 4096),
                    bytes.count == 4096, SuperBlock.hasSignature(bytes.span.bytes)
                else { continue }
                let type = try SuperBlock(bytes.span.bytes, physical: UInt64(offset)).checksumType
                change(&bytes)
                var span = bytes.mutableSpan
                var raw = span.mutableBytes
                type.seal(block: &raw)
                try write(bytes, device: device, at: offset)
            }
        }
    }
}

/// Expects a file system's error of this code; returns its words.
@discardableResult
func expectRefusal(
    _ code: FilesystemError.Code,
    _ location: SourceLocation = #_sourceLocation,
    _ body: () throws(FilesystemError) -> Void
) -> String {
    do throws(FilesystemError) {
        try body()
        Issue.record("not refused", sourceLocation: location)
        return ""
    } catch {
        #expect(error.code == code, "\(error.message)", sourceLocation: location)
        return error.message
    }
}
