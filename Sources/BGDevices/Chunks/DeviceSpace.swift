//===-- DeviceSpace.swift - which bytes of the devices are in chunks ------------------------------===//
// Kept in memory while a file system is open for writing: the device items and, for each device,
// what lies on it. New chunks are planned from it (ChunkPlanning.swift).
//
// Invariants (checkInvariants() verifies the first three):
//   1. What is taken on a device is sorted, disjoint and within the device.
//   2. A device item's `bytesUsed` is the sum of what is taken, less what was removed and waits for
//      its commit.
//   3. No chunk is ever planned below 1 MiB of a device, nor at a logical address below one that was
//      given to a chunk before.
//   4. What a removed chunk had is taken until `release`: the last commit still reads it.
//
// Locks: none; the owner has one (BGS_MUTEX_CHUNKS in a file system).

package import BGDiskFormat

/// Nothing is ever allocated below this offset of a device, bytes (BTRFS_DEVICE_RANGE_RESERVED).
let deviceReservedBytes: UInt64 = 1 << 20

/// A chunk and the device extents that it takes, one for each stripe.
package struct ChunkPlan: Equatable, Sendable {
    package var chunk: ChunkItem
    package var extents: [DeviceExtent]

    package init(chunk: ChunkItem, extents: [DeviceExtent]) {
        self.chunk = chunk
        self.extents = extents
    }
}

/// The devices of a file system and what lies on them.
package struct DeviceSpace: Sendable {
    /// Bytes of a device in a chunk.
    struct Taken: Sendable {
        var start: UInt64
        var end: UInt64
    }

    struct DeviceState: Sendable {
        var item: DeviceItem
        /// Sorted and apart.
        var taken: [Taken] = []
    }

    /// In order of their ids.
    private(set) var states: [DeviceState]
    let sectorSize: UInt32
    let nodeSize: UInt32
    let chunkTreeUUID: FilesystemUUID
    /// Where the next chunk begins: behind every chunk there ever was.
    private(set) var nextLogical: UInt64
    /// Bytes of the system chunk array, with the chunks that were removed and wait for their commit.
    private(set) var systemArrayBytes = 0

    /// Bytes that no chunk has.
    package var unallocatedBytes: UInt64 {
        states.reduce(0) { $0 + $1.item.totalBytes - min($1.item.totalBytes, $1.item.bytesUsed) }
    }

    /// All devices as they are now, in order of their ids.
    package var deviceItems: [DeviceItem] { states.map { $0.item } }

    /// What `init` needs to know of the file system.
    package struct Format: Sendable {
        package var sectorSize: UInt32
        package var nodeSize: UInt32
        /// What tree blocks and device extents name as the chunk tree's UUID.
        package var chunkTreeUUID: FilesystemUUID

        package init(sectorSize: UInt32, nodeSize: UInt32, chunkTreeUUID: FilesystemUUID) {
            self.sectorSize = sectorSize
            self.nodeSize = nodeSize
            self.chunkTreeUUID = chunkTreeUUID
        }
    }

    /// The devices, with what the device tree and the chunk tree say lies on them.
    ///
    /// Throws `.corrupt` where the two do not agree, where extents overlap or pass the end of their
    /// device, and where a device item's sum is wrong, or the sizes of all have no sum.
    package init(
        _ items: [DeviceItem],
        extents: [DeviceExtent] = [],
        chunks: [ChunkItem] = [],
        _ format: Format
    ) throws(FilesystemError) {
        sectorSize = format.sectorSize
        nodeSize = format.nodeSize
        chunkTreeUUID = format.chunkTreeUUID
        nextLogical = deviceReservedBytes
        states = items.map { DeviceState(item: $0) }
        states.sort { $0.item.devid < $1.item.devid }
        for index in states.indices.dropFirst()
        where states[index - 1].item.devid == states[index].item.devid {
            throw FilesystemError(
                .corrupt,
                "device item",
                "two devices have this id",
                devid: states[index].item.devid
            )
        }
        var total: UInt64 = 0
        for state in states {
            guard let sum = total.end(adding: state.item.totalBytes) else {
                throw FilesystemError(
                    .corrupt,
                    "device item",
                    "% bytes are more than all devices can have",
                    state.item.totalBytes,
                    devid: state.item.devid
                )
            }
            total = sum
        }
        try DeviceSpace.check(extents, against: chunks)
        for extent in extents.sorted(by: { $0.key < $1.key }) { try place(extent) }
        for state in states { try DeviceSpace.checkSum(of: state) }
        for chunk in chunks {
            noteLogical(chunk.end)
            if chunk.flags.contains(.system) {
                systemArrayBytes += SuperBlock.systemChunkArrayBytes([chunk])
            }
        }
    }

    /// Puts an extent of the device tree behind those of its device that are there.
    private mutating func place(_ extent: DeviceExtent) throws(FilesystemError) {
        guard let index = index(ofDevid: extent.devid) else {
            throw DeviceSpace.wrong(extent, "is on no device that there is")
        }
        guard extent.end <= states[index].item.totalBytes else {
            throw DeviceSpace.wrong(extent, "of % bytes passes the device's end", extent.length)
        }
        if let last = states[index].taken.last, last.end > extent.physical {
            throw DeviceSpace.wrong(extent, "overlaps the one before it, which ends at %", last.end)
        }
        states[index].taken.append(Taken(start: extent.physical, end: extent.end))
    }

    private static func checkSum(of state: DeviceState) throws(FilesystemError) {
        let sum = state.taken.reduce(UInt64(0)) { $0 + ($1.end - $1.start) }
        guard sum == state.item.bytesUsed else {
            throw FilesystemError(
                .corrupt,
                "device item",
                "% bytes used, its device extents have %",
                state.item.bytesUsed,
                sum,
                devid: state.item.devid
            )
        }
    }

    /// Throws unless each stripe has its extent and each extent its stripe.
    private static func check(
        _ extents: [DeviceExtent],
        against chunks: [ChunkItem]
    ) throws(FilesystemError) {
        struct Place: Hashable {
            var devid: UInt64
            var physical: UInt64
        }
        var found: [Place: DeviceExtent] = [:]
        for extent in extents {
            found[Place(devid: extent.devid, physical: extent.physical)] = extent
        }
        var stripes = 0
        for chunk in chunks {
            for stripe in chunk.stripes {
                stripes += 1
                let place = Place(devid: stripe.devid, physical: stripe.physical)
                guard let extent = found[place], extent.chunkLogical == chunk.logical,
                    extent.length == chunk.stripeBytes
                else {
                    throw FilesystemError(
                        .corrupt,
                        "chunk",
                        "a stripe has no device extent of its own",
                        logical: chunk.logical,
                        devid: stripe.devid,
                        physical: stripe.physical
                    )
                }
            }
        }
        guard stripes == extents.count else {
            throw FilesystemError(
                .corrupt,
                "device tree",
                "% device extents, chunks have % stripes",
                UInt64(extents.count),
                UInt64(stripes)
            )
        }
    }

    private static func wrong(
        _ extent: DeviceExtent,
        _ what: StaticString,
        _ value: UInt64? = nil
    ) -> FilesystemError {
        FilesystemError(
            .corrupt,
            "device extent",
            what,
            value,
            logical: extent.chunkLogical,
            devid: extent.devid,
            physical: extent.physical
        )
    }

    // MARK: taking and giving back

    /// Marks what a plan takes. Its holes must be free.
    mutating func take(_ plan: ChunkPlan) {
        for extent in plan.extents {
            let index = knownIndex(ofDevid: extent.devid)
            let position = states[index].firstTaken(above: extent.physical)
            let taken = states[index].taken
            precondition(position == 0 || taken[position - 1].end <= extent.physical)
            precondition(position == taken.count || extent.end <= taken[position].start)
            precondition(extent.end <= states[index].item.totalBytes)
            states[index].taken.insert(Taken(start: extent.physical, end: extent.end), at: position)
            states[index].item.bytesUsed += extent.length
        }
        noteLogical(plan.chunk.end)
        if plan.chunk.flags.contains(.system) {
            systemArrayBytes += SuperBlock.systemChunkArrayBytes([plan.chunk])
        }
    }

    /// Undoes a plan that no commit has recorded: its holes are there again at once.
    package mutating func release(_ plan: ChunkPlan) {
        _ = remove(plan.chunk)
        release(plan.chunk)
    }

    /// The next commit will not have this chunk: its bytes no longer count as used, but stay taken
    /// until `release`, since the last commit still reads them.
    ///
    /// - Returns: its device extents, which that commit removes.
    package mutating func remove(_ chunk: ChunkItem) -> [DeviceExtent] {
        let extents = extents(of: chunk)
        for extent in extents {
            let index = knownIndex(ofDevid: extent.devid)
            states[index].item.bytesUsed -= extent.length
        }
        return extents
    }

    /// The commit that forgot this removed chunk is durable: its bytes are free.
    package mutating func release(_ chunk: ChunkItem) {
        for extent in extents(of: chunk) {
            let index = knownIndex(ofDevid: extent.devid)
            let position = states[index].firstTaken(above: extent.physical) - 1
            precondition(position >= 0 && states[index].taken[position].start == extent.physical)
            precondition(states[index].taken[position].end == extent.end)
            states[index].taken.remove(at: position)
        }
        if chunk.flags.contains(.system) {
            systemArrayBytes -= SuperBlock.systemChunkArrayBytes([chunk])
        }
    }

    private func extents(of chunk: ChunkItem) -> [DeviceExtent] {
        chunk.stripes.map { stripe in
            DeviceExtent(
                devid: stripe.devid,
                physical: stripe.physical,
                length: chunk.stripeBytes,
                chunkLogical: chunk.logical,
                chunkTreeUUID: chunkTreeUUID
            )
        }
    }

    private func index(ofDevid devid: UInt64) -> Int? {
        states.firstIndex { $0.item.devid == devid }
    }

    private func knownIndex(ofDevid devid: UInt64) -> Int {
        guard let index = index(ofDevid: devid) else {
            preconditionFailure("a chunk of a device that is not here")
        }
        return index
    }

    /// Later chunks begin at or behind `end`, and never in the middle of a stripe length: no tree
    /// block may cross one.
    private mutating func noteLogical(_ end: UInt64) {
        let unit = stripeLength - 1
        let aligned = end > UInt64.max - unit ? UInt64.max & ~unit : (end + unit) & ~unit
        nextLogical = max(nextLogical, aligned)
    }

    /// Stops the program where an invariant does not hold; for tests.
    package func checkInvariants() {
        for state in states {
            var from: UInt64 = 0
            var sum: UInt64 = 0
            for taken in state.taken {
                precondition(taken.start >= from)
                precondition(taken.end > taken.start)
                from = taken.end
                sum += taken.end - taken.start
            }
            precondition(from <= state.item.totalBytes)
            precondition(state.item.bytesUsed <= sum)
        }
        precondition(nextLogical >= deviceReservedBytes)
    }
}

extension DeviceSpace.DeviceState {
    /// Number of taken ranges that begin at or below `physical`.
    func firstTaken(above physical: UInt64) -> Int {
        var low = 0
        var high = taken.count
        while low < high {
            let middle = (low + high) / 2
            if taken[middle].start <= physical { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The first hole of `length` bytes; where there is none, the longest, the first of several.
    func hole(atLeast length: UInt64) -> (physical: UInt64, length: UInt64) {
        var best: (physical: UInt64, length: UInt64) = (deviceReservedBytes, 0)
        var from = deviceReservedBytes
        for taken in taken {
            if taken.start > from {
                let free = taken.start - from
                if free >= length { return (from, length) }
                if free > best.length { best = (from, free) }
            }
            from = max(from, taken.end)
        }
        guard item.totalBytes > from else { return best }
        let free = item.totalBytes - from
        if free >= length { return (from, length) }
        return free > best.length ? (from, free) : best
    }
}
