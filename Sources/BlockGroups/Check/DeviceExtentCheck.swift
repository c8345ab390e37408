//===-- DeviceExtentCheck.swift - the parts of devices in use, against the chunks ----------------===//
// Each stripe of each chunk has one device extent, and each device extent one stripe; they lie
// apart, on their device, and add up to what the device item says.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

/// A stripe, or the device extent that should be the same.
private struct DeviceRange {
    let devid: UInt64
    let physical: UInt64
    let length: UInt64
    let chunkLogical: UInt64

    static func isOrdered(_ a: DeviceRange, _ b: DeviceRange) -> Bool {
        a.devid != b.devid ? a.devid < b.devid : a.physical < b.physical
    }
}

/// Nothing but the first super block lies below this offset of a device.
private let reservedBytes: UInt64 = 1 << 20

extension Checker {
    func checkDeviceExtents() {
        guard let root = root(of: ObjectID.deviceTree) else { return }
        var found: [DeviceRange] = []
        var isWhole = true
        var walk = LeafWalk(self, root.tree, isAccounting: false)
        while let leaf = walk.next() {
            requireItems(leaf, in: ObjectID.deviceTree)
            for slot in 0..<leaf.itemCount {
                let key = leaf.key(slot)
                do throws(FilesystemError) {
                    guard key.type == .deviceExtent else {
                        try checkDeviceStatistics(key)
                        continue
                    }
                    let extent = try leaf.withItem(slot) { (data) throws(FilesystemError) in
                        try DeviceExtent(key: key, data, limits)
                    }
                    found.append(
                        DeviceRange(
                            devid: extent.devid,
                            physical: extent.physical,
                            length: extent.length,
                            chunkLogical: extent.chunkLogical
                        )
                    )
                } catch {
                    isWhole = false
                    report(
                        .deviceExtent,
                        error.located(
                            root: ObjectID.deviceTree,
                            logical: leaf.logical,
                            slot: slot
                        )
                    )
                }
            }
        }
        checkPlaces(found)
        if isWhole, walk.isWhole, chunksAreWhole {
            compareWithStripes(found)
            compareWithDevices(found)
        }
    }

    private func checkDeviceStatistics(_ key: Key) throws(FilesystemError) {
        guard key.type == .persistentItem || key.type == .temporaryItem else {
            throw FilesystemError(
                .corrupt,
                "item",
                "type % in the device tree",
                UInt64(key.type.rawValue)
            )
        }
    }

    /// - Parameter found: as the tree has them: by device and place.
    private func checkPlaces(_ found: [DeviceRange]) {
        var previous: DeviceRange?
        for extent in found {
            func fault(_ what: StaticString, _ value: UInt64) {
                report(
                    CheckFault(
                        .deviceExtent,
                        what,
                        value,
                        devid: extent.devid,
                        physical: extent.physical
                    )
                )
            }
            if extent.physical < reservedBytes {
                fault("lies below the first % bytes of its device", reservedBytes)
            }
            if let device = devices.first(where: { $0.devid == extent.devid }) {
                if extent.physical + extent.length > device.totalBytes {
                    fault("passes the end of its device at %", device.totalBytes)
                }
            } else if chunksAreWhole {
                fault("there is no device %", extent.devid)
            }
            if let previous, previous.devid == extent.devid,
                previous.physical + previous.length > extent.physical
            {
                fault("overlaps the one at %", previous.physical)
            }
            previous = extent
        }
    }

    private func compareWithStripes(_ found: [DeviceRange]) {
        var stripes: [DeviceRange] = []
        for chunk in chunks {
            for stripe in chunk.stripes {
                stripes.append(
                    DeviceRange(
                        devid: stripe.devid,
                        physical: stripe.physical,
                        length: chunk.stripeBytes,
                        chunkLogical: chunk.logical
                    )
                )
            }
        }
        stripes.sort(by: DeviceRange.isOrdered)
        forEachPair(stripes, found, by: DeviceRange.isOrdered) { stripe, extent in
            guard let stripe else {
                if let extent { report(extent, "is not a stripe of the chunk at %") }
                return
            }
            guard let extent else {
                return report(stripe, "a stripe of the chunk at % has no device extent")
            }
            if stripe.chunkLogical != extent.chunkLogical {
                report(extent, "is not the chunk's at %")
            } else if stripe.length != extent.length {
                report(extent, "has not the length of its stripe, chunk at %")
            }
        }
    }

    private func report(_ range: DeviceRange, _ what: StaticString) {
        report(
            CheckFault(
                .deviceExtent,
                what,
                range.chunkLogical,
                devid: range.devid,
                physical: range.physical
            )
        )
    }

    private func compareWithDevices(_ found: [DeviceRange]) {
        for device in devices {
            var used: UInt64 = 0
            for extent in found where extent.devid == device.devid { used = used &+ extent.length }
            if used != device.bytesUsed {
                report(
                    CheckFault(
                        .device,
                        "% bytes used, its extents hold %",
                        device.bytesUsed,
                        used,
                        devid: device.devid
                    )
                )
            }
        }
    }
}
