//===-- CommitReserve.swift - the metadata space that a commit will need ----------------------------===//
// A commit writes new blocks for what describes space: the extent, checksum, free-space and block-group
// trees. How many, nobody knows before it is made; here is how many it may be, from what has changed and
// what is about to.
//
//   references      each changes a leaf of each of these trees, with what leads to it
//   data that goes  every leaf of its checksums is one more block that goes
//   shared leaves   the first change of a leaf that a snapshot shares changes the references of all that
//                   it points at (SharedBlocks.swift); only the extent tree tells of them
//   old blocks      each copied block frees one, whose item may be in a leaf of its own, as long as there
//                   are such leaves
//
// An estimate that is high for usual changes. Not counted: what the copies for old blocks free in turn;
// chunks made or taken away beyond a few; blocks whose items lie apart because data lies between.
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
    private static let leavesPerChange: UInt64 = 3

    /// How large a tree is.
    private struct Shape {
        let blocks: UInt64
        let level: UInt64

        init(_ open: OpenTree, _ nodeBytes: UInt64) {
            blocks = open.item.bytesUsed / nodeBytes
            level = UInt64(open.tree.root.level)
        }

        /// Blocks on the ways to so many leaves; nodes have at least `fanout` pointers, but for a root.
        func touched(_ leaves: UInt64, fanout: UInt64) -> UInt64 {
            guard leaves > 0 else { return 0 }
            var sum: UInt64 = 0
            var blocksOfLevel = blocks
            for _ in 0...level {
                sum += min(leaves, max(1, blocksOfLevel))
                blocksOfLevel = blocksOfLevel / fanout + 1
            }
            return min(sum, max(1, blocks))
        }
    }

    private let nodeBytes: UInt64
    /// References that change as things are now, and bytes of data that may go.
    private let references: UInt64
    private let dataBytes: UInt64
    private let extent: Shape
    private let checksum: Shape
    private let freeSpace: Shape?
    private let blockGroup: Shape?
    /// Of all trees that are open: only their blocks are copied.
    private var openBlocks: UInt64 = 0
    /// Bytes of a checksum.
    private let sumBytes: UInt64
    private let sectorBytes: UInt64
    /// Subvolumes whose blocks snapshots may share, and whether the root still is.
    private var shared: [(shape: Shape, isRootShared: Bool)] = []

    init(_ state: TreeState) {
        let trees = state.trees
        let nodeBytes = state.nodeBytes
        self.nodeBytes = nodeBytes
        references = UInt64(state.delayed.changeCount)
        dataBytes = state.delayed.dataBytesThatMayGo
        sumBytes = UInt64(state.superBlock.checksumType.byteCount)
        sectorBytes = state.sectorBytes
        extent = Shape(trees.extent, nodeBytes)
        checksum = Shape(trees.checksum, nodeBytes)
        freeSpace = trees.freeSpace.map { Shape($0, nodeBytes) }
        blockGroup = trees.blockGroup.map { Shape($0, nodeBytes) }
        for (treeID, open) in state.openTrees {
            let shape = Shape(open, nodeBytes)
            openBlocks += shape.blocks
            guard open.item.lastSnapshot > 0, TreeState.isSubvolume(treeID) else { continue }
            let isRootShared = open.tree.root.generation <= open.item.lastSnapshot
            shared.append((shape, isRootShared))
        }
    }

    /// Bytes of new tree blocks, beside those that are dirty already, for a commit now.
    package var bytes: UInt64 { bytes(references, shared: 0, dataBytes) }

    /// The same after a change that drops so much.
    package func bytes(after dropped: DroppedParts) -> UInt64 {
        bytes(
            references + UInt64(dropped.count),
            shared: sharedReferences(dropped),
            dataBytes.end(adding: dropped.dataBytes) ?? .max
        )
    }

    /// - Parameter shared: references that change beside, without an extent coming or going.
    private func bytes(
        _ references: UInt64,
        shared: UInt64,
        _ dataBytes: UInt64
    ) -> UInt64 {
        let gone = references + checksumLeaves(dataBytes)
        let fanout = pointersPerNode / 2
        func copies(_ oldBlocks: UInt64) -> UInt64 {
            extent.touched(gone + shared + oldBlocks, fanout: fanout)
                + (freeSpace?.touched(gone + oldBlocks, fanout: fanout) ?? 0)
                + checksum.touched(references, fanout: fanout)
                + (blockGroup?.touched(references, fanout: fanout) ?? 0)
        }
        // An item of a block takes 58 bytes, or some more; leaves are at worst half full.
        let oldBlocks = min(copies(0), openBlocks * 64 / (nodeBytes / 2) + 1)
        // An extent item and two free runs, with room for both halves of split leaves.
        let grownBytes = (references + shared) * 512
        // Root items, chunks, devices, and the changes that these make.
        let levels =
            extent.level + checksum.level + (freeSpace?.level ?? 0)
            + (blockGroup?.level ?? 0)
        return (copies(oldBlocks) + 2 * levels + 40) * nodeBytes + grownBytes
    }

    private var leafRoomBytes: UInt64 { nodeBytes - UInt64(TreeBlock.Layout.headerSize) }
    private var pointersPerNode: UInt64 { leafRoomBytes / UInt64(TreeBlock.Layout.pointerSize) }

    /// Leaves of checksums that so much data may have.
    private func checksumLeaves(_ dataBytes: UInt64) -> UInt64 {
        // Half full at worst.
        let sectorsPerLeaf = max(1, nodeBytes / 2 / sumBytes)
        let sectors = dataBytes / sectorBytes
        return min(sectors / sectorsPerLeaf + (sectors > 0 ? 1 : 0), checksum.blocks)
    }

    /// References that change because blocks of a subvolume are copied that a snapshot shares.
    private func sharedReferences(_ dropped: DroppedParts) -> UInt64 {
        let partsPerLeaf =
            leafRoomBytes / UInt64(TreeBlock.Layout.itemSize + FileExtentItem.byteCount)
        // Half full at worst, again.
        let touched = Self.leavesPerChange + UInt64(dropped.count) / max(1, partsPerLeaf / 2)
        var most: UInt64 = 0
        for (shape, isRootShared) in shared {
            let leaves = min(touched, shape.blocks)
            var nodes: UInt64 = shape.level > 0 && isRootShared ? 1 : 0
            if shape.level > 1 {
                nodes +=
                    min(leaves, shape.blocks / (pointersPerNode / 2) + 1) * (shape.level - 1)
            }
            most = max(most, leaves * partsPerLeaf + nodes * pointersPerNode)
        }
        return most
    }
}
