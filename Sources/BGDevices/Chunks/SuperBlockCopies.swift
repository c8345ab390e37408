//===-- SuperBlockCopies.swift - where super blocks shine through chunks ----------------------===//
// A chunk may cover the device offsets of super block copies. Those bytes are free by the trees,
// but never to be handed out: the allocator excludes them when it learns a group's free space.
//
// What is excluded is what the kernel excludes: for each stripe over a copy, one whole stripe
// length at its logical address (one whole row in raid5 and raid6, where parity is tied to it),
// and everything below 64 KiB of the logical address space.

package import BGDiskFormat

/// A range of logical addresses.
package struct LogicalRange: Equatable, Sendable {
    package var logical: UInt64
    package var length: UInt64

    package init(logical: UInt64, length: UInt64) {
        self.logical = logical
        self.length = length
    }

    /// First address behind the range.
    package var end: UInt64 { logical + length }
}

/// The ranges of a chunk that super block copies lie under: sorted, apart, within the chunk.
package func superBlockCopies(in chunk: ChunkItem) -> [LogicalRange] {
    var ranges: [LogicalRange] = []
    let primary = SuperBlock.physical(ofCopy: 0)
    if chunk.logical < primary {
        let end = min(primary, chunk.end)
        ranges.append(LogicalRange(logical: chunk.logical, length: end - chunk.logical))
    }
    for copy in 0..<SuperBlock.copyCount {
        let physical = SuperBlock.physical(ofCopy: copy)
        for index in 0..<chunk.stripes.count {
            let start = chunk.stripes[index].physical
            guard physical >= start, physical - start < chunk.stripeBytes else { continue }
            if let range = rangeOver(offset: physical - start, stripe: index, chunk) {
                insert(range, into: &ranges)
            }
        }
    }
    return ranges
}

/// What to exclude for a copy that lies `offset` bytes into stripe `index`.
private func rangeOver(offset: UInt64, stripe index: Int, _ chunk: ChunkItem) -> LogicalRange? {
    let row = offset / stripeLength
    let within = offset % stripeLength
    var number = row
    var unit = stripeLength
    switch chunk.profile {
    case .raid0:
        number = row * UInt64(chunk.stripes.count) + UInt64(index)
    case .raid10:
        number = row * UInt64(chunk.dataStripes) + UInt64(index / 2)
    case .raid5, .raid6:
        unit = stripeLength * UInt64(chunk.dataStripes)
    default: break
    }
    let relative = number * unit + within
    guard relative < chunk.length else { return nil }
    return LogicalRange(
        logical: chunk.logical + relative,
        length: min(unit, chunk.length - relative)
    )
}

/// Keeps `ranges` sorted and apart; there are at most a few.
private func insert(_ range: LogicalRange, into ranges: inout [LogicalRange]) {
    var merged = range
    var kept: [LogicalRange] = []
    for other in ranges {
        if other.end < merged.logical || merged.end < other.logical {
            kept.append(other)
        } else {
            let start = min(other.logical, merged.logical)
            merged = LogicalRange(
                logical: start,
                length: max(other.end, merged.end) - start
            )
        }
    }
    var position = 0
    while position < kept.count && kept[position].logical < merged.logical { position += 1 }
    kept.insert(merged, at: position)
    ranges = kept
}
