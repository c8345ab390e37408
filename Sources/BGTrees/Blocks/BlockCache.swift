//===-- BlockCache.swift - the last few checked blocks ------------------------------------------===//
// Keeps checked blocks by address so that neighbouring searches do not read the upper nodes again.
// Direct-mapped: each address has one place, a newcomer drops who was there. Memory is bounded by
// the number of places times the node size.
//
// Threads: none of its own; it belongs to one TreeReader.
//===-------------------------------------------------------------------------------------------===//

struct BlockCache {
    private var places: [TreeBlock?]
    private let mask: UInt64

    /// - Parameter places: a power of two.
    init(places: Int) {
        precondition(places > 0 && places & (places - 1) == 0)
        self.places = Array(repeating: nil, count: places)
        mask = UInt64(places - 1)
    }

    /// Spreads addresses, which are multiples of 4 KiB, over the places (Fibonacci hashing).
    private func place(_ logical: UInt64) -> Int {
        Int((((logical >> 12) &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask)
    }

    subscript(logical: UInt64) -> TreeBlock? {
        guard let block = places[place(logical)], block.logical == logical else { return nil }
        return block
    }

    mutating func insert(_ block: TreeBlock) {
        places[place(block.logical)] = block
    }
}
