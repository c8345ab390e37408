// How full leaves get, by the order in which keys arrive.

import BGDiskFormat
import Testing

@testable import BGTrees

@Suite struct TreeFillTests {
    private func fill(
        _ nodeSize: Int,
        _ keys: [Key],
        dataBytes: ClosedRange<Int> = 20...160
    ) throws -> Double {
        let space = MemorySpace(nodeSize: nodeSize)
        let tree = try Tree(creating: 7, in: space)
        var random = Replay.Random(state: Replay.seed)
        for key in keys {
            let count = Int.random(in: dataBytes, using: &random)
            try tree.insert(key, [UInt8](repeating: 1, count: count))
        }
        let shape = try space.check(tree)
        #expect(shape.items.count == keys.count)
        return Double(shape.bytesUsed) / Double(shape.bytesTotal)
    }

    @Test(arguments: TreePlayer.nodeSizes)
    func ascendingKeysLeaveFullLeaves(nodeSize: Int) throws {
        let keys = (0..<(nodeSize / 2)).map { Key(UInt64($0), TreePlayer.plain, 0) }
        #expect(try fill(nodeSize, keys) >= 0.9)
    }

    @Test(arguments: TreePlayer.nodeSizes)
    func descendingKeysLeaveFullLeaves(nodeSize: Int) throws {
        let keys = (0..<(nodeSize / 2)).map { Key(UInt64($0), TreePlayer.plain, 0) }
        #expect(try fill(nodeSize, keys.reversed()) >= 0.9)
    }

    @Test(arguments: TreePlayer.nodeSizes)
    func randomKeysLeaveLeavesTwoThirdsFull(nodeSize: Int) throws {
        var random = Replay.Random(state: Replay.seed)
        let keys = (0..<nodeSize).map { Key(UInt64($0), TreePlayer.plain, 0) }.shuffled(
            using: &random
        )
        #expect(try fill(nodeSize, keys) >= 0.66)
    }

    /// Two runs that take turns in the middle of a tree, as names and files of a folder do.
    @Test(arguments: TreePlayer.nodeSizes)
    func runsInTheMiddleLeaveFullLeaves(nodeSize: Int) throws {
        var keys = (0..<20).map { Key(UInt64($0), TreePlayer.plain, 0) }
        for number in 0..<(nodeSize / 2) {
            keys.append(Key(5, TreePlayer.plain, UInt64(number + 1)))
            keys.append(Key(11, TreePlayer.plain, UInt64(number + 1)))
        }
        #expect(try fill(nodeSize, keys) >= 0.85)
    }
}
