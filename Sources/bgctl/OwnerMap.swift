//===-- OwnerMap.swift - who owns what, known apart from the allocator ----------------------------===//
// One bit for each sector of the groups: set while the sector is free and nobody owns it. It is filled
// from the lists of free space before the first claim and then driven by the claims alone, so that an
// allocator that hands a sector out twice, or one that was never free, is caught at that moment.
//
// Invariant: a sector's bit is clear from the claim that took it until just before it is given back.
//
// Locks: none. Every word is changed by one atomic instruction; a claim of several words is not one
// step, but of two owners of a sector the second finds its bit clear whichever way they interleave.

import Glibc
import Synchronization

/// A bit for each free, unowned sector.
@safe
final class OwnerMap: @unchecked Sendable {
    struct Area {
        let logical: UInt64
        let length: UInt64
        /// Index of its first bit.
        let firstBit: UInt64

        var end: UInt64 { logical + length }
    }

    private let areas: [Area]
    private let shift: UInt64
    private let words: UnsafeMutablePointer<Atomic<UInt64>>

    /// - Parameters:
    ///   - ranges: start and length of each group, ascending.
    ///   - sectorSize: a power of two; all addresses and lengths are multiples of it.
    init(_ ranges: [(logical: UInt64, length: UInt64)], sectorSize: UInt64) throws {
        shift = UInt64(sectorSize.trailingZeroBitCount)
        var bit: UInt64 = 0
        var areas: [Area] = []
        for range in ranges {
            areas.append(Area(logical: range.logical, length: range.length, firstBit: bit))
            bit += range.length >> shift
        }
        self.areas = areas
        let count = Int(clamping: (bit >> 6) + 1)
        // Zeroed memory is so many atomics of value 0, and takes no page until it is used.
        guard let memory = unsafe calloc(count, 8) else {
            throw Failure("no memory for a map of \(grouped(bit)) sectors")
        }
        unsafe words = memory.bindMemory(to: Atomic<UInt64>.self, capacity: count)
    }

    deinit { unsafe free(words) }

    /// Which group holds an address.
    func area(of logical: UInt64) -> Int? {
        var low = 0
        var high = areas.count
        while low < high {
            let middle = low + (high - low) / 2
            if areas[middle].end <= logical { low = middle + 1 } else { high = middle }
        }
        return low < areas.count && areas[low].logical <= logical ? low : nil
    }

    /// Makes a range nobody's.
    ///
    /// - Returns: whether all of it was owned, or not free, before.
    func release(_ logical: UInt64, _ length: UInt64) -> Bool {
        guard let range = bits(logical, length) else { return false }
        return forEachWord(range) { index, mask in
            unsafe words[index].bitwiseOr(mask, ordering: .acquiringAndReleasing).oldValue & mask
                == 0
        }
    }

    /// Makes a range somebody's.
    ///
    /// - Returns: whether all of it was nobody's and free before.
    func take(_ logical: UInt64, _ length: UInt64) -> Bool {
        guard let range = bits(logical, length) else { return false }
        return forEachWord(range) { index, mask in
            unsafe words[index].bitwiseAnd(~mask, ordering: .acquiringAndReleasing).oldValue & mask
                == mask
        }
    }

    private func bits(_ logical: UInt64, _ length: UInt64) -> Range<UInt64>? {
        guard length > 0, (logical | length) & ((1 << shift) - 1) == 0,
            let index = area(of: logical), length <= areas[index].end - logical
        else { return nil }
        let first = areas[index].firstBit + (logical - areas[index].logical) >> shift
        return first..<first + length >> shift
    }

    /// All words are visited, whatever `body` says of one.
    private func forEachWord(_ bits: Range<UInt64>, _ body: (Int, UInt64) -> Bool) -> Bool {
        var isGood = true
        var bit = bits.lowerBound
        while bit < bits.upperBound {
            let offset = bit & 63
            let count = min(64 - offset, bits.upperBound - bit)
            let mask = (count == 64 ? UInt64.max : (1 << count) - 1) << offset
            if !body(Int(bit >> 6), mask) { isGood = false }
            bit += count
        }
        return isGood
    }
}

/// The first two of these ranges that share a byte; nil when none do.
func firstOverlap(
    _ ranges: [(logical: UInt64, length: UInt64)]
) -> ((logical: UInt64, length: UInt64), (logical: UInt64, length: UInt64))? {
    let sorted = ranges.sorted { $0.logical < $1.logical }
    for index in sorted.indices.dropFirst() {
        let before = sorted[index - 1]
        if sorted[index].logical - before.logical < before.length {
            return (before, sorted[index])
        }
    }
    return nil
}

/// The first of these ranges that does not lie in one of `free`, which are ascending and apart.
func firstOutside(
    _ ranges: [(logical: UInt64, length: UInt64)],
    _ free: [(logical: UInt64, length: UInt64)]
) -> (logical: UInt64, length: UInt64)? {
    for range in ranges {
        var low = 0
        var high = free.count
        while low < high {
            let middle = low + (high - low) / 2
            if free[middle].logical <= range.logical { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return range }
        let run = free[low - 1]
        let offset = range.logical - run.logical
        guard offset < run.length, range.length <= run.length - offset else { return range }
    }
    return nil
}
