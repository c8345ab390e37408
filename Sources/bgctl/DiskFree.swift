//===-- DiskFree.swift - bgctl df: how full the file system is, and how full it can get -----------===//
// Tells what `btrfs filesystem usage` tells of a mount, from the block groups and chunks of an image.
//
// Not here: a global reserve, which only a mounted file system has.

import ArgumentParser
import BGDevices
import BGDiskFormat
import BlockGroups

struct DiskFree: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df",
        abstract: "Shows how much is used and how much is left, by type and by device.",
        discussion: """
            "on devices" counts every copy and parity. "Free" is an estimate: what is left in block \
            groups for data, and what the unallocated part of the devices would give to data with \
            its present profile. Metadata takes its share of that, too.
            """
    )

    @OptionGroup var options: ImageOptions

    func run() throws {
        let image = try Image(options)
        let usage = Usage(image)
        if options.json { try usage.writeJSON() } else { try usage.writeText() }
    }
}

/// The groups of one type and profile.
private struct Space {
    let totals: Totals
    /// Bytes on devices.
    var rawBytes: UInt64 = 0

    /// Bytes on devices that hold one byte; 1 where there is none.
    var ratio: Double { totals.length == 0 ? 1 : Double(rawBytes) / Double(totals.length) }
    var rawUsed: UInt64 { UInt64(Double(totals.used) * ratio) }
    /// Neither used nor kept for copies of the super block.
    var left: UInt64 { totals.length - min(totals.length, totals.used + totals.superBytes) }
    var holdsData: Bool { GroupKind(totals.flags) == .data || GroupKind(totals.flags) == .mixed }
}

private struct Usage {
    struct DeviceUsage {
        let devid: UInt64
        let path: String
        let size: UInt64
        let allocated: UInt64

        var unallocated: UInt64 { size - min(size, allocated) }
    }

    let spaces: [Space]
    let devices: [DeviceUsage]
    let missingDevids: [UInt64]

    init(_ image: Image) {
        var spaces = Totals.byType(of: image.reader.blockGroups).map { Space(totals: $0) }
        var perDevice: [UInt64: UInt64] = [:]
        for chunk in image.reader.volume.chunkMap.chunks {
            let flags = BlockGroupFlags(rawValue: chunk.item.flags.rawValue)
            let raw = chunk.item.stripeBytes * UInt64(chunk.item.stripes.count)
            if let index = spaces.firstIndex(where: { $0.totals.flags == flags }) {
                spaces[index].rawBytes += raw
            }
            for stripe in chunk.item.stripes {
                perDevice[stripe.devid, default: 0] += chunk.item.stripeBytes
            }
        }
        self.spaces = spaces
        devices = image.reader.volume.devices.map { device in
            DeviceUsage(
                devid: device.devid,
                path: image.paths[device.index],
                size: device.superBlock.device.totalBytes,
                allocated: perDevice[device.devid] ?? 0
            )
        }.sorted { $0.devid < $1.devid }
        missingDevids = image.reader.volume.missingDevids.sorted()
    }

    var size: UInt64 { devices.reduce(0) { $0 + $1.size } }
    var allocated: UInt64 { devices.reduce(0) { $0 + $1.allocated } }
    var unallocated: UInt64 { devices.reduce(0) { $0 + $1.unallocated } }
    var used: UInt64 { spaces.reduce(0) { $0 + $1.rawUsed } }

    func ratio(where isWanted: (Space) -> Bool) -> Double {
        let wanted = spaces.filter(isWanted)
        let length = wanted.reduce(0) { $0 + $1.totals.length }
        let raw = wanted.reduce(0) { $0 + $1.rawBytes }
        return length == 0 ? 1 : Double(raw) / Double(length)
    }

    var dataRatio: Double { ratio { $0.holdsData } }
    var metadataRatio: Double { ratio { GroupKind($0.totals.flags) == .metadata } }

    /// See the command's help.
    var free: UInt64 {
        let left = spaces.filter { $0.holdsData }.reduce(0) { $0 + $1.left }
        return left + UInt64(Double(unallocated) / dataRatio)
    }

    func writeText() throws {
        var output = Output()
        let style = Style(isOn: Terminal.hasColour)
        func fact(_ name: String, _ text: String) {
            output.line(
                style.bold(name) + String(repeating: " ", count: max(1, 22 - name.count)) + text
            )
        }
        fact("device size", sizeText(size))
        fact("device allocated", sizeText(allocated))
        fact("device unallocated", sizeText(unallocated))
        fact("used, on devices", sizeText(used))
        fact("free, estimated", sizeText(free))
        fact("data ratio", decimal(dataRatio, 2))
        fact("metadata ratio", decimal(metadataRatio, 2))
        output.line()
        var table = Table([
            ("space", .left), ("size", .right), ("used", .right), ("left", .right),
            ("on devices", .right), ("fill", .left), ("", .right),
        ])
        for space in spaces {
            table.add([
                space.totals.words, sizeText(space.totals.length), sizeText(space.totals.used),
                sizeText(space.left), sizeText(space.rawBytes),
                bar(space.totals.used, of: space.totals.length, cells: 12),
                percentText(space.totals.used, of: space.totals.length),
            ])
        }
        table.write(to: &output, style: style)
        output.line()
        writeDevices(to: &output, style)
        try output.flush()
    }

    private func writeDevices(to output: inout Output, _ style: Style) {
        var table = Table([
            ("device", .right), ("size", .right), ("allocated", .right), ("unallocated", .right),
            ("path", .left),
        ])
        for device in devices {
            table.add([
                String(device.devid), sizeText(device.size), sizeText(device.allocated),
                sizeText(device.unallocated), device.path,
            ])
        }
        for devid in missingDevids { table.add([String(devid), "-", "-", "-", "missing"]) }
        table.write(to: &output, style: style)
    }

    func writeJSON() throws {
        var json = JSONWriter()
        json.object { json in
            json.field("device_size", size)
            json.field("device_allocated", allocated)
            json.field("device_unallocated", unallocated)
            json.field("used", used)
            json.field("free_estimated", free)
            json.field("data_ratio", dataRatio)
            json.field("metadata_ratio", metadataRatio)
            json.list("spaces") { json in
                for space in spaces {
                    json.object { json in
                        json.field("flags", space.totals.words)
                        json.field("size", space.totals.length)
                        json.field("used", space.totals.used)
                        json.field("device_bytes", space.rawBytes)
                    }
                }
            }
            json.list("devices") { json in
                for device in devices {
                    json.object { json in
                        json.field("devid", device.devid)
                        json.field("path", device.path)
                        json.field("size", device.size)
                        json.field("allocated", device.allocated)
                        json.field("unallocated", device.unallocated)
                    }
                }
            }
        }
        try json.end()
    }
}
