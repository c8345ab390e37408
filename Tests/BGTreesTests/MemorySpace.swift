// A TreeSpace on plain memory that watches the trees: what is changed, freed and leaked, and that
// no block of a committed generation is touched. Any call can be made to fail.

import BGDiskFormat
import Testing

@testable import BGTrees

final class MemorySpace: TreeSpace {
    let geometry: TreeGeometry
    private(set) var generation: UInt64 = 1
    private var nextLogical: UInt64
    /// Every block that was ever made: an address is never used again.
    private(set) var blocks: [UInt64: TreeBlock] = [:]
    /// What the trees lead to, as far as they told.
    private(set) var live: Set<UInt64> = []
    /// The bytes that committed generations have on disk.
    private var committed: [UInt64: [UInt8]] = [:]
    /// Calls until one fails: of those that take space, and of those that read.
    var callsUntilNoSpace: Int?
    var callsUntilIO: Int?
    private(set) var copies = 0

    init(nodeSize: Int) {
        geometry = TreeGeometry(
            limits: FormatLimits(
                sectorSize: 4096,
                nodeSize: UInt32(nodeSize),
                generation: 1 << 40,
                incompat: .skinnyMetadata
            ),
            checksumType: .crc32c,
            metadataUUID: FakeTree.uuid,
            blocksMax: 1 << 30
        )
        nextLogical = 1 << 20
    }

    private func newLogical() -> UInt64 {
        defer { nextLogical += UInt64(geometry.nodeSize) }
        return nextLogical
    }

    private func countDown(
        _ calls: inout Int?,
        _ code: FilesystemError.Code
    ) throws(FilesystemError) {
        guard let left = calls else { return }
        calls = left - 1
        if left <= 0 { throw FilesystemError(code, "memory", "told to fail") }
    }

    // MARK: TreeSpace

    func block(_ expected: BlockExpectation) throws(FilesystemError) -> TreeBlock {
        try countDown(&callsUntilIO, .io)
        guard live.contains(expected.logical), let block = blocks[expected.logical] else {
            throw expected.corrupt("is not a block of a tree")
        }
        try block.check(against: expected)
        return block
    }

    func allocateBlock(
        of tree: Tree,
        level: UInt8,
        hint: UInt64
    ) throws(FilesystemError) -> TreeBlock {
        try countDown(&callsUntilNoSpace, .noSpace)
        let block = TreeBlock(
            empty: newLogical(),
            level: level,
            owner: tree.treeID,
            generation: generation,
            geometry: geometry,
            chunkTreeUUID: .zero
        )
        blocks[block.logical] = block
        live.insert(block.logical)
        return block
    }

    func blockForChange(_ block: TreeBlock, of tree: Tree) throws(FilesystemError) -> TreeBlock {
        guard block.generation != generation else { return block }
        try countDown(&callsUntilNoSpace, .noSpace)
        let copy = TreeBlock(
            copying: block,
            to: newLogical(),
            owner: tree.treeID,
            generation: generation
        )
        copies += 1
        blocks[copy.logical] = copy
        live.insert(copy.logical)
        #expect(live.remove(block.logical) != nil, "a block was copied that is in no tree")
        return copy
    }

    func freeBlock(_ block: TreeBlock, of tree: Tree) throws(FilesystemError) {
        #expect(block.generation == generation, "a block of an older generation was freed")
        #expect(live.remove(block.logical) != nil, "a block was freed twice")
    }

    // MARK: committing

    /// Starts the next generation; what is there now must never change again.
    func commit() {
        checkCommitted()
        for logical in live { committed[logical] = blocks[logical]!.bytes }
        // Blocks that are in no tree any more were checked for the last time.
        committed = committed.filter { live.contains($0.key) }
        blocks = blocks.filter { live.contains($0.key) }
        generation += 1
    }

    func checkCommitted() {
        for (logical, bytes) in committed {
            #expect(blocks[logical]!.bytes == bytes, "committed block \(logical) was changed")
        }
    }

    // MARK: checking

    struct Shape {
        var items: [TreeItem] = []
        var leaves = 0
        var nodes = 0
        /// Bytes of leaves that entries and data take, and that could.
        var bytesUsed = 0
        var bytesTotal = 0
    }

    /// Walks a whole tree and checks every block as if it came from a device, and that the tree's
    /// blocks are exactly the live ones.
    func check(_ tree: Tree, allowSingleChildRoot: Bool = false) throws -> Shape {
        var shape = Shape()
        var met: Set<UInt64> = []
        func visit(_ expected: BlockExpectation) throws {
            let block = try #require(blocks[expected.logical])
            #expect(met.insert(block.logical).inserted, "a block is in the tree twice")
            let sealed = TreeBlock(logical: block.logical, bytes: block.bytes.sealed())
            try sealed.checkContents(geometry, expected)
            try sealed.check(against: expected)
            #expect(block.owner == tree.treeID)
            if block.isLeaf {
                #expect(block.itemCount > 0 || expected.firstKey == nil, "an empty leaf")
                shape.leaves += 1
                shape.bytesUsed += block.bytesUsed
                shape.bytesTotal += block.dataSize
                for slot in 0..<block.itemCount {
                    shape.items.append(TreeItem(key: block.key(slot), data: block.itemData(slot)))
                }
                return
            }
            shape.nodes += 1
            #expect(
                block.itemCount > 1 || expected.firstKey != nil || allowSingleChildRoot,
                "a root with one child"
            )
            for slot in 0..<block.itemCount {
                let isLast = slot + 1 == block.itemCount
                try visit(
                    BlockExpectation(
                        logical: block.childLogical(slot),
                        level: block.level - 1,
                        generation: block.childGeneration(slot),
                        treeID: tree.treeID,
                        firstKey: block.key(slot),
                        upperBound: isLast ? expected.upperBound : block.key(slot + 1)
                    )
                )
            }
        }
        try visit(.root(of: tree.root))
        #expect(met == live, "blocks were leaked, or freed while in use")
        return shape
    }
}
