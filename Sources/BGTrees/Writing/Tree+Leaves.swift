//===-- Tree+Leaves.swift - room in a leaf: evening out with a neighbour, splitting -------------===//
// What a leaf is filled to decides how large a tree gets, so:
//   - Behind the last item (files and extents that are made in order) a full leaf stays full: the
//     item starts the next leaf, a new one where that has no room either.
//   - In a run of ascending keys in the middle, a leaf is cut behind the run.
//   - Otherwise items go to a neighbour under the same parent if it has room to speak of, and only
//     where it has none is the leaf cut, in the middle.
//
// Each step leaves the tree whole, or is followed by nothing that can fail until it is.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// What is about to need room in the leaf at a path's slot.
struct PendingItem {
    let key: Key
    /// Bytes: of a new item and its entry, or by which an item grows.
    let room: Int
    /// Goes in before the slot; otherwise the item in the slot grows.
    let isNew: Bool
}

/// A leaf, or two neighbours, whose items are to be divided over two leaves anew.
private struct Division {
    let left: TreeBlock
    /// nil: a new leaf, still empty.
    let right: TreeBlock?
    /// Counted over both.
    let slot: Int
    let pending: PendingItem

    /// The first `count` items go left.
    struct Cut {
        var count: Int
        var pendingIsLeft: Bool
    }

    var itemCount: Int { left.itemCount + (right?.itemCount ?? 0) }
    var bytesUsed: Int { left.bytesUsed + (right?.bytesUsed ?? 0) + pending.room }

    /// Bytes on the left side after a cut.
    func bytesLeft(_ cut: Cut) -> Int {
        var bytes: Int
        if cut.count <= left.itemCount {
            bytes = left.bytesUsed(first: cut.count)
        } else {
            bytes = left.bytesUsed + right!.bytesUsed(first: cut.count - left.itemCount)
        }
        if cut.pendingIsLeft { bytes += pending.room }
        return bytes
    }

    /// Whether both sides fit into a leaf, and none stays empty.
    func fits(_ cut: Cut) -> Bool {
        let bytes = bytesLeft(cut)
        return bytes > 0 && bytes < bytesUsed
            && bytes <= left.dataSize && bytesUsed - bytes <= left.dataSize
    }

    /// The cut nearest to the middle; nil: the pending item fits on neither side of any.
    var evenCut: Cut? {
        var best: Cut?
        var bestDistance = Int.max
        func consider(_ cut: Cut) {
            guard fits(cut) else { return }
            let distance = abs(2 * bytesLeft(cut) - bytesUsed)
            if distance < bestDistance {
                best = cut
                bestDistance = distance
            }
        }
        for count in 0...itemCount {
            if pending.isNew && count == slot { consider(Cut(count: count, pendingIsLeft: true)) }
            consider(Cut(count: count, pendingIsLeft: slot < count))
        }
        return best
    }
}

extension Tree {
    /// Makes room for an item at the path's slot; the path may lead to another leaf afterwards. All
    /// of the path is changeable, before and after. Where this leaves a leaf without an item, the
    /// caller puts the new one there.
    func makeRoom(_ path: inout TreePath, _ pending: PendingItem) throws(FilesystemError) {
        var rounds = 0
        while path.leaf.bytesFree < pending.room {
            lastPath = nil
            // One cut makes room, or isolates one side of the place; two more isolate the other.
            precondition(rounds < 3)
            rounds += 1
            if try !moveToNeighbour(&path, pending) { try splitLeaf(&path, pending) }
        }
    }

    /// The slot follows the one where the leaf was last inserted into, or comes before it again.
    private func continuesRun(_ path: borrowing TreePath, _ pending: PendingItem) -> Bool {
        let last = path.leaf.slotInsertedLast
        return pending.isNew && last >= 0
            && (path.slot == last + 1 || (path.slot == 0 && last == 0))
    }

    // MARK: neighbours

    /// Divides the items anew over the leaf and one beside it, so that the pending one has room.
    ///
    /// - Returns: false, with nothing changed, where no neighbour has enough.
    private func moveToNeighbour(
        _ path: inout TreePath,
        _ pending: PendingItem
    ) throws(FilesystemError) -> Bool {
        guard path.rootLevel > 0 else { return false }
        let own = path.slot(1)
        let isAppend = pending.isNew && path.slot == path.leaf.itemCount
        let isRun = continuesRun(path, pending)
        if own > 0 && !isAppend && !isRun {
            let left = try neighbour(path, level: 1, slot: own - 1)
            if try divide(&path, left, slot: own - 1, pending, appending: false) { return true }
        }
        if own + 1 < path[1].itemCount && (isAppend || !isRun) {
            let right = try neighbour(path, level: 1, slot: own + 1)
            return try divide(&path, right, slot: own + 1, pending, appending: isAppend)
        }
        return false
    }

    /// Moves items between the leaf and the neighbour in `slot` of the parent.
    private func divide(
        _ path: inout TreePath,
        _ neighbour: TreeBlock,
        slot: Int,
        _ pending: PendingItem,
        appending: Bool
    ) throws(FilesystemError) -> Bool {
        let isLeft = slot < path.slot(1)
        let division = Division(
            left: isLeft ? neighbour : path.leaf,
            right: isLeft ? path.leaf : neighbour,
            slot: path.slot + (isLeft ? neighbour.itemCount : 0),
            pending: pending
        )
        let capacity = neighbour.dataSize
        let cut: Division.Cut
        if appending {
            cut = Division.Cut(count: path.leaf.itemCount, pendingIsLeft: false)
            guard division.fits(cut) else { return false }
        } else {
            // Moving items for the sake of a few bytes would be done again for the next item.
            guard division.bytesUsed <= 2 * capacity - capacity / 8 else { return false }
            guard let even = division.evenCut else { return false }
            cut = even
        }
        let copy = try makeChangeable(neighbour, path, level: 1, slot: slot)
        apply(
            cut,
            division.slot,
            pending,
            left: isLeft ? copy : path.leaf,
            right: isLeft ? path.leaf : copy,
            &path,
            leftSlot: min(slot, path.slot(1))
        )
        return true
    }

    /// Moves items between two neighbours, whose parent has them in `leftSlot` and the next one,
    /// until the cut is between them; then leads the path to the pending item's side.
    private func apply(
        _ cut: Division.Cut,
        _ slot: Int,
        _ pending: PendingItem,
        left: TreeBlock,
        right: TreeBlock,
        _ path: inout TreePath,
        leftSlot: Int
    ) {
        if cut.count > left.itemCount {
            right.moveItems(0..<(cut.count - left.itemCount), to: left, at: left.itemCount)
        } else {
            left.moveItems(cut.count..<left.itemCount, to: right, at: 0)
        }
        let firstKey = right.itemCount > 0 ? right.key(0) : pending.key
        path[1].setKey(leftSlot + 1, firstKey)
        if cut.pendingIsLeft {
            path.set(1, path[1], slot: leftSlot)
            path.set(0, left, slot: slot)
        } else {
            path.set(1, path[1], slot: leftSlot + 1)
            path.set(0, right, slot: slot - cut.count)
        }
    }

    // MARK: splitting

    /// Cuts the leaf in two; the pending item has room then, or another cut will make it.
    private func splitLeaf(
        _ path: inout TreePath,
        _ pending: PendingItem
    ) throws(FilesystemError) {
        // Everything that can fail comes first.
        if path.rootLevel > 0 { try makePointerRoom(&path, level: 1) }
        let right = try allocateNeighbour(&path, level: 0)
        let left = path.leaf
        let slot = path.slot
        let cut = leafCut(path, pending)
        let firstKey = cut.count < left.itemCount ? left.key(cut.count) : pending.key
        path[1].insertPointer(path.slot(1) + 1, firstKey, to: right)
        apply(cut, slot, pending, left: left, right: right, &path, leftSlot: path.slot(1))
    }

    /// Where to cut a leaf.
    private func leafCut(_ path: borrowing TreePath, _ pending: PendingItem) -> Division.Cut {
        let leaf = path.leaf
        let slot = path.slot
        let division = Division(left: leaf, right: nil, slot: slot, pending: pending)
        if pending.isNew && slot == leaf.itemCount {
            return Division.Cut(count: slot, pendingIsLeft: false)
        }
        if continuesRun(path, pending) {
            for pendingIsLeft in [true, false] {
                let cut = Division.Cut(count: slot, pendingIsLeft: pendingIsLeft)
                if division.fits(cut) { return cut }
            }
        }
        if let even = division.evenCut { return even }
        // The pending item will need a leaf of its own: cut before it, behind comes next. (In slot 0
        // it never gets here: what is behind it fits into a leaf.)
        precondition(slot > 0)
        return Division.Cut(count: slot, pendingIsLeft: pending.isNew)
    }
}
