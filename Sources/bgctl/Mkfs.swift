//===-- Mkfs.swift - bgctl mkfs: making a file system ---------------------------------------------===//
// The one command that writes devices which hold no file system. Everything is checked before
// anything is written; what is on a device already is kept unless --force is given.

import ArgumentParser
import BGDiskFormat
import BlockGroups

struct Mkfs: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mkfs",
        abstract: "Makes a btrfs file system on image files or block devices.",
        usage: "bgctl mkfs [<options>] <image> ...",
        discussion: """
            A device that is mounted or in use is refused, and so is one that holds a file system, \
            a partition table or the like, unless --force is given.
            """
    )

    @Argument(
        help: ArgumentHelp(
            "Image files or block devices; a file that is not there is made, with --size.",
            valueName: "image"
        ),
        completion: .file()
    )
    var images: [String]

    @Option(
        help: ArgumentHelp(
            "Profile of data: single, dup, raid0, raid1, raid1c3, raid1c4 or raid10. "
                + "(default: single)",
            valueName: "profile"
        ),
        transform: parseProfile
    )
    var data: Profile?

    @Option(
        help: ArgumentHelp(
            "Profile of metadata. (default: dup on one device, raid1 on several)",
            valueName: "profile"
        ),
        transform: parseProfile
    )
    var metadata: Profile?

    @Flag(help: "Keep data and metadata in the same block groups: for small file systems.")
    var mixed = false

    @Option(
        help: ArgumentHelp(
            "Size of tree blocks: 4K to 64K. (default: 16K; 4K with --mixed)",
            valueName: "size"
        ),
        transform: parseSize
    )
    var nodeSize: UInt64?

    @Option(
        help: ArgumentHelp(
            "Checksums: crc32c, xxhash, sha256 or blake2. (default: crc32c)",
            valueName: "type"
        ),
        transform: parseChecksum
    )
    var checksum: ChecksumType?

    @Option(help: "Label: at most 255 bytes.")
    var label = ""

    @Option(
        help: "UUID of the file system. (default: a random one)",
        transform: { text in
            guard let uuid = FilesystemUUID(text) else {
                throw ValidationError("'\(text)' is not a UUID")
            }
            return uuid
        }
    )
    var uuid: FilesystemUUID?

    @Flag(
        inversion: .prefixedNo,
        help: "Keep block groups in a tree of their own, for quicker mounts. Needs Linux 6.1."
    )
    var blockGroupTree = false

    @Option(
        help: ArgumentHelp(
            "Bytes of each device to use; image files are made as long where they are shorter.",
            valueName: "size"
        ),
        transform: parseSize
    )
    var size: UInt64?

    @Flag(help: "Overwrite what is on the devices.")
    var force = false

    mutating func run() throws {
        var options = FormatOptions()
        options.dataProfile = data
        options.metadataProfile = metadata
        options.isMixed = mixed
        // What does not fit 32 bits is no node size either.
        options.nodeSize = nodeSize.map { UInt32(clamping: $0) }
        options.checksumType = checksum ?? .crc32c
        options.label = Array(label.utf8)
        options.uuid = uuid
        options.hasBlockGroupTree = blockGroupTree
        options.deviceBytes = size
        options.overwrites = force
        let summary: FormatSummary
        do throws(FilesystemError) {
            summary = try Filesystem.format(paths: images, options)
        } catch {
            // Only what is on a device already is there to be forced.
            let hint = error.code == .exists && !force ? "; --force overwrites it" : ""
            throw Failure(describe(error, paths: images) + hint)
        }
        try show(summary)
    }

    private func show(_ summary: FormatSummary) throws {
        var output = Output()
        func line(_ name: String, _ value: String) {
            let padding = String(repeating: " ", count: max(1, 20 - name.count - 1))
            output.write("\(name):\(padding)\(value)\n")
        }
        let label = String(decoding: summary.label, as: UTF8.self)
        line("label", label.isEmpty ? "(none)" : label)
        line("UUID", summary.uuid.text)
        line("node size", sizeText(UInt64(summary.nodeSize)))
        line("sector size", sizeText(UInt64(summary.sectorSize)))
        line("checksums", summary.checksumType.name.description)
        line("size", sizeText(summary.totalBytes))
        for chunk in summary.chunks {
            line(chunk.flags.words, sizeText(chunk.length))
        }
        line("block-group tree", summary.hasBlockGroupTree ? "yes" : "no")
        for (device, path) in zip(summary.devices, images) {
            line("device \(device.devid)", "\(sizeText(device.byteCount))  \(path)")
        }
        try output.flush()
    }
}

/// A profile by the name that btrfs-progs uses.
private func parseProfile(_ text: String) throws -> Profile {
    let word = text.lowercased()
    guard let found = Profile.allCases.first(where: { "\($0)" == word }) else {
        throw ValidationError(
            "'\(text)' is not a profile; write single, dup, raid0, raid1, raid1c3, raid1c4 or raid10"
        )
    }
    return found
}

/// A checksum type by the names that btrfs-progs takes.
private func parseChecksum(_ text: String) throws -> ChecksumType {
    switch text.lowercased() {
    case "crc32c", "crc32": return .crc32c
    case "xxhash", "xxhash64": return .xxhash64
    case "sha256", "sha": return .sha256
    case "blake2", "blake2b": return .blake2b
    default:
        throw ValidationError("'\(text)' is not a checksum; write crc32c, xxhash, sha256 or blake2")
    }
}
