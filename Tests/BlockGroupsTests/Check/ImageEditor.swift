// Plants faults: changes items, blocks and super blocks of an image so that only the fault is wrong,
// every checksum and every copy in order. Works on a file system of one device, chunks single or dup.

import BGDevices
import BGDiskFormat
import BGTrees
import Foundation
import BGTestSupport
import Testing

@testable import BlockGroups

/// A fault that takes a new item finds no room for it in its leaf.
struct LeafIsFull: Error {}

/// One item of a leaf.
struct Item {
    var key: Key
    var data: [UInt8]
}

extension [UInt8] {
    /// A little-endian number of `count` bytes.
    func number(_ offset: Int, _ count: Int = 8) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(self[offset + $1]) << UInt64(8 * $1) }
    }

    mutating func set(_ offset: Int, _ value: UInt64, _ count: Int = 8) {
        for index in 0..<count {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
        }
    }

    mutating func add(_ offset: Int, _ value: UInt64, _ count: Int = 8) {
        set(offset, number(offset, count) &+ value, count)
    }
}

final class ImageEditor {
    let device: MemoryDevice
    private let image: MkfsImage
    private let volume: Volume
    private let source: VolumeTreeSource
    let superBlock: SuperBlock
    /// Bytes before the changes, last change last.
    private var saved: [(Int, [UInt8])] = []

    init(_ image: MkfsImage) throws {
        self.image = image
        device = try MemoryDevice(image)
        volume = try Volume(devices: [device])
        source = VolumeTreeSource(volume)
        try loadChunks(TreeReader(source), into: volume)
        superBlock = volume.superBlock
    }

    // MARK: finding

    func root(_ tree: UInt64) throws -> TreeRoot {
        let top = TreeRoot(
            treeID: 1,
            logical: superBlock.root,
            level: superBlock.rootLevel,
            generation: superBlock.generation
        )
        switch tree {
        case 1: return top
        case 3:
            return TreeRoot(
                treeID: 3,
                logical: superBlock.chunkRoot,
                level: superBlock.chunkRootLevel,
                generation: superBlock.chunkRootGeneration
            )
        default:
            var cursor = TreeCursor(TreeReader(source), top)
            try #require(try cursor.seek(Key(tree, .rootItem, 0)))
            try #require(cursor.key.objectid == tree && cursor.key.type == .rootItem)
            let item = try cursor.withItem { data throws(FilesystemError) in
                try RootItem(key: cursor.key, data, superBlock.limits)
            }
            return TreeRoot(
                treeID: tree,
                logical: item.logical,
                level: item.level,
                generation: item.generation
            )
        }
    }

    /// Addresses of the leaves of a tree, in order.
    func leaves(_ tree: UInt64) throws -> [UInt64] {
        var cursor = TreeCursor(TreeReader(source), try root(tree))
        var found: [UInt64] = []
        var isThere = try cursor.seek(.min)
        while isThere {
            if found.last != cursor.leaf.logical { found.append(cursor.leaf.logical) }
            isThere = try cursor.next()
        }
        return found.isEmpty ? [try root(tree).logical] : found
    }

    private func places(_ logical: UInt64) throws -> [Int] {
        let chunk = try #require(volume.chunkMap.chunk(at: logical))
        return chunk.item.stripes.map { Int($0.physical + logical - chunk.item.logical) }
    }

    // MARK: changing

    private func replace(_ physical: Int, _ bytes: [UInt8]) throws {
        saved.append((physical, device.bytes(at: physical, bytes.count)))
        device.replace(at: physical, with: bytes)
        try image.write(bytes, at: physical)
    }

    /// Takes every change back.
    func restore() throws {
        for (physical, bytes) in saved.reversed() {
            device.replace(at: physical, with: bytes)
            try image.write(bytes, at: physical)
        }
        saved.removeAll()
    }

    private func sealed(_ bytes: [UInt8]) -> [UInt8] {
        var block = bytes
        var span = block.mutableSpan
        var raw = span.mutableBytes
        superBlock.checksumType.seal(block: &raw)
        return block
    }

    /// Changes a block in all its copies.
    ///
    /// - Parameter copies: which ones; nil: all.
    func editBlock(
        _ logical: UInt64,
        seals: Bool = true,
        copies: Range<Int>? = nil,
        _ change: (inout [UInt8]) throws -> Void
    ) throws {
        let places = try places(logical)
        for (number, physical) in places.enumerated() where copies?.contains(number) ?? true {
            var bytes = device.bytes(at: physical, Int(superBlock.nodeSize))
            try change(&bytes)
            try replace(physical, seals ? sealed(bytes) : bytes)
        }
    }

    /// Changes the primary super block, and the other copy where there is one.
    func editSuper(copies: Range<Int> = 0..<2, _ change: (inout [UInt8]) -> Void) throws {
        for (number, physical) in [64 << 10, 64 << 20].enumerated()
        where copies.contains(number) && physical + 4096 <= device.byteCount {
            var bytes = device.bytes(at: physical, 4096)
            change(&bytes)
            try replace(physical, sealed(bytes))
        }
    }

    /// Changes a byte of the super block and not its sum.
    func breakSuper() throws {
        try replace((64 << 10) + 4000, [device[(64 << 10) + 4000] ^ 0x55])
    }

    /// Changes data, of which there is one copy.
    func editData(_ logical: UInt64, _ change: (inout UInt8) -> Void) throws {
        for physical in try places(logical) {
            var byte = device[physical]
            change(&byte)
            try replace(physical, [byte])
        }
    }

    private func items(_ block: [UInt8]) -> [Item] {
        (0..<Int(block.number(96, 4))).map { slot in
            let entry = 101 + slot * 25
            let start = 101 + Int(block.number(entry + 17, 4))
            return Item(
                key: Key(
                    block.number(entry),
                    KeyType(rawValue: block[entry + 8]),
                    block.number(entry + 9)
                ),
                data: Array(block[start..<start + Int(block.number(entry + 21, 4))])
            )
        }
    }

    private func pack(_ items: [Item], into block: inout [UInt8]) throws {
        var end = block.count
        block.set(96, UInt64(items.count), 4)
        for (slot, item) in items.enumerated() {
            let entry = 101 + slot * 25
            end -= item.data.count
            try #require(end >= 101 + items.count * 25, "the leaf has no room")
            block.set(entry, item.key.objectid)
            block[entry + 8] = item.key.type.rawValue
            block.set(entry + 9, item.key.offset)
            block.set(entry + 17, UInt64(end - 101), 4)
            block.set(entry + 21, UInt64(item.data.count), 4)
            block.replaceSubrange(end..<end + item.data.count, with: item.data)
        }
    }

    /// Changes the items of one leaf.
    func editItems(_ leaf: UInt64, _ change: (inout [Item]) -> Void) throws {
        try editBlock(leaf) { block in
            var items = items(block)
            change(&items)
            try pack(items, into: &block)
        }
    }

    private func fits(_ items: [Item]) -> Bool {
        let bytes = items.reduce(101) { $0 + 25 + $1.data.count }
        return bytes <= Int(superBlock.nodeSize)
    }

    /// Changes the items of the first leaf of a tree in which `change` finds what it wants (and
    /// returns true).
    func editLeaf(_ tree: UInt64, _ change: (inout [Item]) -> Bool) throws {
        for logical in try leaves(tree) {
            let physical = try places(logical)[0]
            var items = items(device.bytes(at: physical, Int(superBlock.nodeSize)))
            guard change(&items) else { continue }
            guard fits(items) else { throw LeafIsFull() }
            try editBlock(logical) { try pack(items, into: &$0) }
            return
        }
        Issue.record("tree \(tree) has no such item")
    }

    /// Changes the first item for which `isWanted` holds.
    func editItem(
        _ tree: UInt64,
        _ isWanted: (Item) -> Bool,
        _ change: (inout Item) -> Void
    ) throws {
        try editLeaf(tree) { items in
            guard let index = items.firstIndex(where: isWanted) else { return false }
            change(&items[index])
            return true
        }
    }

    func removeItem(_ tree: UInt64, _ isWanted: (Item) -> Bool) throws {
        try editLeaf(tree) { items in
            guard let index = items.firstIndex(where: isWanted) else { return false }
            items.remove(at: index)
            return true
        }
    }

    /// Inserts an item where it sorts: into the last leaf that begins below it.
    ///
    /// - Throws: `LeafIsFull`.
    func insertItem(_ tree: UInt64, _ item: Item) throws {
        var wanted: (logical: UInt64, items: [Item])?
        for logical in try leaves(tree) {
            let physical = try places(logical)[0]
            let items = items(device.bytes(at: physical, Int(superBlock.nodeSize)))
            if let first = items.first, first.key < item.key { wanted = (logical, items) }
        }
        guard let (logical, items) = wanted else {
            throw ToolFailure(description: "tree \(tree) has nothing below \(item.key)")
        }
        var changed = items
        let index = items.lastIndex { $0.key < item.key } ?? 0
        changed.insert(item, at: index + 1)
        guard fits(changed) else { throw LeafIsFull() }
        try editBlock(logical) { try pack(changed, into: &$0) }
    }

    /// The first item for which `isWanted` holds.
    func find(_ tree: UInt64, _ isWanted: (Item) -> Bool) throws -> Item {
        for logical in try leaves(tree) {
            let physical = try places(logical)[0]
            let items = items(device.bytes(at: physical, Int(superBlock.nodeSize)))
            if let item = items.first(where: isWanted) { return item }
        }
        throw ToolFailure(description: "tree \(tree) has no such item")
    }

    // MARK: checking

    /// What our checker says.
    func check(_ options: CheckOptions = CheckOptions()) throws -> [CheckFault] {
        var faults: [CheckFault] = []
        _ = try Filesystem.check(
            Volume(devices: [device]),
            options,
            { _ in true },
            { faults.append($0) }
        )
        return faults
    }

    /// Whether btrfs check finds errors.
    func btrfsCheckComplains(_ mode: String) -> Bool {
        do {
            try run("btrfs", ["check", "--mode", mode] + image.paths)
            return false
        } catch {
            return true
        }
    }
}
