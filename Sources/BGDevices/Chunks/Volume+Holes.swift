//===-- Volume+Holes.swift - room on the devices that no chunk has -------------------------------===//
// What a new chunk could be made of: the longest stretch of each device that no stripe lies on.
//
// Not here: making the chunk. Threads: call it while nobody adds chunks, as everything that reads
// the chunk map.

package import BGDiskFormat

extension Volume {
    /// Whether enough devices that are there have a hole for one stripe of a chunk of this profile.
    package func hasRoomForChunk(_ profile: Profile) -> Bool {
        // The kernel makes no stripe shorter than 64 KiB; dup puts two on one device.
        let least = stripeLength * (profile == .dup ? 2 : 1)
        return devices.filter { longestHole($0) >= least }.count >= profile.devicesMin
    }

    /// Bytes of the longest stretch of a device that no stripe lies on.
    package func longestHole(_ device: Device) -> UInt64 {
        var stripes: [(start: UInt64, end: UInt64)] = []
        for chunk in chunkMap.chunks {
            for stripe in chunk.item.stripes where stripe.devid == device.devid {
                // Checked when the chunk was read: no stripe passes the end of the address space.
                stripes.append((stripe.physical, stripe.physical + chunk.item.stripeBytes))
            }
        }
        stripes.sort { $0.start < $1.start }
        var longest: UInt64 = 0
        var from = deviceReservedBytes
        for stripe in stripes {
            if stripe.start > from { longest = max(longest, stripe.start - from) }
            from = max(from, stripe.end)
        }
        let end = device.superBlock.device.totalBytes
        return end > from ? max(longest, end - from) : longest
    }
}
