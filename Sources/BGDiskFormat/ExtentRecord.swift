//===-- ExtentRecord.swift - an extent item that can be changed ---------------------------------===//
// An EXTENT_ITEM or METADATA_ITEM with its inline back references as a list, and how it becomes
// bytes again. References that lie in items of their own (keyed ones) are not here.
//
// Invariant: inline references are in the order that the format asks for: by type, and within one
// type by descending sequence number. The kernel stops searching an item at the first reference
// behind the one it wants.

/// Who refers to an extent, apart from how often.
package enum BackReference: Hashable, Sendable {
    /// The tree `root` has this tree block.
    case treeBlock(root: UInt64)
    /// The tree block at `parent` points at this one.
    case sharedBlock(parent: UInt64)
    /// File extents of an inode in the tree `root`; `offset` is where in the file the extent's first
    /// byte would lie.
    case data(root: UInt64, inode: UInt64, offset: UInt64)
    /// File extents in the leaf at `parent`.
    case sharedData(parent: UInt64)

    package var keyType: KeyType {
        switch self {
        case .treeBlock: .treeBlockRef
        case .sharedBlock: .sharedBlockRef
        case .data: .extentDataRef
        case .sharedData: .sharedDataRef
        }
    }

    /// Orders references of one type; also the offset of a keyed reference's key.
    package var sequence: UInt64 {
        switch self {
        case .treeBlock(let root): root
        case .sharedBlock(let parent), .sharedData(let parent): parent
        case .data(let root, let inode, let offset): Self.hash(root, inode, offset)
        }
    }

    /// Bytes as an inline reference.
    package var inlineByteCount: Int {
        switch self {
        case .treeBlock, .sharedBlock: 9
        case .data: 29
        case .sharedData: 13
        }
    }

    /// Two crc32c without their final inversion: one of the root, one of inode and offset.
    private static func hash(_ root: UInt64, _ inode: UInt64, _ offset: UInt64) -> UInt64 {
        func crc(_ numbers: [UInt64]) -> UInt64 {
            var bytes: [UInt8] = []
            for number in numbers { bytes.append(littleEndian: number) }
            let sum = ChecksumType.crc32c.checksum(of: unsafe bytes.span.bytes).bytes
            return UInt64(
                ~(UInt32(sum[0]) | UInt32(sum[1]) << 8 | UInt32(sum[2]) << 16
                    | UInt32(sum[3]) << 24)
            )
        }
        return crc([root]) << 31 ^ crc([inode, offset])
    }
}

extension InlineRef {
    package init(_ reference: BackReference, count: UInt32) {
        switch reference {
        case .treeBlock(let root): self = .treeBlock(root: root)
        case .sharedBlock(let parent): self = .sharedBlock(parent: parent)
        case .data(let root, let inode, let offset):
            self = .data(root: root, inode: inode, offset: offset, count: count)
        case .sharedData(let parent): self = .sharedData(parent: parent, count: count)
        }
    }

    /// nil: not a reference.
    package var reference: BackReference? {
        switch self {
        case .treeBlock(let root): .treeBlock(root: root)
        case .sharedBlock(let parent): .sharedBlock(parent: parent)
        case .data(let root, let inode, let offset, _):
            .data(root: root, inode: inode, offset: offset)
        case .sharedData(let parent, _): .sharedData(parent: parent)
        case .owner: nil
        }
    }

    fileprivate var keyType: KeyType { reference?.keyType ?? .extentOwnerRef }

    fileprivate func append(to bytes: inout [UInt8]) {
        bytes.append(keyType.rawValue)
        switch self {
        case .treeBlock(let root), .owner(let root): bytes.append(littleEndian: root)
        case .sharedBlock(let parent): bytes.append(littleEndian: parent)
        case .data(let root, let inode, let offset, let count):
            bytes.append(littleEndian: root)
            bytes.append(littleEndian: inode)
            bytes.append(littleEndian: offset)
            bytes.append(littleEndian: count)
        case .sharedData(let parent, let count):
            bytes.append(littleEndian: parent)
            bytes.append(littleEndian: count)
        }
    }
}

/// An extent item with its inline references.
package struct ExtentRecord: Equatable, Sendable {
    package var logical: UInt64
    /// Bytes; of a tree block, the node size.
    package var length: UInt64
    /// Inline and keyed ones together.
    package var refs: UInt64
    package var generation: UInt64
    package var flags: UInt64
    /// nil: data.
    package let level: UInt8?
    /// Whether the key is a METADATA_ITEM.
    package let isSkinny: Bool
    /// The first key of a tree block; nil where the item does not hold it.
    package let firstKey: Key?
    package private(set) var inlineRefs: [InlineRef]

    package var key: Key {
        guard isSkinny, let level else { return Key(logical, .extentItem, length) }
        return Key(logical, .metadataItem, UInt64(level))
    }

    /// A data extent without a reference yet.
    package init(data logical: UInt64, length: UInt64, generation: UInt64) {
        self.logical = logical
        self.length = length
        refs = 0
        self.generation = generation
        flags = ExtentItem.flagData
        level = nil
        isSkinny = false
        firstKey = nil
        inlineRefs = []
    }

    /// A tree block without a reference yet.
    ///
    /// - Parameter firstKey: the block's; nil makes a skinny item.
    package init(
        treeBlock logical: UInt64,
        level: UInt8,
        generation: UInt64,
        firstKey: Key?,
        _ limits: FormatLimits
    ) {
        self.logical = logical
        length = UInt64(limits.nodeSize)
        refs = 0
        self.generation = generation
        flags = ExtentItem.flagTreeBlock
        self.level = level
        isSkinny = firstKey == nil
        self.firstKey = firstKey
        inlineRefs = []
    }

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        let item = try ExtentItem(key: key, bytes, limits)
        logical = item.logical
        length = item.length
        refs = item.refs
        generation = item.generation
        flags = item.flags
        level = item.level
        isSkinny = item.isSkinny
        firstKey =
            item.level != nil && !item.isSkinny ? bytes.key(at: ExtentItem.fixedByteCount) : nil
        inlineRefs = []
        var offset = item.inlineRefsStart
        // Ends: every reference takes at least 9 bytes of the item.
        while let ref = try item.nextInlineRef(bytes, &offset) { inlineRefs.append(ref) }
    }

    /// How often an inline reference says that `reference` refers; nil: there is none.
    package func inlineCount(_ reference: BackReference) -> UInt64? {
        inlineRefs.first { $0.reference == reference }?.refCount
    }

    /// Sets an inline reference's count; 0 removes it. `refs` is the caller's affair.
    package mutating func setInline(_ reference: BackReference, count: UInt32) {
        let old = inlineRefs.firstIndex { $0.reference == reference }
        switch (old, count) {
        case (let index?, 0): inlineRefs.remove(at: index)
        case (let index?, _): inlineRefs[index] = InlineRef(reference, count: count)
        case (nil, 0): break
        case (nil, _):
            inlineRefs.insert(InlineRef(reference, count: count), at: place(of: reference))
        }
    }

    /// Where a new reference goes: before the first one of a higher type, or of its own type and a
    /// lower sequence.
    private func place(of reference: BackReference) -> Int {
        let type = reference.keyType
        let sequence = reference.sequence
        return inlineRefs.firstIndex { other in
            if other.keyType != type { return type < other.keyType }
            return (other.reference?.sequence ?? 0) < sequence
        } ?? inlineRefs.count
    }

    /// Bytes of `encoded`.
    package var byteCount: Int {
        var count = ExtentItem.fixedByteCount + (firstKey == nil ? 0 : Key.byteCount + 1)
        for ref in inlineRefs { count += ref.reference?.inlineByteCount ?? 9 }
        return count
    }

    /// The item's bytes.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        bytes.append(littleEndian: refs)
        bytes.append(littleEndian: generation)
        bytes.append(littleEndian: flags)
        if let firstKey {
            bytes.append(firstKey)
            bytes.append(level ?? 0)
        }
        for ref in inlineRefs { ref.append(to: &bytes) }
        return bytes
    }
}
