// Random changes of a tree against a sorted array (TreePlayer.swift), over many generations, for
// every node size; with and without failures in the middle.
//
// Not covered here: references and space (TreeStore's tests), threads (one mutex guards a tree).

import BGDiskFormat
import Testing

@testable import BGTrees

@Suite struct TreeModelTests {
    @Test(arguments: TreePlayer.nodeSizes)
    func aTreeHoldsWhatASortedArrayHolds(nodeSize: Int) throws {
        for kind in TreePlayer.Items.allCases {
            var player = try TreePlayer(nodeSize: nodeSize, kind, seed: Replay.seed)
            try player.play(steps: 2000 * Replay.scale, failing: false)
            try player.empty()
        }
    }

    @Test(arguments: TreePlayer.nodeSizes)
    func aFailureInTheMiddleLeavesTheTreeAsItWas(nodeSize: Int) throws {
        for kind in TreePlayer.Items.allCases {
            var player = try TreePlayer(nodeSize: nodeSize, kind, seed: Replay.seed &+ 1)
            try player.fill()
            try player.play(steps: 500 * Replay.scale, failing: true)
            #expect(player.failures > 15, "\(player.note)")
        }
    }

    /// Several levels of nodes that split, even out and merge.
    @Test func aHighTreeGrowsAndShrinks() throws {
        let space = MemorySpace(nodeSize: 4096)
        let tree = try Tree(creating: 7, in: space)
        var random = Replay.Random(state: Replay.seed)
        let data = [UInt8](repeating: 3, count: tree.itemBytesMax / 2 + 1)
        let keys = (0..<20_000).map { Key(UInt64($0), TreePlayer.plain, 0) }
        for (index, key) in keys.shuffled(using: &random).enumerated() {
            try tree.insert(key, data)
            if index % 4000 == 0 { space.commit() }
        }
        #expect(tree.root.level >= 2)
        #expect(try space.check(tree).items.map(\.key) == keys)
        for (index, key) in keys.shuffled(using: &random).enumerated() {
            try tree.remove(key)
            if index % 4000 == 0 {
                space.commit()
                _ = try space.check(tree)
            }
        }
        #expect(try space.check(tree).items.isEmpty)
        #expect(tree.root.level == 0)
    }

    /// Failures while nodes split and merge: whatever fails, the tree has exactly the items that
    /// calls which returned put there.
    @Test func failuresInAHighTreeLoseNothing() throws {
        let space = MemorySpace(nodeSize: 4096)
        let tree = try Tree(creating: 7, in: space)
        var random = Replay.Random(state: Replay.seed)
        let data = [UInt8](repeating: 3, count: tree.itemBytesMax / 2 + 1)
        var held: Set<Key> = []
        var failures = 0
        for step in 0..<20_000 {
            let key = Key(UInt64.random(in: 0..<8000, using: &random), TreePlayer.plain, 0)
            if step % 3 == 0 { space.callsUntilNoSpace = Int.random(in: 0..<5, using: &random) }
            do throws(FilesystemError) {
                if held.contains(key) && step > 12_000 {
                    try tree.remove(key)
                    held.remove(key)
                } else if !held.contains(key) && (step < 12_000 || step % 4 == 0) {
                    try tree.insert(key, data)
                    held.insert(key)
                }
            } catch {
                #expect(error.code == .noSpace, "BG_SEED=\(Replay.seed): \(error.message)")
                failures += 1
            }
            space.callsUntilNoSpace = nil
            if step % 25 == 0 { space.commit() }
            if step % 2000 == 0 {
                let items = try space.check(tree, allowSingleChildRoot: true).items
                #expect(items.map(\.key) == held.sorted(), "BG_SEED=\(Replay.seed), step \(step)")
            }
        }
        #expect(failures > 1000)
    }

    @Test func removingTheLastItemFreesTheLeaf() throws {
        let space = MemorySpace(nodeSize: 4096)
        let tree = try Tree(creating: 7, in: space)
        let data = [UInt8](repeating: 1, count: tree.itemBytesMax)
        for number in 0..<3 { try tree.insert(Key(UInt64(number), TreePlayer.plain, 0), data) }
        #expect(try space.check(tree).leaves == 3)
        try tree.remove(Key(1, TreePlayer.plain, 0))
        #expect(try space.check(tree).leaves == 2)
        try tree.remove(Key(0, TreePlayer.plain, 0))
        #expect(tree.root.level == 0)
        try tree.remove(Key(2, TreePlayer.plain, 0))
        #expect(try space.check(tree).leaves == 1)
        #expect(tree.root.level == 0)
    }

    @Test(arguments: TreePlayer.nodeSizes)
    func anItemLongerThanALeafIsRefused(nodeSize: Int) throws {
        let space = MemorySpace(nodeSize: nodeSize)
        let tree = try Tree(creating: 7, in: space)
        let key = Key(1, TreePlayer.plain, 0)
        let long = [UInt8](repeating: 1, count: nodeSize - 101 - 25 + 1)
        #expect(throws: FilesystemError.self) { try tree.insert(key, long) }
        try tree.insert(key, Array(long.dropLast()))
        #expect(throws: FilesystemError.self) { try tree.replace(key, long) }
        #expect(try tree.item(key)?.count == nodeSize - 101 - 25)
    }

    @Test func aChangeCopiesOnlyThePathAndOnlyOnce() throws {
        let space = MemorySpace(nodeSize: 4096)
        let tree = try Tree(creating: 7, in: space)
        for number in 0..<5000 {
            try tree.insert(
                Key(UInt64(number), TreePlayer.plain, 0),
                [UInt8](repeating: 0, count: 100)
            )
        }
        space.commit()
        let before = space.copies
        let levels = Int(tree.root.level) + 1
        try tree.replace(Key(2500, TreePlayer.plain, 0), [UInt8](repeating: 1, count: 100))
        #expect(space.copies == before + levels)
        try tree.replace(Key(2500, TreePlayer.plain, 0), [UInt8](repeating: 2, count: 100))
        #expect(space.copies == before + levels)
        // What is not there, or is there already, costs nothing.
        space.commit()
        #expect(throws: FilesystemError.self) { try tree.remove(Key(2500, TreePlayer.plain, 1)) }
        #expect(throws: FilesystemError.self) {
            try tree.insert(Key(2500, TreePlayer.plain, 0), [])
        }
        #expect(space.copies == before + levels)
    }
}
