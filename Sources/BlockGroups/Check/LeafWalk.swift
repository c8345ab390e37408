//===-- LeafWalk.swift - every leaf of a tree, in order, past what cannot be read ---------------===//
// Goes on behind a bad block, which TreeCursor does not; counts references where asked to.
//
// Ends on damaged bytes too: a child is one level below its parent, and keys of children lie in
// ranges that do not overlap, so no block is met twice in one tree (see TreeCursor.swift).
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

/// Where a half-dropped tree begins: what lies before was dropped already.
struct DropProgress {
    let key: Key
    let level: UInt8
}

struct LeafWalk {
    private struct Step {
        let block: TreeBlock
        var slot: Int
        let upperBound: Key?
        /// The walk that meets a block first counts what it refers to.
        let counts: Bool
        /// On the way from the root to where dropping stopped.
        let isOnDropPath: Bool
    }

    private let checker: Checker
    private let root: TreeRoot
    private let isAccounting: Bool
    private let drop: DropProgress?
    private var path: [Step] = []
    private var hasBegun = false
    /// Blocks of the tree that could not be read so far.
    private(set) var lostBlocks = 0
    var isWhole: Bool { lostBlocks == 0 }
    /// Whether the leaf that `next` gave was met for the first time; its references are counted.
    private(set) var isFirstVisit = false

    init(
        _ checker: Checker,
        _ root: TreeRoot,
        isAccounting: Bool,
        drop: DropProgress? = nil
    ) {
        self.checker = checker
        self.root = root
        self.isAccounting = isAccounting
        self.drop = drop
    }

    /// The next leaf; nil behind the last one, or when the check was stopped.
    mutating func next() -> TreeBlock? {
        if !hasBegun {
            hasBegun = true
            let leaf = enter(.root(of: root), isOnDropPath: drop != nil)
            if leaf != nil { return leaf }
        }
        while let last = path.indices.last, !checker.isStopped {
            let step = path[last]
            guard step.slot < step.block.itemCount else {
                path.removeLast()
                continue
            }
            path[last].slot += 1
            if isAccounting, step.counts {
                checker.countPointer(from: step.block, step.slot)
            }
            let isLast = step.slot + 1 == step.block.itemCount
            let expected = BlockExpectation(
                logical: step.block.childLogical(step.slot),
                level: step.block.level - 1,
                generation: step.block.childGeneration(step.slot),
                treeID: root.treeID,
                firstKey: step.block.key(step.slot),
                upperBound: isLast ? step.upperBound : step.block.key(step.slot + 1)
            )
            let leaf = enter(expected, isOnDropPath: step.isOnDropPath && isDropSlot(step))
            if leaf != nil { return leaf }
        }
        return nil
    }

    /// Reads a block; a leaf is returned, a node goes onto the path.
    private mutating func enter(
        _ expected: BlockExpectation,
        isOnDropPath: Bool
    ) -> TreeBlock? {
        let isNew = isAccounting && !checker.wasVisited(expected.logical)
        guard
            let block = checker.readBlock(
                expected,
                everyCopy: isNew && checker.options.readsAllCopies
            )
        else {
            lostBlocks += 1
            if isAccounting { checker.referencesAreWhole = false }
            return nil
        }
        isFirstVisit = false
        if isAccounting {
            isFirstVisit = checker.visit(block, in: root)
            if isFirstVisit {
                checker.countBlock()
                if block.isLeaf { checker.countDataReferences(of: block) }
            }
        }
        if block.isLeaf { return block }
        path.append(
            Step(
                block: block,
                slot: isOnDropPath ? firstSlot(of: block) : 0,
                upperBound: expected.upperBound,
                counts: isFirstVisit,
                isOnDropPath: isOnDropPath
            )
        )
        return nil
    }

    /// The slot that leads to where dropping stopped; the ones before it are gone.
    private func firstSlot(of block: TreeBlock) -> Int {
        guard let drop, block.level >= drop.level, drop.level > 0 else { return 0 }
        let slot = block.lowerBound(drop.key)
        if slot < block.itemCount, block.key(slot) == drop.key { return slot }
        return max(0, slot - 1)
    }

    private func isDropSlot(_ step: Step) -> Bool {
        guard let drop else { return false }
        return step.block.level > drop.level && step.slot == firstSlot(of: step.block)
    }
}

extension Checker {
    /// Calls `note` with every item of a leaf. An error of one goes to `failed`, with its place; the others
    /// are looked at all the same.
    func forEachItem(
        of leaf: TreeBlock,
        in tree: UInt64,
        _ note: (_ slot: Int, _ data: RawSpan) throws(FilesystemError) -> Void,
        failed: (_ key: Key, _ error: FilesystemError) -> Void
    ) {
        for slot in 0..<leaf.itemCount {
            do throws(FilesystemError) {
                try leaf.withItem(slot) { (data) throws(FilesystemError) in try note(slot, data) }
            } catch {
                failed(leaf.key(slot), error.located(root: tree, logical: leaf.logical, slot: slot))
            }
        }
    }
}
