//===-- ChunkPlanning.swift - which devices the next chunk lies on, and how large it is -----------===//
// Chooses as the kernel does, so that a file system ages the same under both.
//
// The rules (fs/btrfs/volumes.c, btrfs_create_chunk() and what it calls, and
// calc_chunk_size() in space-info.c), for regular devices:
//   - Each device offers its first hole of the largest stripe there may be, or else its longest
//     hole. Those that offer more come first, then those with more bytes in no chunk.
//   - A chunk takes as many devices as its profile can use, rather than large stripes.
//   - Limits of a chunk: data 10 GiB, metadata 256 MiB (1 GiB where the devices have more than
//     50 GiB together), SYSTEM 32 MiB, and never more than a tenth of all devices, rounded up so
//     that a stripe is whole 16 MiB. No stripe is longer than 1 GiB.
//   - Stripes are whole 64 KiB.
// Not here: zoned devices; who asks for a chunk, and when.

package import BGDiskFormat

private let mebibyte: UInt64 = 1 << 20
private let gibibyte: UInt64 = 1 << 30

extension DeviceSpace {
    /// Plans a chunk of this type and profile, and takes what it needs.
    ///
    /// - Parameter lengthMax: bytes; where given, the chunk is no longer than this, rounded up to
    ///   whole 64 KiB in each stripe, even where the rules allow more.
    /// - Returns: nil where the devices have no holes for it, or the super block no room for one
    ///   more SYSTEM chunk.
    /// - Complexity: O(device extents)
    package mutating func planChunk(
        _ flags: ChunkFlags,
        lengthMax: UInt64 = .max
    ) -> ChunkPlan? {
        guard let plan = plan(flags, lengthMax: lengthMax) else { return nil }
        take(plan)
        return plan
    }

    /// Whether `planChunk` would find room.
    package func hasRoom(_ flags: ChunkFlags) -> Bool {
        plan(flags, lengthMax: .max) != nil
    }

    private func plan(_ flags: ChunkFlags, lengthMax: UInt64) -> ChunkPlan? {
        guard let profile = flags.profile else { preconditionFailure("more than one profile") }
        let ofType = chunkBytesMax(flags)
        var offers = offers(to: profile, stripeBytesMax: min(ofType, gibibyte))
        let count = min(offers.count - offers.count % profile.devicesStep, devicesMax(flags))
        guard count >= profile.devicesMin else { return nil }
        offers.removeLast(offers.count - count)

        let stripeCount = count * profile.stripesPerDevice
        let dataStripes = UInt64(profile.dataStripes(of: stripeCount))
        var stripeBytes = offers[count - 1].length / UInt64(profile.stripesPerDevice)
        let chunkMax = min(totalBytes / 10, ofType)
        if stripeBytes > chunkMax / dataStripes {
            stripeBytes = min(stripeBytes, roundUp(chunkMax / dataStripes, 16 * mebibyte))
        }
        stripeBytes = min(stripeBytes, gibibyte)
        if stripeBytes > lengthMax / dataStripes {
            stripeBytes = min(stripeBytes, roundUp(lengthMax / dataStripes, stripeLength))
        }
        stripeBytes -= stripeBytes % stripeLength
        guard stripeBytes > 0, nextLogical.end(adding: stripeBytes * dataStripes) != nil else {
            return nil
        }
        let plan = layOut(flags, profile, offers, stripeBytes, dataStripes)
        guard !flags.contains(.system) || hasArrayRoom(for: plan.chunk) else { return nil }
        return plan
    }

    /// A device's place for the stripes of a chunk.
    private struct Offer {
        var stateIndex: Int
        var physical: UInt64
        /// Bytes, for all stripes on this device.
        var length: UInt64
        /// Bytes of the device in no chunk.
        var available: UInt64
    }

    /// What each device has to offer, best first.
    private func offers(to profile: Profile, stripeBytesMax: UInt64) -> [Offer] {
        let least = stripeLength * UInt64(profile.stripesPerDevice)
        let most = stripeBytesMax * UInt64(profile.stripesPerDevice)
        var offers: [Offer] = []
        for (index, state) in states.enumerated() {
            let available = state.item.totalBytes - state.item.bytesUsed
            guard available >= least else { continue }
            let hole = state.hole(atLeast: most)
            guard hole.length >= least else { continue }
            offers.append(
                Offer(
                    stateIndex: index,
                    physical: hole.physical,
                    length: hole.length,
                    available: available
                )
            )
        }
        offers.sort { a, b in
            if a.length != b.length { return a.length > b.length }
            if a.available != b.available { return a.available > b.available }
            return a.stateIndex < b.stateIndex
        }
        return offers
    }

    private func layOut(
        _ flags: ChunkFlags,
        _ profile: Profile,
        _ offers: [Offer],
        _ stripeBytes: UInt64,
        _ dataStripes: UInt64
    ) -> ChunkPlan {
        var stripes: [ChunkStripe] = []
        var extents: [DeviceExtent] = []
        for offer in offers {
            let device = states[offer.stateIndex].item
            for number in 0..<profile.stripesPerDevice {
                let physical = offer.physical + UInt64(number) * stripeBytes
                stripes.append(
                    ChunkStripe(devid: device.devid, physical: physical, deviceUUID: device.uuid)
                )
                extents.append(
                    DeviceExtent(
                        devid: device.devid,
                        physical: physical,
                        length: stripeBytes,
                        chunkLogical: nextLogical,
                        chunkTreeUUID: chunkTreeUUID
                    )
                )
            }
        }
        let chunk = ChunkItem(
            logical: nextLogical,
            length: stripeBytes * dataStripes,
            flags: flags,
            profile: profile,
            sectorSize: sectorSize,
            stripes: stripes
        )
        return ChunkPlan(chunk: chunk, extents: extents)
    }

    /// Bytes of all devices.
    private var totalBytes: UInt64 { states.reduce(0) { $0 + $1.item.totalBytes } }

    /// The longest chunk of a type, before the tenth of all devices.
    private func chunkBytesMax(_ flags: ChunkFlags) -> UInt64 {
        if flags.contains(.data) { return 10 * gibibyte }
        if flags.contains(.system) { return 32 * mebibyte }
        return totalBytes > 50 * gibibyte ? gibibyte : 256 * mebibyte
    }

    /// How many devices a chunk can have: as the profile says, and as its item may be long.
    private func devicesMax(_ flags: ChunkFlags) -> Int {
        let profile = flags.profile ?? .single
        if let most = profile.devicesMax { return most }
        let room: Int
        if flags.contains(.system) {
            // Two of them fit the super block's array.
            room = SuperBlock.systemChunkArrayBytesMax / 2 - Key.byteCount
        } else {
            // The chunk is an item of a leaf, which has a header and the item's own.
            room = Int(nodeSize) - NodeHeader.byteCount - LeafItem.headerByteCount
        }
        let most = (room - ChunkItem.fixedByteCount) / ChunkStripe.byteCount
        return most - most % profile.devicesStep
    }

    private func hasArrayRoom(for chunk: ChunkItem) -> Bool {
        systemArrayBytes + SuperBlock.systemChunkArrayBytes([chunk])
            <= SuperBlock.systemChunkArrayBytesMax
    }

    private func roundUp(_ bytes: UInt64, _ unit: UInt64) -> UInt64 {
        (bytes + unit - 1) / unit * unit
    }
}

/// The kernel's table of profiles (btrfs_raid_array), as far as a new chunk needs it.
extension Profile {
    /// The fewest devices that a chunk of this profile lies on.
    package var devicesMin: Int {
        switch self {
        case .single, .dup, .raid0: 1
        case .raid1, .raid10, .raid5: 2
        case .raid1c3, .raid6: 3
        case .raid1c4: 4
        }
    }

    /// The most devices that a chunk can use; nil: any number.
    package var devicesMax: Int? {
        switch self {
        case .single, .dup: 1
        case .raid1: 2
        case .raid1c3: 3
        case .raid1c4: 4
        case .raid0, .raid10, .raid5, .raid6: nil
        }
    }

    /// The number of devices is a multiple of this.
    package var devicesStep: Int {
        switch self {
        case .single, .dup, .raid0, .raid5, .raid6: 1
        case .raid1, .raid10: 2
        case .raid1c3: 3
        case .raid1c4: 4
        }
    }

    /// Stripes that lie on each device, one behind the other.
    package var stripesPerDevice: Int { self == .dup ? 2 : 1 }
}
