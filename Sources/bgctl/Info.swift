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
    let usage: Usage
    let warnings: [String]
    let label: String

    init(_ image: Image) {
        superBlock = image.superBlock
        devices = image.reader.volume.devices
        paths = image.paths
        missingDevids = image.reader.volume.missingDevids
        features = featureWords(image.superBlock)
        usage = Usage(image)
        warnings = image.reader.warnings.map { describe($0, paths: image.paths) }
        label = String(decoding: image.superBlock.label, as: UTF8.self)
    }

    func writeText() throws {
        var output = Output()
        let style = Style(isOn: Terminal.hasColour)
        func fact(_ name: String, _ text: String) {
            output.fact(name, text, columns: 14, style)
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
        usage.writeDevices(to: &output, style)
        output.line()
        usage.writeSpaces(to: &output, style)
        if !warnings.isEmpty {
            output.line()
            for warning in warnings { output.line(style.paint("warning: ", "33;1") + warning) }
        }
        try output.flush()
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
                for space in usage.spaces { write(space, to: &json) }
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

    private func write(_ space: Space, to json: inout JSONWriter) {
        json.object { json in
            json.field("flags", space.totals.words)
            json.field("groups", space.totals.groups)
            json.field("size", space.totals.length)
            json.field("used", space.totals.used)
            json.field("left", space.left)
            json.field("on_devices", space.rawBytes)
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
