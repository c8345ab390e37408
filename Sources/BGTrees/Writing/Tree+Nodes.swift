//===-- Tree+Nodes.swift - room in a node, and how a tree grows and loses levels ----------------===//
// A node is given room before its children are split, from the top down, so that each step leaves
// the tree whole and a failure needs nothing undone.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension Tree {
    /// Makes room for one more pointer in the path's node on `level`, behind the path's slot; the
    /// path may lead through another node there afterwards. All of the path is changeable.
    func makePointerRoom(_ path: inout TreePath, level: Int) throws(FilesystemError) {
        guard path[level].itemCount == path[level].pointersMax else { return }
        if try movePointersToNeighbour(&path, level: level) { return }
        if level < path.rootLevel { try makePointerRoom(&path, level: level + 1) }
        let right = try allocateNeighbour(&path, level: level)
        let left = path[level]
        // Behind the last child, what is full stays full.
        let isAppend = path.slot(level) + 1 == left.itemCount
        let cut = isAppend ? left.itemCount - 1 : left.itemCount / 2
        path[level + 1].insertPointer(path.slot(level + 1) + 1, left.key(cut), to: right)
        dividePointers(&path, level: level, left, right, cut, leftSlot: path.slot(level + 1))
    }

    /// Divides the pointers anew over the node and one beside it.
    ///
    /// - Returns: false, with nothing changed, where no neighbour has enough room.
    private func movePointersToNeighbour(
        _ path: inout TreePath,
        level: Int
    ) throws(FilesystemError) -> Bool {
        guard level < path.rootLevel else { return false }
        let node = path[level]
        let parent = path[level + 1]
        let own = path.slot(level + 1)
        let isAppend = path.slot(level) + 1 == node.itemCount
        for slot in [own - 1, own + 1] {
            guard slot >= 0, slot < parent.itemCount, slot > own || !isAppend else { continue }
            let beside = try neighbour(path, level: level + 1, slot: slot)
            let total = node.itemCount + beside.itemCount
            guard total <= 2 * node.pointersMax - node.pointersMax / 8 else { continue }
            let copy = try makeChangeable(beside, path, level: level + 1, slot: slot)
            dividePointers(
                &path,
                level: level,
                slot < own ? copy : node,
                slot < own ? node : copy,
                total / 2,
                leftSlot: min(slot, own)
            )
            return true
        }
        return false
    }

    /// Moves pointers between two neighbours, whose parent has them in `leftSlot` and the next one,
    /// until `left` has `count`; then leads the path through the one that has its child.
    private func dividePointers(
        _ path: inout TreePath,
        level: Int,
        _ left: TreeBlock,
        _ right: TreeBlock,
        _ count: Int,
        leftSlot: Int
    ) {
        let isLeft = path[level] === left
        let slot = path.slot(level) + (isLeft ? 0 : left.itemCount)
        if count > left.itemCount {
            right.movePointers(0..<(count - left.itemCount), to: left, at: left.itemCount)
        } else {
            left.movePointers(count..<left.itemCount, to: right, at: 0)
        }
        let parent = path[level + 1]
        parent.setKey(leftSlot + 1, right.key(0))
        if slot < count {
            path.set(level, left, slot: slot)
            path.set(level + 1, parent, slot: leftSlot)
        } else {
            path.set(level, right, slot: slot - count)
            path.set(level + 1, parent, slot: leftSlot + 1)
        }
    }

    /// A new block beside the path's on `level`, without entries, which nothing points at yet. The
    /// path's block has a parent afterwards, one with room for a pointer.
    func allocateNeighbour(_ path: inout TreePath, level: Int) throws(FilesystemError) -> TreeBlock
    {
        let block = try space.allocateBlock(
            of: self,
            level: UInt8(level),
            hint: path[level].logical
        )
        guard level == path.rootLevel else { return block }
        do throws(FilesystemError) {
            try addLevel(&path)
        } catch {
            // Why the level could not be added tells more than why the block could not be freed.
            do throws(FilesystemError) { try space.freeBlock(block, of: self) } catch {}
            throw error
        }
        return block
    }

    /// Puts a new root above the root.
    private func addLevel(_ path: inout TreePath) throws(FilesystemError) {
        let old = path[path.rootLevel]
        let level = path.rootLevel + 1
        guard level < TreeBlock.Layout.levelsMax else {
            throw FilesystemError(.noSpace, "tree", "has no more levels", root: treeID)
        }
        let new = try space.allocateBlock(of: self, level: UInt8(level), hint: old.logical)
        new.insertPointer(0, old.key(0), to: old)
        setRoot(new)
        path.set(level, new, slot: 0)
    }
}
