//===-- TreePath.swift - the blocks from a tree's root to one place in a leaf -------------------===//
// One block and slot a level, level 0 being the leaf: in a node the slot of the child that the path
// goes through, in the leaf the slot of an item, or the one behind the last. Costs no allocation.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

struct TreePath {
    private var blocks = InlineArray<8, TreeBlock?>(repeating: nil)
    private var slots = InlineArray<8, Int>(repeating: 0)
    /// Level of the root; -1 in a path that leads nowhere yet.
    private(set) var rootLevel = -1

    subscript(level: Int) -> TreeBlock { blocks[level]! }

    var leaf: TreeBlock { self[0] }

    var slot: Int {
        get { slots[0] }
        set { slots[0] = newValue }
    }

    func slot(_ level: Int) -> Int { slots[level] }

    /// The block on the next level down, on the way from the root; the slot follows later.
    mutating func set(_ level: Int, _ block: TreeBlock, slot: Int) {
        blocks[level] = block
        slots[level] = slot
        if level > rootLevel { rootLevel = level }
    }

    /// The same contents at another address.
    mutating func replace(_ level: Int, _ block: TreeBlock) {
        blocks[level] = block
    }

    /// Forgets every level.
    mutating func clear() {
        for level in 0..<8 { blocks[level] = nil }
        rootLevel = -1
    }

    /// Every key of the leaf is under this one, which the next leaf starts with; nil: it is the
    /// last leaf.
    var upperBound: Key? {
        var level = 1
        while level <= rootLevel {
            let node = self[level]
            if slots[level] + 1 < node.itemCount { return node.key(slots[level] + 1) }
            level += 1
        }
        return nil
    }

    /// Whether the leaf is the place for `key`, judged from the leaf's own first key.
    func covers(_ key: Key) -> Bool {
        guard rootLevel >= 0, leaf.itemCount > 0, !(key < leaf.key(0)) else { return false }
        guard let upperBound else { return true }
        return key < upperBound
    }
}
