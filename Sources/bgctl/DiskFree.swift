//===-- DiskFree.swift - bgctl df: how full the file system is, and how full it can get -----------===//
// Tells what `btrfs filesystem usage` tells of a mount, to the byte (with parity, to a few: its share of what
// is used is a fraction), from the block groups and chunks of an image.
//
// Two figures exist only while a kernel has the file system mounted, and are not told: the global reserve,
// which the kernel sets aside anew at each mount by rules that change with its version, and what statfs
// answers. Where data and metadata share groups, the mounted file system takes the global reserve off its
// estimate of what is free; here it is not taken off.

import ArgumentParser
import BlockGroups

struct DiskFree: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df",
        abstract: "Shows how much is used and how much is left, by type and by device.",
        discussion: """
            "on devices" counts every copy and parity. "Free" is an estimate, made as btrfs \
            filesystem usage makes it: what data groups do not use, and what the unallocated part of \
            the devices would give to data with its present profile; at least, with the profile here \
            that takes most. Metadata takes its share of that, too. What is neither used nor left in \
            a group is kept for copies of the super block. "slack" is what a device or file is longer \
            than the file system on it.
            """
    )

    @OptionGroup var options: ImageOptions

    func run() throws {
        let usage = Usage(try Image(options))
        if options.json { try usage.writeJSON() } else { try usage.writeText() }
    }
}

extension Space {
    fileprivate var holdsData: Bool { kind == .data || kind == .mixed }
}

extension Usage {
    /// An unallocated rest below this makes no chunk.
    private static let unallocatedMin: UInt64 = 16 << 20

    private var size: UInt64 { devices.reduce(missingBytes) { $0 + $1.size } }
    private var allocated: UInt64 { spaces.reduce(0) { $0 + $1.rawBytes } }
    private var unallocated: UInt64 { size - min(size, allocated) }
    private var slack: UInt64 { devices.reduce(0) { $0 + $1.slack } }
    private var used: UInt64 { spaces.reduce(0) { $0 + $1.rawUsed } }

    private func ratio(where isWanted: (Space) -> Bool) -> Double {
        let wanted = spaces.filter(isWanted)
        let length = wanted.reduce(0) { $0 + $1.totals.length }
        let raw = wanted.reduce(0) { $0 + $1.rawBytes }
        return length == 0 ? 1 : Double(raw) / Double(length)
    }

    private var dataRatio: Double { ratio { $0.holdsData } }
    private var metadataRatio: Double { ratio { $0.kind == .metadata || $0.kind == .mixed } }

    /// What data groups do not use, and what unallocated space would give at `ratio`.
    private func free(_ ratio: Double) -> UInt64 {
        let left = spaces.filter { $0.holdsData }.reduce(0) { $0 + $1.rawBytes - $1.rawUsed }
        let more = unallocated >= Usage.unallocatedMin ? Double(unallocated) / ratio : 0
        return UInt64(Double(left) / dataRatio) + UInt64(more)
    }

    private var free: UInt64 { free(dataRatio) }
    private var freeMin: UInt64 { free(spaces.reduce(1) { max($0, $1.ratio) }) }

    /// The kinds of groups that have more than one profile.
    private var kindsOfSeveralProfiles: [String] {
        GroupKind.allCases.filter { kind in spaces.filter { $0.kind == kind }.count > 1 }
            .map { $0.name }
    }

    fileprivate func writeText() throws {
        var output = Output()
        let style = Style(isOn: Terminal.hasColour)
        func fact(_ name: String, _ text: String) {
            output.fact(name, text, columns: 22, style)
        }
        fact("device size", sizeText(size))
        fact("device allocated", sizeText(allocated))
        fact("device unallocated", sizeText(unallocated))
        fact("device missing", sizeText(missingBytes))
        fact("device slack", sizeText(slack))
        fact("used, on devices", sizeText(used))
        fact("free, estimated", "\(sizeText(free)), at least \(sizeText(freeMin))")
        fact("data ratio", decimal(dataRatio, 2))
        fact("metadata ratio", decimal(metadataRatio, 2))
        let several = kindsOfSeveralProfiles
        fact("several profiles", several.isEmpty ? "no" : several.joined(separator: ", "))
        output.line()
        writeSpaces(to: &output, style)
        output.line()
        writeDevices(to: &output, style, bySpace: true)
        try output.flush()
    }

    fileprivate func writeJSON() throws {
        var json = JSONWriter()
        json.object { json in
            json.field("device_size", size)
            json.field("device_allocated", allocated)
            json.field("device_unallocated", unallocated)
            json.field("device_missing", missingBytes)
            json.field("device_slack", slack)
            json.field("used", used)
            json.field("free_estimated", free)
            json.field("free_min", freeMin)
            json.field("data_ratio", dataRatio)
            json.field("metadata_ratio", metadataRatio)
            json.list("several_profiles") { json in
                for name in kindsOfSeveralProfiles { json.value(name) }
            }
            json.list("spaces") { json in
                for space in spaces {
                    json.object { json in
                        json.field("flags", space.totals.words)
                        json.field("size", space.totals.length)
                        json.field("used", space.totals.used)
                        json.field("left", space.left)
                        json.field("device_bytes", space.rawBytes)
                    }
                }
            }
            json.list("devices") { json in
                for device in devices { write(device, to: &json) }
            }
        }
        try json.end()
    }

    private func write(_ device: DeviceUsage, to json: inout JSONWriter) {
        json.object { json in
            json.field("devid", device.devid)
            json.field("is_missing", device.path == nil)
            if let path = device.path {
                json.field("path", path)
                json.field("size", device.size)
                json.field("slack", device.slack)
                json.field("unallocated", device.unallocated)
            }
            json.field("allocated", device.allocated)
            json.list("spaces") { json in
                for (space, bytes) in zip(spaces, device.bySpace) where bytes > 0 {
                    json.object { json in
                        json.field("flags", space.totals.words)
                        json.field("device_bytes", bytes)
                    }
                }
            }
        }
    }
}
