//===-- Info.swift - bgctl info: the file system as a whole ---------------------------------------===//
// Reads only what opening reads; free space inside the groups is not looked at.

import ArgumentParser
import BGDevices
import BGDiskFormat
import BlockGroups

struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the file system: features, devices, space by type and profile.",
        discussion: """
            "allocated" is what block groups take on a device, "unallocated" what new ones could. \
            Warnings tell of damage that did not keep the file system from opening.
            """
    )

    @OptionGroup var options: ImageOptions

    func run() throws {
        let image = try Image(options)
        let facts = Facts(image)
        if options.json { try facts.writeJSON() } else { try facts.writeText() }
    }
}

/// What `info` tells.
private struct Facts {
    let superBlock: SuperBlock
    let devices: [Device]
    let paths: [String]
    let missingDevids: [UInt64]
    let features: [String]
    let totals: [Totals]
    /// Bytes on devices that the groups of `totals` of the same index take.
    let rawBytes: [UInt64]
    let warnings: [String]
    let label: String

    init(_ image: Image) {
        superBlock = image.superBlock
        devices = image.reader.volume.devices
        paths = image.paths
        missingDevids = image.reader.volume.missingDevids
        features = featureWords(image.superBlock)
        totals = Totals.byType(of: image.reader.blockGroups)
        var raw = [UInt64](repeating: 0, count: totals.count)
        for chunk in image.reader.volume.chunkMap.chunks {
            let flags = BlockGroupFlags(rawValue: chunk.item.flags.rawValue)
            guard let index = totals.firstIndex(where: { $0.flags == flags }) else { continue }
            raw[index] += chunk.item.stripeBytes * UInt64(chunk.item.stripes.count)
        }
        rawBytes = raw
        warnings = image.reader.warnings.map { describe($0, paths: image.paths) }
        label = String(decoding: image.superBlock.label, as: UTF8.self)
    }

    func writeText() throws {
        var output = Output()
        let style = Style(isOn: Terminal.hasColour)
        func fact(_ name: String, _ text: String) {
            output.line(
                style.bold(name) + String(repeating: " ", count: max(1, 14 - name.count)) + text
            )
        }
        fact("label", label.isEmpty ? "none" : printable(label))
        fact("fsid", superBlock.fsid.text)
        if superBlock.metadataUUID != superBlock.fsid {
            fact("metadata uuid", superBlock.metadataUUID.text)
        }
        fact("size", sizeText(superBlock.totalBytes) + ", \(sizeText(superBlock.bytesUsed)) used")
        fact("generation", String(superBlock.generation))
        fact("checksum", superBlock.checksumType.name.description)
        fact(
            "sector size",
            sizeText(UInt64(superBlock.sectorSize))
                + ", node size \(sizeText(UInt64(superBlock.nodeSize)))"
        )
        fact("features", wrapped(features, indent: 14, width: max(60, Terminal.width)))
        output.line()
        writeDevices(to: &output, style)
        output.line()
        writeSpace(to: &output, style)
        if !warnings.isEmpty {
            output.line()
            for warning in warnings { output.line(style.paint("warning: ", "33;1") + warning) }
        }
        try output.flush()
    }

    private func writeDevices(to output: inout Output, _ style: Style) {
        var table = Table([
            ("device", .right), ("size", .right), ("allocated", .right), ("unallocated", .right),
            ("path", .left),
        ])
        for device in devices.sorted(by: { $0.devid < $1.devid }) {
            let item = device.superBlock.device
            table.add([
                String(item.devid), sizeText(item.totalBytes), sizeText(item.bytesUsed),
                sizeText(item.totalBytes - min(item.bytesUsed, item.totalBytes)),
                paths[device.index],
            ])
        }
        for devid in missingDevids.sorted() {
            table.add([String(devid), "-", "-", "-", "missing"])
        }
        table.write(to: &output, style: style)
    }

    private func writeSpace(to output: inout Output, _ style: Style) {
        var table = Table([
            ("space", .left), ("groups", .right), ("size", .right), ("used", .right),
            ("left", .right), ("on devices", .right), ("fill", .left), ("", .right),
        ])
        for (index, total) in totals.enumerated() {
            table.add([
                total.words, String(total.groups), sizeText(total.length), sizeText(total.used),
                sizeText(left(in: total)), sizeText(rawBytes[index]),
                bar(total.used, of: total.length, cells: 12),
                percentText(total.used, of: total.length),
            ])
        }
        table.write(to: &output, style: style)
    }

    /// Neither used nor kept for copies of the super block.
    private func left(in total: Totals) -> UInt64 {
        total.length - min(total.length, total.used + total.superBytes)
    }

    func writeJSON() throws {
        var json = JSONWriter()
        json.object { json in
            json.field("label", label)
            json.field("fsid", superBlock.fsid.text)
            json.field("metadata_uuid", superBlock.metadataUUID.text)
            json.field("total_bytes", superBlock.totalBytes)
            json.field("bytes_used", superBlock.bytesUsed)
            json.field("generation", superBlock.generation)
            json.field("checksum", superBlock.checksumType.name.description)
            json.field("sector_size", UInt64(superBlock.sectorSize))
            json.field("node_size", UInt64(superBlock.nodeSize))
            json.list("features") { json in
                for feature in features { json.value(feature) }
            }
            json.list("devices") { json in
                for device in devices.sorted(by: { $0.devid < $1.devid }) {
                    write(device, to: &json)
                }
            }
            json.list("missing_devices") { json in
                for devid in missingDevids.sorted() { json.value(devid) }
            }
            json.list("space") { json in
                for index in totals.indices { write(totals[index], rawBytes[index], to: &json) }
            }
            json.list("warnings") { json in
                for warning in warnings { json.value(warning) }
            }
        }
        try json.end()
    }

    private func write(_ device: Device, to json: inout JSONWriter) {
        let item = device.superBlock.device
        json.object { json in
            json.field("id", item.devid)
            json.field("uuid", item.uuid.text)
            json.field("path", paths[device.index])
            json.field("size", item.totalBytes)
            json.field("used", item.bytesUsed)
        }
    }

    private func write(_ total: Totals, _ raw: UInt64, to json: inout JSONWriter) {
        json.object { json in
            json.field("flags", total.words)
            json.field("groups", total.groups)
            json.field("size", total.length)
            json.field("used", total.used)
            json.field("left", left(in: total))
            json.field("on_devices", raw)
        }
    }
}

/// The feature flags in the words of mkfs.btrfs where it has any.
private func featureWords(_ superBlock: SuperBlock) -> [String] {
    let incompat: [(IncompatFlags, String)] = [
        (.mixedBackref, "mixed-backref"), (.defaultSubvolume, "default-subvol"),
        (.mixedGroups, "mixed-bg"), (.compressLZO, "compress-lzo"),
        (.compressZSTD, "compress-zstd"), (.bigMetadata, "big-metadata"),
        (.extendedInodeRef, "extref"), (.raid56, "raid56"), (.skinnyMetadata, "skinny-metadata"),
        (.noHoles, "no-holes"), (.metadataUUID, "metadata-uuid"), (.raid1c34, "raid1c34"),
        (.simpleQuota, "squota"),
    ]
    var words = incompat.compactMap { superBlock.incompat.contains($0.0) ? $0.1 : nil }
    if superBlock.compatReadOnly.contains(.freeSpaceTree) {
        let isValid = superBlock.compatReadOnly.contains(.freeSpaceTreeValid)
        words.append(isValid ? "free-space-tree" : "free-space-tree (not valid)")
    }
    if superBlock.compatReadOnly.contains(.verity) { words.append("verity") }
    if superBlock.compatReadOnly.contains(.blockGroupTree) { words.append("block-group-tree") }
    let unknown =
        superBlock.compatReadOnly.rawValue & ~CompatReadOnlyFlags.supported.rawValue
    if unknown != 0 { words.append("unknown compat_ro bits 0x" + String(unknown, radix: 16)) }
    return words
}

/// Words separated by commas, on lines of at most `width` columns.
private func wrapped(_ words: [String], indent: Int, width: Int) -> String {
    var text = ""
    var column = indent
    for (index, word) in words.enumerated() {
        let piece = word + (index + 1 < words.count ? "," : "")
        if index > 0, column + 1 + piece.count > width {
            text += "\n" + String(repeating: " ", count: indent)
            column = indent
        } else if index > 0 {
            text += " "
            column += 1
        }
        text += piece
        column += piece.count
    }
    return text
}

/// Text from an image without what a terminal would obey.
func printable(_ text: String) -> String {
    var clean = ""
    for scalar in text.unicodeScalars {
        let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
        clean.unicodeScalars.append(isControl ? "\u{fffd}" : scalar)
    }
    return clean
}
