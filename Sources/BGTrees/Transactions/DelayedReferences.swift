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
    /// Where in `others` a reference is, once there are many: deduplication can make very many of one
    /// extent.
    private var places: [BackReference: Int] = [:]
    private static let searchedMax = 16
    /// References that come less those that go.
    private(set) var netCount = 0

    init(logical: UInt64, length: UInt64, level: UInt8?, isNew: Bool) {
        self.logical = logical
        self.length = length
        self.level = level
        self.isNew = isNew
    }

    /// References that change.
    var changeCount: Int { others.count + (first == nil ? 0 : 1) }

    /// Bytes of data that go if no reference is left: then their checksums go as well.
    var dataBytesThatMayGo: UInt64 { level == nil && netCount < 0 ? length : 0 }

    /// Nothing is left to do about the extent.
    var isEmpty: Bool { first == nil && others.isEmpty && !setsFullBackref }

    mutating func add(_ reference: BackReference, _ count: Int) {
        netCount += count
        guard let found = first else {
            first = Change(reference: reference, count: count)
            return
        }
        if found.reference == reference {
            first = Self.summed(found, count) ?? popLast()
            return
        }
        guard let index = place(of: reference) else {
            others.append(Change(reference: reference, count: count))
            notePlaces(from: others.count - 1)
            return
        }
        if let sum = Self.summed(others[index], count) {
            others[index] = sum
        } else {
            // The last one takes its place.
            places[reference] = nil
            guard let last = popLast(), index < others.count else { return }
            others[index] = last
            notePlaces(from: index, to: index + 1)
        }
    }

    private func place(of reference: BackReference) -> Int? {
        guard others.count > Self.searchedMax else {
            return others.firstIndex { $0.reference == reference }
        }
        return places[reference]
    }

    /// Keeps `places` right for new entries of `others`: empty while they are few.
    private mutating func notePlaces(from start: Int, to end: Int? = nil) {
        guard others.count > Self.searchedMax else { return }
        let start = places.isEmpty ? 0 : start
        let end = places.isEmpty ? others.count : end ?? others.count
        for index in start..<end { places[others[index].reference] = index }
    }

    private mutating func popLast() -> Change? {
        guard let last = others.popLast() else { return nil }
        places[last.reference] = nil
        if others.count <= Self.searchedMax { places = [:] }
        return last
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
    /// References that change, of all extents.
    private(set) var changeCount = 0
    /// Bytes of data that may go, with their checksums.
    private(set) var dataBytesThatMayGo: UInt64 = 0

    var isEmpty: Bool { extents.isEmpty }

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
        let extent = DelayedExtent(logical: logical, length: length, level: level, isNew: true)
        update(extent) { $0.add(reference, 1) }
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
        let wasNew = extents[logical]?.isNew ?? false
        let extent = DelayedExtent(logical: logical, length: length, level: level, isNew: false)
        update(extent) { $0.add(reference, count) }
        guard wasNew && extents[logical] == nil else { return true }
        if level == nil { newData.remove(start: logical) }
        return false
    }

    mutating func setFullBackref(logical: UInt64, length: UInt64, level: UInt8) {
        let extent = DelayedExtent(logical: logical, length: length, level: level, isNew: false)
        update(extent) { $0.setsFullBackref = true }
    }

    /// The addresses with something to do, in order.
    var addresses: [UInt64] { extents.keys.sorted() }

    /// Takes what is to be done about one extent; nil: no longer anything.
    mutating func take(_ logical: UInt64) -> DelayedExtent? {
        guard let extent = extents.removeValue(forKey: logical) else { return nil }
        changeCount -= extent.changeCount
        dataBytesThatMayGo -= extent.dataBytesThatMayGo
        if extent.isNew, extent.level == nil { newData.remove(start: logical) }
        return extent
    }

    /// Changes an extent in its place; `absent` is what it is where there is nothing to do about it yet.
    private mutating func update(
        _ absent: DelayedExtent,
        _ body: (inout DelayedExtent) -> Void
    ) {
        let logical = absent.logical
        var count = 0
        var bytes: UInt64 = 0
        var isEmpty = false
        func change(_ extent: inout DelayedExtent) {
            count -= extent.changeCount
            bytes &-= extent.dataBytesThatMayGo
            body(&extent)
            count += extent.changeCount
            bytes &+= extent.dataBytesThatMayGo
            isEmpty = extent.isEmpty
        }
        change(&extents[logical, default: absent])
        changeCount += count
        dataBytesThatMayGo &+= bytes
        if isEmpty { extents[logical] = nil }
    }
}
