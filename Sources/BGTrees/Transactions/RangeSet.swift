//===-- RangeSet.swift - disjoint ranges of addresses, in order ----------------------------------===//
// A sorted array in pieces: inserting and removing move at most one piece, and finding one is two
// binary searches.
//
// Invariants: ranges ascend and do not overlap; no piece is empty, none longer than pieceMax.
//===-------------------------------------------------------------------------------------------===//

struct RangeSet {
    private struct Entry {
        let start: UInt64
        let end: UInt64
    }

    private static let pieceMax = 512

    private var pieces: [[Entry]] = []

    /// Whether a range shares a byte with `start..<end`.
    func intersects(start: UInt64, end: UInt64) -> Bool {
        guard let piece = piece(of: end &- 1) else { return false }
        let index = Self.lowerBound(pieces[piece], end)
        return index > 0 && pieces[piece][index - 1].end > start
    }

    /// Adds a range that overlaps none.
    mutating func insert(start: UInt64, end: UInt64) {
        assert(start < end && !intersects(start: start, end: end))
        let entry = Entry(start: start, end: end)
        guard !pieces.isEmpty else {
            pieces.append([entry])
            return
        }
        let piece = piece(of: start) ?? 0
        pieces[piece].insert(entry, at: Self.lowerBound(pieces[piece], start))
        guard pieces[piece].count > Self.pieceMax else { return }
        let upper = Array(pieces[piece][(Self.pieceMax / 2)...])
        pieces[piece].removeLast(upper.count)
        pieces.insert(upper, at: piece + 1)
    }

    /// Removes the range that starts at `start`, which is there.
    mutating func remove(start: UInt64) {
        guard let piece = piece(of: start) else { preconditionFailure("no such range") }
        let index = Self.lowerBound(pieces[piece], start)
        precondition(index < pieces[piece].count && pieces[piece][index].start == start)
        pieces[piece].remove(at: index)
        if pieces[piece].isEmpty { pieces.remove(at: piece) }
    }

    /// The last piece that starts at or below an address.
    private func piece(of address: UInt64) -> Int? {
        var low = 0
        var high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle][0].start <= address {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low > 0 ? low - 1 : nil
    }

    /// The first entry that starts at or above an address.
    private static func lowerBound(_ entries: [Entry], _ address: UInt64) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].start < address {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }
}
