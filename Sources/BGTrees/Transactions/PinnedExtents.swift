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
    /// Those of the commit that is being written, in order of their addresses.
    private var frozen: [PinnedExtent] = []

    var isEmpty: Bool { extents.isEmpty }

    mutating func insert(logical: UInt64, length: UInt64) {
        extents.append(PinnedExtent(logical: logical, length: length))
    }

    /// Takes all of them, for the commit that frees them.
    ///
    /// - Returns: them, in order of their addresses.
    mutating func freeze() -> [PinnedExtent] {
        frozen = extents.sorted { $0.logical < $1.logical }
        extents = []
        return frozen
    }

    /// The commit that freed them is durable: nothing refers to them any more.
    mutating func didUnpin() { frozen = [] }

    /// Whether the commit that is being written frees any byte of a range. (What the running
    /// transaction pins, it does at the end, when it is frozen.) - Complexity: O(log extents)
    func holdsFrozen(logical: UInt64, end: UInt64) -> Bool {
        var low = 0
        var high = frozen.count
        while low < high {
            let middle = (low + high) / 2
            if frozen[middle].logical < end { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return false }
        return frozen[low - 1].logical + frozen[low - 1].length > logical
    }
}
