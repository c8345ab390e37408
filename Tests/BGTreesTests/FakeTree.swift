// A tree in memory: blocks by address, one or more mirrors, any of which a test may spoil.

import BGDiskFormat
import BGTrees

final class FakeTree: TreeBlockSource {
    static let uuid = FilesystemUUID(high: 0x1122_3344_5566_7788, low: 0x99aa_bbcc_ddee_ff00)

    let geometry: TreeGeometry
    var mirrors: Int
    /// By mirror, then address.
    var blocks: [[UInt64: [UInt8]]]
    var corrected: [UInt64] = []
    var reads = 0

    init(nodeSize: Int = 4096, mirrors: Int = 1, blocksMax: Int = 1000) {
        geometry = TreeGeometry(
            limits: FormatLimits(
                sectorSize: 4096,
                nodeSize: UInt32(nodeSize),
                generation: 100,
                incompat: .skinnyMetadata
            ),
            checksumType: .crc32c,
            metadataUUID: Self.uuid,
            blocksMax: blocksMax
        )
        self.mirrors = mirrors
        blocks = Array(repeating: [:], count: mirrors)
    }

    func mirrorCount(logical: UInt64) throws(FilesystemError) -> Int { mirrors }

    func readBlock(
        logical: UInt64,
        mirror: Int,
        into bytes: inout [UInt8]
    ) throws(FilesystemError) {
        reads += 1
        guard let found = blocks[mirror][logical] else {
            throw FilesystemError(.io, "fake", "nothing there", logical: logical)
        }
        bytes = found
    }

    func noteCorrectedBlock(logical: UInt64, badMirrors: Int) { corrected.append(logical) }

    // MARK: building

    func put(_ logical: UInt64, _ bytes: [UInt8]) {
        for mirror in 0..<mirrors { blocks[mirror][logical] = bytes }
    }

    func leaf(
        _ logical: UInt64,
        _ items: [(Key, [UInt8])],
        tree: UInt64 = 2,
        generation: UInt64 = 7
    ) -> [UInt8] {
        var bytes = header(logical, level: 0, items.count, tree, generation)
        var end = geometry.nodeSize - 101
        for (slot, item) in items.enumerated() {
            end -= item.1.count
            let at = 101 + slot * 25
            bytes.put(item.0, at: at)
            bytes.put(UInt64(end), 4, at: at + 17)
            bytes.put(UInt64(item.1.count), 4, at: at + 21)
            bytes.replaceSubrange((101 + end)..<(101 + end + item.1.count), with: item.1)
        }
        return bytes.sealed()
    }

    func node(
        _ logical: UInt64,
        level: UInt8,
        _ children: [(Key, UInt64)],
        tree: UInt64 = 2,
        generation: UInt64 = 7
    ) -> [UInt8] {
        var bytes = header(logical, level: level, children.count, tree, generation)
        for (slot, child) in children.enumerated() {
            let at = 101 + slot * 33
            bytes.put(child.0, at: at)
            bytes.put(child.1, 8, at: at + 17)
            bytes.put(7, 8, at: at + 25)
        }
        return bytes.sealed()
    }

    private func header(
        _ logical: UInt64,
        level: UInt8,
        _ count: Int,
        _ tree: UInt64,
        _ generation: UInt64
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: geometry.nodeSize)
        bytes.put(Self.uuid.high.byteSwapped, 8, at: 32)
        bytes.put(Self.uuid.low.byteSwapped, 8, at: 40)
        bytes.put(logical, 8, at: 48)
        bytes.put(1 | 1 << 56, 8, at: 56)
        bytes.put(generation, 8, at: 80)
        bytes.put(tree, 8, at: 88)
        bytes.put(UInt64(count), 4, at: 96)
        bytes[100] = level
        return bytes
    }

    /// A whole tree over `keys`, whose items hold their number in the sequence; `fanout` children
    /// or items a block.
    func build(_ keys: [Key], fanout: Int) -> TreeRoot {
        var next: UInt64 = 0x10000
        func place() -> UInt64 {
            defer { next += UInt64(geometry.nodeSize) }
            return next
        }
        var level: [(Key, UInt64)] = []
        for start in stride(from: 0, to: keys.count, by: fanout) {
            let range = start..<min(start + fanout, keys.count)
            let logical = place()
            put(logical, leaf(logical, range.map { (keys[$0], [UInt8(truncatingIfNeeded: $0)]) }))
            level.append((keys[start], logical))
        }
        var height: UInt8 = 0
        while level.count > 1 {
            height += 1
            var above: [(Key, UInt64)] = []
            for start in stride(from: 0, to: level.count, by: fanout) {
                let children = Array(level[start..<min(start + fanout, level.count)])
                let logical = place()
                put(logical, node(logical, level: height, children))
                above.append((children[0].0, logical))
            }
            level = above
        }
        return TreeRoot(treeID: 2, logical: level[0].1, level: height, generation: 7)
    }
}

extension [UInt8] {
    mutating func put(_ value: UInt64, _ count: Int, at offset: Int) {
        for index in 0..<count {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
        }
    }

    mutating func put(_ key: Key, at offset: Int) {
        put(key.objectid, 8, at: offset)
        self[offset + 8] = key.type.rawValue
        put(key.offset, 8, at: offset + 9)
    }

    /// With the right checksum for what is in it.
    func sealed() -> [UInt8] {
        var copy = self
        var span = copy.mutableSpan
        var bytes = span.mutableBytes
        ChecksumType.crc32c.seal(block: &bytes)
        return copy
    }
}
