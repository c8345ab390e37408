//===-- DelayedReferences.swift - changes of references that the extent tree does not show yet ----===//
// Every change of a tree makes references come and go. They are netted here per extent, and the
// commit applies what is left to the extent tree, in order of addresses. Changing the extent tree
// makes new ones; the commit goes on until there are none.
//
// Invariants:
//   1. No count is 0; an extent without counts is here only to get an item's flag changed.
//   2. An extent that is new has no item in the extent tree, and only counts above 0.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// What is to change about the references of one extent.
struct DelayedExtent {
    struct Change {
        let reference: BackReference
        /// How many come; below 0: go.
        var count: Int
    }

    let logical: UInt64
    let length: UInt64
    /// nil: data.
    let level: UInt8?
    /// The extent tree has no item for it yet.
    let isNew: Bool
    /// The item is to say that what the block points at is referenced by the block's address.
    var setsFullBackref = false
    /// Most extents have one; the others are apart so that one needs no allocation.
    private var first: Change?
    private var others: [Change] = []

    init(logical: UInt64, length: UInt64, level: UInt8?, isNew: Bool) {
        self.logical = logical
        self.length = length
        self.level = level
        self.isNew = isNew
    }

    /// References that come less those that go.
    var netCount: Int { others.reduce(first?.count ?? 0) { $0 + $1.count } }

    /// Nothing is left to do about the extent.
    var isEmpty: Bool { first == nil && others.isEmpty && !setsFullBackref }

    mutating func add(_ reference: BackReference, _ count: Int) {
        if let found = first {
            if found.reference == reference {
                first = Self.summed(found, count) ?? others.popLast()
                return
            }
        } else {
            first = Change(reference: reference, count: count)
            return
        }
        guard let index = others.firstIndex(where: { $0.reference == reference }) else {
            others.append(Change(reference: reference, count: count))
            return
        }
        if let sum = Self.summed(others[index], count) {
            others[index] = sum
        } else {
            others.remove(at: index)
        }
    }

    private static func summed(_ change: Change, _ count: Int) -> Change? {
        let sum = change.count + count
        return sum == 0 ? nil : Change(reference: change.reference, count: sum)
    }

    /// The changes, those that come first, so that no count passes 0 on the way.
    var changes: [Change] {
        guard let first else { return [] }
        guard !others.isEmpty else { return [first] }
        let all = [first] + others
        return all.filter { $0.count > 0 } + all.filter { $0.count < 0 }
    }
}

struct DelayedReferences {
    private var extents: [UInt64: DelayedExtent] = [:]
    /// New data extents by address, for questions about ranges.
    private var newData = RangeSet()

    var isEmpty: Bool { extents.isEmpty }
    /// Extents with something to do.
    var count: Int { extents.count }

    subscript(logical: UInt64) -> DelayedExtent? { extents[logical] }

    /// Whether a new data extent has any byte of a range.
    func containsNewData(logical: UInt64, end: UInt64) -> Bool {
        newData.intersects(start: logical, end: end)
    }

    /// An extent that the extent tree does not know, with its first reference.
    mutating func insertNew(
        logical: UInt64,
        length: UInt64,
        level: UInt8?,
        _ reference: BackReference
    ) {
        precondition(extents[logical] == nil, "an address was claimed twice")
        var extent = DelayedExtent(logical: logical, length: length, level: level, isNew: true)
        extent.add(reference, 1)
        extents[logical] = extent
        if level == nil { newData.insert(start: logical, end: logical + length) }
    }

    /// Adds references, or takes some away where `count` is below 0.
    ///
    /// - Returns: false when a new extent lost its last reference: it is gone from here, and nobody
    ///   knows of it any more.
    mutating func add(
        logical: UInt64,
        length: UInt64,
        level: UInt8?,
        _ reference: BackReference,
        _ count: Int
    ) -> Bool {
        var extent =
            extents[logical]
            ?? DelayedExtent(logical: logical, length: length, level: level, isNew: false)
        extent.add(reference, count)
        extents[logical] = extent.isEmpty ? nil : extent
        guard extent.isNew && extent.isEmpty else { return true }
        if level == nil { newData.remove(start: logical) }
        return false
    }

    mutating func setFullBackref(logical: UInt64, length: UInt64, level: UInt8) {
        var extent =
            extents[logical]
            ?? DelayedExtent(logical: logical, length: length, level: level, isNew: false)
        extent.setsFullBackref = true
        extents[logical] = extent
    }

    /// The addresses with something to do, in order.
    var addresses: [UInt64] { extents.keys.sorted() }

    /// Takes what is to be done about one extent; nil: no longer anything.
    mutating func take(_ logical: UInt64) -> DelayedExtent? {
        let extent = extents.removeValue(forKey: logical)
        if let extent, extent.isNew, extent.level == nil { newData.remove(start: logical) }
        return extent
    }
}
