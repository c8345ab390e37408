//===-- TreeBlock+Checking.swift - is this block what it should be ------------------------------===//
// Nothing read from a device is used before it passed here. Two parts:
//   checkContents(): the block on its own, once per copy that is read: its structure (checksum,
//     header, keys, item bounds), and what each item holds (LeafItemChecking.swift).
//   check(against:): the block as seen from its parent, each time one leads to it.
// A failed check throws `.corrupt` with tree, block and slot; it never traps.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

/// What a parent, a root item or the super block says of a block.
package struct BlockExpectation {
    package let logical: UInt64
    package let level: UInt8
    package let generation: UInt64
    /// Object id of the tree the walk is in: for messages.
    package let treeID: UInt64
    /// The block's first key; nil for a root.
    package let firstKey: Key?
    /// Every key is under this one; nil where nothing follows.
    package let upperBound: Key?

    package init(
        logical: UInt64,
        level: UInt8,
        generation: UInt64,
        treeID: UInt64,
        firstKey: Key?,
        upperBound: Key?
    ) {
        self.logical = logical
        self.level = level
        self.generation = generation
        self.treeID = treeID
        self.firstKey = firstKey
        self.upperBound = upperBound
    }

    package static func root(of root: TreeRoot) -> BlockExpectation {
        BlockExpectation(
            logical: root.logical,
            level: root.level,
            generation: root.generation,
            treeID: root.treeID,
            firstKey: nil,
            upperBound: nil
        )
    }

    /// Blocks of the subvolume trees may be shared, and then name the tree that wrote them;
    /// every other tree owns each of its blocks.
    var ownerIsKnown: Bool {
        treeID != ObjectID.filesystemTree && treeID != ObjectID.treeLog
            && !(ObjectID.firstFree...ObjectID.lastFree).contains(treeID)
    }

    /// An error about the block as a whole.
    package func corrupt(
        _ what: StaticString,
        _ value: UInt64? = nil,
        _ secondValue: UInt64? = nil,
        slot: Int? = nil
    ) -> FilesystemError {
        FilesystemError(
            .corrupt,
            level == 0 ? "leaf" : "node",
            what,
            value,
            secondValue,
            root: treeID,
            logical: logical,
            slot: slot
        )
    }
}

extension TreeBlock {
    /// Header flag: the block was written by a commit. In memory only, blocks lack it.
    private static let flagWritten: UInt64 = 1
    /// In the uppermost byte of the flags; 0 was before 2009, and nothing writes that any more.
    private static let backrefRevision: UInt64 = 1

    /// Checks everything that does not depend on the parent.
    ///
    /// - Parameter expected: for the place in messages and the address.
    func checkContents(
        _ geometry: TreeGeometry,
        _ expected: BlockExpectation
    ) throws(FilesystemError) {
        try checkStructure(geometry, expected)
        if isLeaf { try checkItems(geometry, expected) }
    }

    /// The same without what items hold: for who looks at every item itself and goes on behind a
    /// bad one.
    package func checkStructure(
        _ geometry: TreeGeometry,
        _ expected: BlockExpectation
    ) throws(FilesystemError) {
        let sumMatches = try bytes.withSpan(0..<bytes.count) { (block) throws(FilesystemError) in
            geometry.checksumType.verify(block: block)
        }
        guard sumMatches else {
            throw expected.corrupt("checksum does not match")
        }
        try checkHeader(geometry, expected)
        try checkKeys(expected)
        if isLeaf {
            try checkItemBounds(expected)
        } else {
            try checkPointers(geometry, expected)
        }
    }

    private func checkHeader(
        _ geometry: TreeGeometry,
        _ expected: BlockExpectation
    ) throws(FilesystemError) {
        guard bytes.uuid(at: 32) == geometry.metadataUUID else {
            throw expected.corrupt("belongs to another file system")
        }
        let ownAddress = bytes.u64(at: 48)
        guard ownAddress == logical else {
            throw expected.corrupt("says it is block %", ownAddress)
        }
        // The kernel refuses such a block too: only a commit makes one durable.
        let flags = bytes.u64(at: 56)
        guard flags & Self.flagWritten != 0 else {
            throw expected.corrupt("is not marked as written, flags %", flags)
        }
        guard flags >> 56 == Self.backrefRevision else {
            throw expected.corrupt("back reference revision %", flags >> 56)
        }
        guard level < UInt8(Layout.levelsMax) else {
            throw expected.corrupt("level % is above 7", UInt64(level))
        }
        guard generation > 0, generation <= geometry.limits.generation else {
            throw expected.corrupt(
                "generation % is not between 1 and the super block's %",
                generation,
                geometry.limits.generation
            )
        }
        let entrySize = isLeaf ? Layout.itemSize : Layout.pointerSize
        guard itemCount <= dataSize / entrySize else {
            throw expected.corrupt(
                "% items, at most % fit",
                UInt64(itemCount),
                UInt64(dataSize / entrySize)
            )
        }
        guard isLeaf || itemCount > 0 else {
            throw expected.corrupt("node without pointers")
        }
    }

    private func checkKeys(_ expected: BlockExpectation) throws(FilesystemError) {
        guard itemCount > 1 else { return }
        var previous = key(0)
        for slot in 1..<itemCount {
            let key = key(slot)
            guard previous < key else {
                throw expected.corrupt("key is not above the one before", slot: slot)
            }
            previous = key
        }
    }

    private func checkItemBounds(_ expected: BlockExpectation) throws(FilesystemError) {
        let itemArrayEnd = itemCount * Layout.itemSize
        var dataEnd = dataSize
        for slot in 0..<itemCount {
            let entry = entryOffset(slot)
            let offset = Int(bytes.u32(at: entry + 17))
            let size = Int(bytes.u32(at: entry + 21))
            guard offset + size == dataEnd else {
                throw expected.corrupt(
                    "item data ends at %, expected %",
                    UInt64(offset + size),
                    UInt64(dataEnd),
                    slot: slot
                )
            }
            guard offset >= itemArrayEnd else {
                throw expected.corrupt(
                    "item data begins at %, inside the items, which end at %",
                    UInt64(offset),
                    UInt64(itemArrayEnd),
                    slot: slot
                )
            }
            dataEnd = offset
        }
    }

    private func checkPointers(
        _ geometry: TreeGeometry,
        _ expected: BlockExpectation
    ) throws(FilesystemError) {
        for slot in 0..<itemCount {
            guard childLogical(slot).isAligned(to: geometry.limits.sectorSize) else {
                throw expected.corrupt(
                    "pointer to %, not sector-aligned",
                    childLogical(slot),
                    slot: slot
                )
            }
            guard childLogical(slot) != logical else {
                throw expected.corrupt("points to itself", slot: slot)
            }
            guard (1...generation).contains(childGeneration(slot)) else {
                throw expected.corrupt(
                    "pointer generation % is not between 1 and the node's %",
                    childGeneration(slot),
                    generation,
                    slot: slot
                )
            }
        }
    }

    /// Checks the block against what led to it.
    package func check(against expected: BlockExpectation) throws(FilesystemError) {
        guard level == expected.level else {
            throw expected.corrupt(
                "level %, its parent says %",
                UInt64(level),
                UInt64(expected.level)
            )
        }
        guard generation == expected.generation else {
            throw expected.corrupt(
                "generation %, its parent says %",
                generation,
                expected.generation
            )
        }
        guard !expected.ownerIsKnown || owner == expected.treeID else {
            throw expected.corrupt("belongs to tree %", owner)
        }
        guard let firstKey = expected.firstKey else { return }
        guard itemCount > 0 else {
            throw expected.corrupt("empty, and not the root of its tree")
        }
        guard key(0) == firstKey else {
            throw expected.corrupt("first key is not the one its parent names", slot: 0)
        }
        if let upperBound = expected.upperBound {
            guard key(itemCount - 1) < upperBound else {
                throw expected.corrupt(
                    "last key reaches into the next block's range",
                    slot: itemCount - 1
                )
            }
        }
    }
}
