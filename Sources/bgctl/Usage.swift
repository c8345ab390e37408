//===-- Usage.swift - space by type and profile, and by device ------------------------------------===//
// What `info` and `df` tell of block groups, chunks and devices, and the tables that show it. Needs only
// what opening reads.

import BGDevices
import BGDiskFormat
import BlockGroups

/// The groups of one type and profile.
struct Space {
    let totals: Totals
    /// Bytes on devices, every copy and parity among them; on missing devices, too.
    var rawBytes: UInt64 = 0

    /// Bytes on devices that hold one byte; 1 where there is none.
    var ratio: Double { totals.length == 0 ? 1 : Double(rawBytes) / Double(totals.length) }
    var rawUsed: UInt64 { UInt64(Double(totals.used) * ratio) }
    /// Neither used nor kept for copies of the super block.
    var left: UInt64 { totals.length - min(totals.length, totals.used + totals.superBytes) }
    var kind: GroupKind { GroupKind(totals.flags) }
}

struct DeviceUsage {
    let devid: UInt64
    /// nil: the device is missing; of such a one the sizes are 0 and mean nothing.
    let path: String?
    let size: UInt64
    /// Bytes of the file or block device that the file system leaves alone.
    let slack: UInt64
    /// Bytes that groups take, by the index of their space.
    var bySpace: [UInt64]

    var allocated: UInt64 { bySpace.reduce(0, +) }
    var unallocated: UInt64 { size - min(size, allocated) }
}

struct Usage {
    /// In the order in which their types first appear.
    private(set) var spaces: [Space]
    /// Ascending by number, the missing ones among them.
    private(set) var devices: [DeviceUsage]
    /// What the super block counts beyond the devices that are there, if any is missing.
    let missingBytes: UInt64

    init(_ image: Image) {
        let volume = image.reader.volume
        spaces = Totals.byType(of: image.reader.blockGroups).map { Space(totals: $0) }
        let none = [UInt64](repeating: 0, count: spaces.count)
        devices = volume.devices.map { device in
            let size = device.superBlock.device.totalBytes
            let byteCount = device.storage.byteCount
            return DeviceUsage(
                devid: device.devid,
                path: image.paths[device.index],
                size: size,
                slack: byteCount - min(size, byteCount),
                bySpace: none
            )
        }
        let present = devices.reduce(0) { $0 + $1.size }
        let total = image.superBlock.totalBytes
        missingBytes = volume.missingDevids.isEmpty ? 0 : total - min(total, present)
        devices += volume.missingDevids.map { devid in
            DeviceUsage(devid: devid, path: nil, size: 0, slack: 0, bySpace: none)
        }
        devices.sort { $0.devid < $1.devid }
        for chunk in volume.chunkMap.chunks { add(chunk.item) }
    }

    private mutating func add(_ chunk: ChunkItem) {
        let flags = BlockGroupFlags(rawValue: chunk.flags.rawValue)
        guard let index = spaces.firstIndex(where: { $0.totals.flags == flags }) else { return }
        for stripe in chunk.stripes {
            spaces[index].rawBytes += chunk.stripeBytes
            guard let device = devices.firstIndex(where: { $0.devid == stripe.devid }) else {
                continue
            }
            devices[device].bySpace[index] += chunk.stripeBytes
        }
    }

    /// A line for each type and profile.
    func writeSpaces(to output: inout Output, _ style: Style) {
        var table = Table([
            ("space", .left), ("groups", .right), ("size", .right), ("used", .right),
            ("left", .right), ("on devices", .right), ("fill", .left), ("", .right),
        ])
        for space in spaces {
            let totals = space.totals
            table.add([
                totals.words, String(totals.groups), sizeText(totals.length),
                sizeText(totals.used), sizeText(space.left), sizeText(space.rawBytes),
                bar(totals.used, of: totals.length, cells: 12),
                percentText(totals.used, of: totals.length),
            ])
        }
        table.write(to: &output, style: style)
    }

    /// A line for each device.
    ///
    /// - Parameter bySpace: with a column for each type and profile.
    func writeDevices(to output: inout Output, _ style: Style, bySpace: Bool = false) {
        let columns = bySpace ? spaces.map { ($0.totals.words, Table.Alignment.right) } : []
        var table = Table(
            [("device", .right), ("size", .right)] + columns
                + [("allocated", .right), ("unallocated", .right), ("path", .left)]
        )
        for device in devices {
            let isThere = device.path != nil
            table.add(
                [String(device.devid), isThere ? sizeText(device.size) : "-"]
                    + (bySpace ? device.bySpace.map { $0 == 0 ? "-" : sizeText($0) } : [])
                    + [
                        sizeText(device.allocated), isThere ? sizeText(device.unallocated) : "-",
                        device.path ?? "missing",
                    ]
            )
        }
        table.write(to: &output, style: style)
    }
}
