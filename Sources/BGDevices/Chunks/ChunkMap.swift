//===-- ChunkMap.swift - logical addresses to places on devices -------------------------------===//
// The chunks of a file system in address order, and the arithmetic of every profile.
//
// Invariants:
//   1. Chunks are sorted by address and do not overlap.
//   2. A chunk here can be served: no more of its devices are missing than its profile stands.
//   3. Every stripe on a device that is there lies within that device.
//
// Locks: none here. A Chunk is constant; who changes the map keeps readers out (Volume).

package import BGDiskFormat

/// A chunk and the devices behind its stripes.
package final class Chunk: Sendable {
    package let item: ChunkItem
    /// One for each stripe; nil where the device is missing.
    package let devices: [Device?]

    package init(_ item: ChunkItem, devices: [Device?]) {
        precondition(devices.count == item.stripes.count)
        self.item = item
        self.devices = devices
    }

    /// Ways to read a byte, numbered from 1 as the kernel does: copies, then rebuilds.
    ///
    /// Raid5 has one rebuild. Raid6 rebuilds from P, then from Q, then as if each other data
    /// stripe in turn were lost too.
    package var mirrorCount: Int {
        switch item.profile {
        case .raid5: 2
        case .raid6: item.stripes.count
        default: item.profile.copies
        }
    }

    /// A place in the chunk, split up by the stripes.
    package struct Place: Equatable {
        /// Which piece of distinct data, below `dataStripes`.
        package var dataIndex: Int
        /// Which row of pieces; 0 in a profile without stripes.
        package var row: UInt64
        /// Bytes from the start of a stripe on its device.
        package var stripeOffset: UInt64
        /// Bytes from here on that lie side by side.
        package var contiguous: UInt64
    }

    /// Splits up `offset`, which is below the chunk's length.
    package func place(offset: UInt64) -> Place {
        guard item.profile.isStriped else {
            return Place(
                dataIndex: 0,
                row: 0,
                stripeOffset: offset,
                contiguous: item.length - offset
            )
        }
        let data = UInt64(item.dataStripes)
        let number = offset / stripeLength
        let within = offset % stripeLength
        let row = number / data
        return Place(
            dataIndex: Int(number % data),
            row: row,
            stripeOffset: row * stripeLength + within,
            contiguous: min(stripeLength - within, item.length - offset)
        )
    }

    /// Which stripe holds a place's bytes in copy `mirror` (from 1, below or at the copies).
    package func stripeIndex(of place: Place, mirror: Int) -> Int {
        switch item.profile {
        case .single: 0
        case .raid0: place.dataIndex
        case .dup, .raid1, .raid1c3, .raid1c4: mirror - 1
        case .raid10: place.dataIndex * 2 + mirror - 1
        case .raid5, .raid6: stripeIndex(ofRole: place.dataIndex, row: place.row)
        }
    }

    /// Which stripe holds data stripe `role` of a raid5 or raid6 row; P and Q follow the data.
    package func stripeIndex(ofRole role: Int, row: UInt64) -> Int {
        Int((row % UInt64(item.stripes.count) + UInt64(role)) % UInt64(item.stripes.count))
    }

    /// The first device that is missing and without which some byte cannot be read, if any.
    package var unservedDevid: UInt64? {
        var missing = 0
        var firstMissing: UInt64?
        for (index, device) in devices.enumerated() where device == nil {
            missing += 1
            firstMissing = firstMissing ?? item.stripes[index].devid
        }
        guard missing > 0 else { return nil }
        let served =
            switch item.profile {
            case .single, .raid0: false
            case .dup, .raid1, .raid1c3, .raid1c4: missing < devices.count
            case .raid10: everyPairHasOne
            case .raid5, .raid6: missing <= item.profile.parityStripes
            }
        return served ? nil : firstMissing
    }

    private var everyPairHasOne: Bool {
        var index = 0
        while index + 1 < devices.count {
            if devices[index] == nil && devices[index + 1] == nil { return false }
            index += 2
        }
        return true
    }
}

/// The chunks of a file system.
package struct ChunkMap: Sendable {
    package private(set) var chunks: [Chunk] = []

    package init() {}

    /// The chunk that holds `logical`. - Complexity: O(log chunks)
    package func chunk(at logical: UInt64) -> Chunk? {
        let index = firstIndex(above: logical)
        guard index > 0 else { return nil }
        let chunk = chunks[index - 1]
        return logical < chunk.item.end ? chunk : nil
    }

    /// Adds a chunk; one that is there already, equal in everything, changes nothing.
    ///
    /// Throws `.corrupt` where it overlaps another one.
    package mutating func insert(_ chunk: Chunk) throws(FilesystemError) {
        let index = firstIndex(above: chunk.item.logical)
        if index > 0 {
            let before = chunks[index - 1].item
            if before == chunk.item { return }
            guard before.end <= chunk.item.logical else {
                throw ChunkMap.overlap(chunk.item, before)
            }
        }
        if index < chunks.count {
            let after = chunks[index].item
            guard chunk.item.end <= after.logical else {
                throw ChunkMap.overlap(chunk.item, after)
            }
        }
        chunks.insert(chunk, at: index)
    }

    /// Takes out the chunk that begins at `logical`; nil where none does.
    package mutating func remove(logical: UInt64) -> Chunk? {
        let index = firstIndex(above: logical)
        guard index > 0, chunks[index - 1].item.logical == logical else { return nil }
        return chunks.remove(at: index - 1)
    }

    /// Number of chunks that begin at or below `logical`.
    private func firstIndex(above logical: UInt64) -> Int {
        var low = 0
        var high = chunks.count
        while low < high {
            let middle = (low + high) / 2
            if chunks[middle].item.logical <= logical {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    private static func overlap(_ chunk: ChunkItem, _ other: ChunkItem) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "chunk",
            "of % bytes overlaps the chunk at %",
            chunk.length,
            other.logical,
            logical: chunk.logical
        )
    }
}
