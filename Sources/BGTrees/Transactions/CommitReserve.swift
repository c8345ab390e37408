//===-- CommitReserve.swift - the metadata space that a commit will need ----------------------------===//
// A commit writes new blocks for what describes space: the extent, checksum, free-space and block-group
// trees. How many, nobody knows before it is made; here is how many it may be, from what has changed and
// what is about to.
//
//   references      each changes a path in each of these trees, until all of each tree is copied
//   data that goes  every leaf of its checksums is one more reference that goes
//   shared leaves   the first change of a leaf that a snapshot shares changes the references of all that
//                   it points at (SharedBlocks.swift)
//   old blocks      each copied block frees one, whose item may be in a leaf of its own, as long as there
//                   are such leaves; what their copies free in turn is not counted
//
// Locks: the tree mutex is held while one is made.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// What a change drops of files, as far as a commit has work with it.
package struct DroppedParts: Sendable {
    /// Parts of files, each with a reference to a data extent.
    package var count: Int
    /// Bytes of the extents that may go with them.
    package var dataBytes: UInt64

    package init(count: Int = 0, dataBytes: UInt64 = 0) {
        self.count = count
        self.dataBytes = dataBytes
    }

    /// - Parameter dataBytes: of the extent that the part lies in.
    package mutating func add(dataBytes: UInt64) {
        count += 1
        self.dataBytes = self.dataBytes.end(adding: dataBytes) ?? .max
    }

    package static func += (sum: inout Self, other: Self) {
        sum.count += other.count
        sum.dataBytes = sum.dataBytes.end(adding: other.dataBytes) ?? .max
    }
}

package struct CommitReserve {
    /// Leaves of files that a change touches, beside those of the parts that it drops.
    private static let leavesPerChange: UInt64 = 8
    private let nodeBytes: UInt64
    /// References that change as things are now, and bytes of data that may go.
    private let references: UInt64
    private let dataBytes: UInt64
    /// Of the trees that describe space: bytes of all, and blocks on the ways to one leaf of each.
    private var treeBytes: UInt64 = 0
    private var pathBlocks: UInt64 = 0
    /// Of all trees that are open: only their blocks are copied.
    private var openBytes: UInt64 = 0
    private let checksumTreeBytes: UInt64
    /// Bytes of checksums for each byte of data.
    private let sumBytes: UInt64
    private let sectorBytes: UInt64
    /// Subvolumes whose blocks snapshots may share.
    private var shared: [SharedTree] = []

    private struct SharedTree {
        let blocks: UInt64
        let level: UInt64
        let isRootShared: Bool
    }

    init(_ state: TreeState) {
        let trees = state.trees
        nodeBytes = state.nodeBytes
        references = UInt64(state.delayed.changeCount)
        dataBytes = state.delayed.dataBytesThatMayGo
        checksumTreeBytes = trees.checksum.item.bytesUsed
        sumBytes = UInt64(state.superBlock.checksumType.byteCount)
        sectorBytes = state.sectorBytes
        for open in [trees.extent, trees.checksum, trees.freeSpace, trees.blockGroup] {
            guard let open else { continue }
            treeBytes += open.item.bytesUsed
            pathBlocks += UInt64(open.tree.root.level) + 1
        }
        for (treeID, open) in state.openTrees {
            openBytes += open.item.bytesUsed
            guard open.item.lastSnapshot > 0, TreeState.isSubvolume(treeID) else { continue }
            let root = open.tree.root
            shared.append(
                SharedTree(
                    blocks: open.item.bytesUsed / nodeBytes,
                    level: UInt64(root.level),
                    isRootShared: root.generation <= open.item.lastSnapshot
                )
            )
        }
    }

    /// Bytes of new tree blocks, beside those that are dirty already, for a commit now.
    package var bytes: UInt64 { bytes(references, dataBytes) }

    /// The same after a change that drops so much.
    package func bytes(after dropped: DroppedParts) -> UInt64 {
        bytes(
            references + UInt64(dropped.count) + sharedReferences(dropped),
            dataBytes.end(adding: dropped.dataBytes) ?? .max
        )
    }

    private func bytes(_ references: UInt64, _ dataBytes: UInt64) -> UInt64 {
        let references = references + checksumLeaves(dataBytes)
        // An extent item and two free runs, with room for both halves of split leaves.
        let grownBytes = references * 512
        // Root items, chunks, devices, and the changes that these make.
        let fixedBytes = (2 * pathBlocks + 32) * nodeBytes
        let copies = references * pathBlocks
        // An item of a block takes 58 bytes, or some more; leaves are at worst half full.
        let oldBlockLeaves = openBytes / nodeBytes * 64 / (nodeBytes / 2) + 1
        let copiedBytes = min(treeBytes, (copies + min(copies, oldBlockLeaves)) * nodeBytes)
        return copiedBytes + grownBytes + fixedBytes
    }

    /// Leaves of checksums that so much data may have.
    private func checksumLeaves(_ dataBytes: UInt64) -> UInt64 {
        // Half full at worst.
        let sectorsPerLeaf = max(1, nodeBytes / 2 / sumBytes)
        let sectors = dataBytes / sectorBytes
        return min(sectors / sectorsPerLeaf + (sectors > 0 ? 1 : 0), checksumTreeBytes / nodeBytes)
    }

    /// References that change because blocks of a subvolume are copied that a snapshot shares.
    private func sharedReferences(_ dropped: DroppedParts) -> UInt64 {
        let roomBytes = nodeBytes - UInt64(TreeBlock.Layout.headerSize)
        let partBytes = UInt64(TreeBlock.Layout.itemSize + FileExtentItem.byteCount)
        let partsPerLeaf = roomBytes / partBytes
        let pointersPerNode = roomBytes / UInt64(TreeBlock.Layout.pointerSize)
        // Half full at worst, again.
        let touched = Self.leavesPerChange + UInt64(dropped.count) / max(1, partsPerLeaf / 2)
        var most: UInt64 = 0
        for tree in shared {
            let leaves = min(touched, tree.blocks)
            var nodes: UInt64 = tree.level > 0 && tree.isRootShared ? 1 : 0
            if tree.level > 1 {
                nodes +=
                    min(leaves, tree.blocks / max(1, pointersPerNode / 2) + 1) * (tree.level - 1)
            }
            most = max(most, leaves * partsPerLeaf + nodes * pointersPerNode)
        }
        return most
    }
}
