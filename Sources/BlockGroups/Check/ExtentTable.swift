//===-- ExtentTable.swift - what the extent tree records, and what was found of it --------------===//
// Two flat arrays: extents by address, and their references, each extent's sorted. A reference
// counts how often it was met, so that nothing else is kept.
//
// Memory: 40 bytes an extent, 40 a reference.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// A range that the extent tree records.
struct RecordedExtent {
    let logical: UInt64
    let length: UInt64
    let generation: UInt64
    /// Where its references begin in the table.
    let firstRef: Int
    /// Of a tree block; 255 for data.
    let level: UInt8
    let isFullBackref: Bool
    /// A tree block that a walk has met.
    var wasVisited = false

    var end: UInt64 { logical + length }
    var isTreeBlock: Bool { level != RecordedExtent.dataLevel }

    static let dataLevel: UInt8 = 255
}

/// One reference to an extent, recorded or met.
struct ExtentReference {
    enum Kind: UInt8 {
        case tree
        case sharedTree
        case data
        case sharedData
    }

    let kind: Kind
    /// The tree, or the block that shares.
    let owner: UInt64
    let inode: UInt64
    let offset: UInt64
    /// As recorded.
    var count: UInt32
    /// As met.
    var found: UInt32 = 0

    init(
        _ kind: Kind,
        _ owner: UInt64,
        inode: UInt64 = 0,
        offset: UInt64 = 0,
        count: UInt32 = 1
    ) {
        self.kind = kind
        self.owner = owner
        self.inode = inode
        self.offset = offset
        self.count = count
    }

    /// nil for what is no reference.
    init?(_ ref: InlineRef) {
        switch ref {
        case .treeBlock(let root): self.init(.tree, root)
        case .sharedBlock(let parent): self.init(.sharedTree, parent)
        case .data(let root, let inode, let offset, let count):
            self.init(.data, root, inode: inode, offset: offset, count: count)
        case .sharedData(let parent, let count):
            self.init(.sharedData, parent, count: count)
        case .owner: return nil
        }
    }

    static func isOrdered(_ a: ExtentReference, _ b: ExtentReference) -> Bool {
        if a.kind != b.kind { return a.kind.rawValue < b.kind.rawValue }
        if a.owner != b.owner { return a.owner < b.owner }
        if a.inode != b.inode { return a.inode < b.inode }
        return a.offset < b.offset
    }
}

struct ExtentTable {
    private(set) var extents: [RecordedExtent] = []
    private(set) var references: [ExtentReference] = []
    private(set) var treeBlockCount: UInt64 = 0

    /// Adds an extent behind all others, and its references in any order.
    mutating func append(
        _ item: ExtentItem,
        _ refs: [ExtentReference]
    ) {
        extents.append(
            RecordedExtent(
                logical: item.logical,
                length: item.length,
                generation: item.generation,
                firstRef: references.count,
                level: item.level ?? RecordedExtent.dataLevel,
                isFullBackref: item.flags & ExtentItem.flagFullBackref != 0
            )
        )
        if item.level != nil { treeBlockCount += 1 }
        references.append(
            contentsOf: refs.count > 1 ? refs.sorted(by: ExtentReference.isOrdered) : refs
        )
    }

    /// The first extent that ends above `logical`.
    func firstIndex(endingAbove logical: UInt64) -> Int {
        var low = 0
        var high = extents.count
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].end <= logical { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The extent that begins at `logical`.
    func index(at logical: UInt64) -> Int? {
        var low = 0
        var high = extents.count
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].logical < logical { low = middle + 1 } else { high = middle }
        }
        return low < extents.count && extents[low].logical == logical ? low : nil
    }

    func references(of extent: Int) -> Range<Int> {
        let end =
            extent + 1 < extents.count ? extents[extent + 1].firstRef : references.count
        return extents[extent].firstRef..<end
    }

    /// Where a reference is recorded, whatever its count.
    func find(_ wanted: ExtentReference, of extent: Int) -> Int? {
        let range = references(of: extent)
        var low = range.lowerBound
        var high = range.upperBound
        while low < high {
            let middle = (low + high) / 2
            if ExtentReference.isOrdered(references[middle], wanted) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        guard low < range.upperBound, !ExtentReference.isOrdered(wanted, references[low]) else {
            return nil
        }
        return low
    }

    mutating func noteVisit(_ extent: Int) { extents[extent].wasVisited = true }

    mutating func noteFound(_ reference: Int) {
        references[reference].found = references[reference].found &+ 1
    }
}
