// Blocks that two subvolume trees share. This library makes no snapshots, so the tests make them as the
// kernel does: a copy of the root block, one more reference for everything below it. Then either tree, or
// both, change at random, and every reference is compared with what the trees lead to.
//
// Replay with BG_SEED=…; BG_TEST_SCALE=n plays n times as many steps.

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees

extension Fixture {
    /// Makes tree `snapshot` a copy of `source` as it was committed last.
    func snapshot(_ source: UInt64, as snapshot: UInt64) throws {
        try store.commit()
        let state = store.state
        try store.change { transaction throws(FilesystemError) in
            var item = try transaction.rootItem(of: source)
            let root = try state.block(.root(of: transaction.tree(source).root))
            let tree = Tree(
                TreeRoot(treeID: snapshot, logical: 0, level: 0, generation: 0),
                in: state
            )
            let copy = try state.allocateBlock(of: tree, level: root.level, hint: 0)
            copy.bytes.replaceSubrange(
                TreeBlock.Layout.headerSize...,
                with: root.bytes[TreeBlock.Layout.headerSize...]
            )
            copy.bytes.replaceSubrange(96..<100, with: root.bytes[96..<100])
            for child in try state.children(of: copy) {
                state.addReference(to: child, child.implicit(of: snapshot), 1)
            }
            tree.setRoot(copy)
            item.lastSnapshot = transaction.generation
            try transaction.setRootItem(item, of: source)
            item.objectid = snapshot
            let key = Key(snapshot, .rootItem, transaction.generation)
            try state.trees.root.insert(key, item.encoded)
            let open = OpenTree(tree, key: key, item: item, recordedRoot: tree.root)
            open.isItemChanged = true
            state.openTrees[snapshot] = open
        }
        try store.commit()
    }
}

/// Trees that share, and what each should hold.
private struct Family {
    let fixture: Fixture
    var items: [UInt64: [Key: [UInt8]]] = [:]
    var random: SeededGenerator

    init(nodeSize: UInt32, seed: UInt64) throws {
        fixture = try Fixture(
            FixtureFeatures(nodeSize: nodeSize),
            metadataBytes: 64 << 20,
            dataBytes: 32 << 20
        )
        random = SeededGenerator(state: seed)
        items[Fixture.tree] = fixture.items
    }

    mutating func snapshot(_ source: UInt64, as snapshot: UInt64) throws {
        try fixture.snapshot(source, as: snapshot)
        items[snapshot] = items[source]
        try check()
    }

    mutating func change(_ tree: UInt64) throws {
        let number = UInt64(random.below(800))
        if random.below(2) == 0 {
            let key = Key(1000 + number, .inodeItem, 0)
            let data = [UInt8](repeating: UInt8(number & 0xff), count: random.below(100))
            try set(tree, key, random.below(3) == 0 ? nil : data)
        } else {
            try changeFile(tree, Key(300 + number % 20, .extentData, number / 20 << 16))
        }
    }

    mutating func set(_ tree: UInt64, _ key: Key, _ data: [UInt8]?) throws {
        let old = items[tree]?[key]
        try fixture.store.change { transaction throws(FilesystemError) in
            let tree = try transaction.tree(tree)
            if old != nil { try tree.remove(key) }
            if let data { try tree.insert(key, data) }
        }
        items[tree]?[key] = data
    }

    /// Removes a file extent, or writes one, of an extent of its own or of one that is there.
    mutating func changeFile(_ tree: UInt64, _ key: Key) throws {
        let other = items[tree]!.keys.filter { $0.type == .extentData }.sorted()
            .randomElement(using: &random)
        let old = items[tree]?[key].map(part)
        var new: ModelPart?
        var isNew = false
        if let other, random.below(3) == 0 {
            new = part(items[tree]![other]!)
        } else if random.below(3) > 0 {
            new = ModelPart(extent: try fixture.host.claimData(4096), length: 4096)
            isNew = true
        }
        try fixture.store.change { transaction throws(FilesystemError) in
            let files = try transaction.tree(tree)
            if let new {
                let reference = Fixture.reference(key, new, tree: tree)
                if isNew {
                    try transaction.recordExtent(reference)
                } else {
                    try transaction.addReference(reference)
                }
            }
            if let old {
                try transaction.dropReference(Fixture.reference(key, old, tree: tree))
                try files.remove(key)
            }
            if let new { try files.insert(key, Fixture.fileExtent(new)) }
        }
        items[tree]?[key] = new.map(Fixture.fileExtent)
    }

    private func part(_ data: [UInt8]) -> ModelPart {
        ModelPart(extent: data.u64(at: 21), length: data.u64(at: 29))
    }

    func check() throws {
        let facts = try FileSystemFacts(fixture.host.disk)
        facts.check()
        for (tree, items) in items {
            let wanted = items.map { TreeItem(key: $0.key, data: $0.value) }
                .sorted { $0.key < $1.key }
            #expect(facts.items[tree] == wanted, "items of tree \(tree)")
        }
        #expect(fixture.host.bytes(.claimed) == 0)
        #expect(fixture.host.bytes(.owned) == facts.superBlock.bytesUsed)
    }
}

@Suite struct SnapshotTransactionTests {
    @Test(arguments: [4096, 16384] as [UInt32])
    func snapshotsKeepWhatTheyShare(_ nodeSize: UInt32) throws {
        print("snapshots: BG_SEED=\(testSeed), node \(nodeSize)")
        var family = try Family(nodeSize: nodeSize, seed: testSeed)
        for _ in 0..<1500 { try family.change(Fixture.tree) }
        try family.snapshot(Fixture.tree, as: 256)
        var trees = [Fixture.tree, 256]
        // The owner of a shared leaf changes it: what the leaf points at is now the leaf's own affair.
        try family.set(Fixture.tree, Key(2000, .inodeItem, 0), [1])
        try family.fixture.store.commit()
        try family.check()
        #expect(try FileSystemFacts(family.fixture.host.disk).extents.values.contains { $0.isFull })
        for round in 0..<12 * testScale {
            for _ in 0..<1 + family.random.below(60) {
                try family.change(trees[family.random.below(trees.count)])
            }
            try family.fixture.store.commit()
            try family.check()
            if round % 3 == 0 && trees.count < 6 {
                let source = trees[family.random.below(trees.count)]
                let snapshot = 256 + UInt64(trees.count)
                try family.snapshot(source, as: snapshot)
                trees.append(snapshot)
            }
            if round % 4 == 1 { try family.fixture.reopen() }
        }
        // Emptied, each tree lets go of what it has, and nothing is left but the trees' own blocks.
        for tree in trees {
            for key in family.items[tree]!.keys.sorted() where key.objectid > 256 {
                if key.type == .extentData {
                    let data = family.items[tree]![key]!
                    let part = ModelPart(extent: data.u64(at: 21), length: data.u64(at: 29))
                    try family.fixture.store.change { transaction throws(FilesystemError) in
                        try transaction.dropReference(Fixture.reference(key, part, tree: tree))
                        try transaction.tree(tree).remove(key)
                    }
                    family.items[tree]?[key] = nil
                } else {
                    try family.set(tree, key, nil)
                }
            }
            try family.fixture.store.commit()
            try family.check()
        }
        let facts = try FileSystemFacts(family.fixture.host.disk)
        #expect(facts.extents.values.allSatisfy { $0.level != nil })
    }
}
