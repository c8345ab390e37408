// Walks over trees built in memory, whole and damaged.
// Not covered here: items' fields (BGDiskFormatTests), real images (BlockGroupsTests).

import BGDiskFormat
import Testing

@testable import BGTrees

/// A type that no check knows, so that items may hold anything.
private let plain = KeyType(rawValue: 1)

private func keys(_ count: Int) -> [Key] {
    (0..<count).map { Key(UInt64($0 / 3 + 1), plain, UInt64($0 % 3) * 10) }
}

private func walk(
    _ tree: FakeTree,
    _ root: TreeRoot,
    from key: Key = .min
) throws(FilesystemError) -> [Key] {
    var cursor = TreeCursor(TreeReader(tree), root)
    var found: [Key] = []
    var more = try cursor.seek(key)
    while more {
        found.append(cursor.key)
        more = try cursor.next()
    }
    return found
}

/// Expects a walk over the whole tree to end in `.corrupt` with these words.
private func expectCorrupt(_ words: String, _ tree: FakeTree, _ root: TreeRoot) {
    do {
        let found = try walk(tree, root)
        Issue.record("walk found \(found.count) items instead of: \(words)")
    } catch {
        #expect(error.code == .corrupt)
        #expect(error.message.contains(words), "\(error.message)")
    }
}

@Suite struct TreeCursorTests {
    @Test(arguments: [1, 2, 3, 7, 8, 100, 343])
    func aWalkFindsEveryKeyInOrder(count: Int) throws {
        let tree = FakeTree()
        let all = keys(count)
        let root = tree.build(all, fanout: 7)
        #expect(try walk(tree, root) == all)
    }

    @Test func aSearchFindsTheFirstKeyAtOrAboveTheOneAsked() throws {
        let tree = FakeTree()
        let all = keys(200)
        let root = tree.build(all, fanout: 5)
        for objectid in UInt64(0)...68 {
            for offset in UInt64(0)...31 {
                let key = Key(objectid, plain, offset)
                var cursor = TreeCursor(TreeReader(tree), root)
                let found = try cursor.seek(key) ? cursor.key : nil
                #expect(found == all.first { $0 >= key }, "\(key)")
            }
        }
    }

    @Test func anItemsDataIsTheOneItsKeyWasStoredWith() throws {
        let tree = FakeTree()
        let all = keys(100)
        let root = tree.build(all, fanout: 4)
        var cursor = TreeCursor(TreeReader(tree), root)
        for (number, key) in all.enumerated() {
            #expect(try cursor.seek(key))
            let byte = try cursor.withItem { (data) throws(FilesystemError) in data.u8(at: 0) }
            #expect(byte == UInt8(truncatingIfNeeded: number))
        }
    }

    @Test func anEmptyTreeHasNothing() throws {
        let tree = FakeTree()
        tree.put(0x10000, tree.leaf(0x10000, []))
        let root = TreeRoot(treeID: 2, logical: 0x10000, level: 0, generation: 7)
        #expect(try walk(tree, root) == [])
    }

    @Test func theCacheSparesUpperNodes() throws {
        let tree = FakeTree()
        let all = keys(343)
        let root = tree.build(all, fanout: 7)
        let reader = TreeReader(tree)
        for key in all {
            var cursor = TreeCursor(reader, root)
            #expect(try cursor.seek(key))
        }
        // 57 blocks; a place may be fought over, but not by every search.
        #expect(tree.reads < 343)
    }
}

@Suite struct DamagedTreeTests {
    @Test func aNodeThatPointsToItselfIsRefused() {
        let tree = FakeTree()
        tree.put(0x10000, tree.node(0x10000, level: 1, [(Key(1, plain, 0), 0x10000)]))
        expectCorrupt(
            "points to itself",
            tree,
            TreeRoot(treeID: 2, logical: 0x10000, level: 1, generation: 7)
        )
    }

    @Test func twoNodesThatPointToEachOtherAreRefused() {
        let tree = FakeTree()
        tree.put(0x10000, tree.node(0x10000, level: 2, [(Key(1, plain, 0), 0x20000)]))
        tree.put(0x20000, tree.node(0x20000, level: 2, [(Key(1, plain, 0), 0x10000)]))
        expectCorrupt(
            "level 2, its parent says 1",
            tree,
            TreeRoot(treeID: 2, logical: 0x10000, level: 2, generation: 7)
        )
    }

    @Test func aLeafReferencedTwiceIsRefused() {
        let tree = FakeTree()
        tree.put(0x20000, tree.leaf(0x20000, [(Key(1, plain, 0), [1])]))
        tree.put(
            0x10000,
            tree.node(
                0x10000,
                level: 1,
                [(Key(1, plain, 0), 0x20000), (Key(2, plain, 0), 0x20000)]
            )
        )
        expectCorrupt(
            "first key is not",
            tree,
            TreeRoot(treeID: 2, logical: 0x10000, level: 1, generation: 7)
        )
    }

    @Test func aLeafThatReachesIntoTheNextOnesRangeIsRefused() {
        let tree = FakeTree()
        tree.put(0x20000, tree.leaf(0x20000, [(Key(1, plain, 0), []), (Key(9, plain, 0), [])]))
        tree.put(0x30000, tree.leaf(0x30000, [(Key(5, plain, 0), [])]))
        tree.put(
            0x10000,
            tree.node(
                0x10000,
                level: 1,
                [(Key(1, plain, 0), 0x20000), (Key(5, plain, 0), 0x30000)]
            )
        )
        expectCorrupt(
            "next block's range",
            tree,
            TreeRoot(treeID: 2, logical: 0x10000, level: 1, generation: 7)
        )
    }

    @Test func aTreeOfMoreBlocksThanTheFileSystemUsesIsRefused() {
        let tree = FakeTree(blocksMax: 5)
        let root = tree.build(keys(100), fanout: 7)
        expectCorrupt("more blocks than", tree, root)
    }

    @Test func anEmptyLeafBelowANodeIsRefused() {
        let tree = FakeTree()
        tree.put(0x20000, tree.leaf(0x20000, []))
        tree.put(0x10000, tree.node(0x10000, level: 1, [(Key(1, plain, 0), 0x20000)]))
        expectCorrupt(
            "empty, and not the root",
            tree,
            TreeRoot(treeID: 2, logical: 0x10000, level: 1, generation: 7)
        )
    }

    /// Each change of one field of a leaf, and the words that refuse it.
    static let changes: [(Int, Int, UInt64, String)] = [
        (32, 1, 0, "another file system"),
        (48, 8, 0x30000, "says it is block 196608"),
        (56, 1, 0, "not marked as written"),
        (63, 1, 0, "back reference revision 0"),
        (80, 8, 0, "generation 0"),
        (80, 8, 101, "generation 101"),
        (80, 8, 8, "generation 8, its parent says 7"),
        (88, 8, 5, "belongs to tree 5"),
        (96, 4, 0xffff_ffff, "4294967295 items"),
        (96, 4, 160, "160 items"),
        (96, 4, 0, "empty"),
        (100, 1, 1, "key is not above"),
        (100, 1, 8, "level 8"),
        (101, 8, 3, "key is not above"),
        (101 + 17, 4, 0xffff_fff0, "item data ends at"),
        (101 + 17, 4, 3000, "item data ends at"),
        (101 + 21, 4, 0xffff_ffff, "item data ends at"),
        (101 + 25 + 21, 4, 0, "item data ends at"),
    ]

    @Test(arguments: changes.indices)
    func aChangedFieldIsNamed(index: Int) {
        let (offset, count, value, words) = Self.changes[index]
        let tree = FakeTree()
        var leaf = tree.leaf(0x20000, [(Key(1, plain, 0), [1, 2]), (Key(2, plain, 0), [3])])
        leaf.put(value, count, at: offset)
        tree.put(0x20000, leaf.sealed())
        tree.put(0x10000, tree.node(0x10000, level: 1, [(Key(1, plain, 0), 0x20000)]))
        let root = TreeRoot(treeID: 2, logical: 0x10000, level: 1, generation: 7)
        expectCorrupt(words, tree, root)
        // Without a new checksum, the checksum alone refuses it.
        tree.put(0x20000, leaf)
        expectCorrupt("checksum", tree, root)
    }

    @Test func aBadCopyIsReadFromTheNextMirrorAndCounted() throws {
        let tree = FakeTree(mirrors: 3)
        let all = keys(50)
        let root = tree.build(all, fanout: 7)
        tree.blocks[0][root.logical]![200] ^= 1
        tree.blocks[1][root.logical] = nil
        #expect(try walk(tree, root) == all)
        #expect(tree.corrected == [root.logical])
    }

    @Test func whenEveryCopyIsBadTheErrorNamesTheBlock() {
        let tree = FakeTree(mirrors: 2)
        let root = tree.build(keys(50), fanout: 7)
        tree.blocks[0][root.logical] = nil
        tree.blocks[1][root.logical]![200] ^= 1
        expectCorrupt("root=2 block=\(root.logical), checksum does not match", tree, root)
    }

    @Test func whenNoCopyCanBeReadTheErrorIsTheDevices() {
        let tree = FakeTree(mirrors: 2)
        let root = tree.build(keys(5), fanout: 7)
        tree.blocks[0][root.logical] = nil
        tree.blocks[1][root.logical] = nil
        do {
            _ = try walk(tree, root)
            Issue.record("read a block that is nowhere")
        } catch {
            #expect(error.code == .io)
        }
    }
}
