//===-- PinnedExtents.swift - freed ranges that a durable commit still refers to ------------------===//
// What the running transaction freed stays off limits until the commit without it is durable: until
// then a crash brings back the commit before, which uses it.
//
// Locks: the tree mutex.
//===-------------------------------------------------------------------------------------------===//

/// A range of logical addresses, bytes.
struct PinnedExtent {
    let logical: UInt64
    let length: UInt64
}

struct PinnedExtents {
    private var extents: [PinnedExtent] = []

    var isEmpty: Bool { extents.isEmpty }

    mutating func insert(logical: UInt64, length: UInt64) {
        extents.append(PinnedExtent(logical: logical, length: length))
    }

    /// Takes all of them, for the commit that frees them.
    mutating func freeze() -> [PinnedExtent] {
        let frozen = extents
        extents = []
        return frozen
    }
}
