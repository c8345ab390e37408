//===-- FormatOptions.swift - what a new file system is to be like --------------------------------===//
// The wishes of a caller, and what follows from them. Every wish is checked before a device is
// touched.

internal import BGDevices
public import BGDiskFormat

/// What a new file system is to be like. The defaults are those of mkfs.btrfs.
public struct FormatOptions: Sendable {
    /// How data lies on the devices; nil: single.
    public var dataProfile: Profile?
    /// How metadata lies on the devices, SYSTEM chunks included; nil: dup on one device, raid1 on
    /// several, the data's profile where groups are mixed.
    public var metadataProfile: Profile?
    /// Data and metadata in the same groups, for small file systems. Needs nodes of 4096 bytes.
    public var isMixed = false
    /// Bytes of a tree block: a power of two from 4096 to 65536; nil: 16384, or 4096 where groups
    /// are mixed.
    public var nodeSize: UInt32?
    public var checksumType: ChecksumType = .crc32c
    /// UTF-8, at most 255 bytes, without a line end or a zero.
    public var label: [UInt8] = []
    /// The UUID of the file system; nil: a random one.
    public var uuid: FilesystemUUID?
    /// Whether block groups get a tree of their own, for quicker mounts of large file systems.
    /// Kernels before 6.1 mount such a file system read-only.
    public var hasBlockGroupTree = false
    /// Bytes of each device to use; nil: all. Image files that are shorter, or not there, are made
    /// as long.
    public var deviceBytes: UInt64?
    /// Whether a device may hold something already, which is then lost.
    public var overwrites = false

    public init() {}
}

/// What follows from the options, checked.
struct FormatChoice {
    static let sectorSize: UInt32 = 4096

    let options: FormatOptions
    let dataProfile: Profile
    let metadataProfile: Profile
    let nodeSize: UInt32

    /// - Throws: `.invalidArgument`, `.unsupported` for raid5 and raid6.
    init(_ options: FormatOptions, deviceCount: Int) throws(FilesystemError) {
        self.options = options
        dataProfile =
            options.dataProfile ?? (options.isMixed ? options.metadataProfile : nil) ?? .single
        metadataProfile =
            options.metadataProfile
            ?? (options.isMixed ? dataProfile : deviceCount > 1 ? .raid1 : .dup)
        nodeSize = options.nodeSize ?? (options.isMixed ? 4096 : 16384)
        guard deviceCount > 0 else {
            throw FilesystemError(.invalidArgument, "format", "no devices given")
        }
        try FormatChoice.check(dataProfile, "data profile", deviceCount)
        try FormatChoice.check(metadataProfile, "metadata profile", deviceCount)
        try checkSizes()
        try checkLabel()
    }

    private static func check(
        _ profile: Profile,
        _ subject: StaticString,
        _ deviceCount: Int
    ) throws(FilesystemError) {
        guard profile.parityStripes == 0 else {
            throw FilesystemError(
                .unsupported,
                subject,
                "raid5 and raid6 cannot be written for now"
            )
        }
        guard deviceCount >= profile.devicesMin else {
            throw FilesystemError(
                .invalidArgument,
                subject,
                "needs % devices, % given",
                UInt64(profile.devicesMin),
                UInt64(deviceCount)
            )
        }
    }

    private func checkSizes() throws(FilesystemError) {
        guard nodeSize.isPowerOfTwo, FormatChoice.sectorSize...65536 ~= nodeSize else {
            throw FilesystemError(
                .invalidArgument,
                "node size",
                "% is not a power of two from 4096 to 65536",
                UInt64(nodeSize)
            )
        }
        guard options.isMixed else { return }
        guard nodeSize == FormatChoice.sectorSize else {
            throw FilesystemError(
                .invalidArgument,
                "node size",
                "% with mixed groups, which need 4096",
                UInt64(nodeSize)
            )
        }
        guard dataProfile == metadataProfile else {
            throw FilesystemError(
                .invalidArgument,
                "profile",
                "of data and metadata differ, which mixed groups cannot"
            )
        }
    }

    private func checkLabel() throws(FilesystemError) {
        guard options.label.count < SuperBlock.labelBytes else {
            throw FilesystemError(
                .invalidArgument,
                "label",
                "of % bytes, at most 255 fit",
                UInt64(options.label.count)
            )
        }
        for byte in options.label where byte == 0 || byte == 0x0a {
            throw FilesystemError(.invalidArgument, "label", "with a line end or a zero byte")
        }
    }

    var incompat: IncompatFlags {
        var bits = IncompatFlags.mixedBackref.rawValue
        bits |= IncompatFlags.extendedInodeRef.rawValue
        bits |= IncompatFlags.skinnyMetadata.rawValue
        bits |= IncompatFlags.noHoles.rawValue
        if nodeSize > FormatChoice.sectorSize { bits |= IncompatFlags.bigMetadata.rawValue }
        if options.isMixed { bits |= IncompatFlags.mixedGroups.rawValue }
        for profile in [dataProfile, metadataProfile]
        where profile == .raid1c3 || profile == .raid1c4 {
            bits |= IncompatFlags.raid1c34.rawValue
        }
        return IncompatFlags(rawValue: bits)
    }

    var compatReadOnly: CompatReadOnlyFlags {
        var bits = CompatReadOnlyFlags.freeSpaceTree.rawValue
        bits |= CompatReadOnlyFlags.freeSpaceTreeValid.rawValue
        if options.hasBlockGroupTree { bits |= CompatReadOnlyFlags.blockGroupTree.rawValue }
        return CompatReadOnlyFlags(rawValue: bits)
    }
}

/// The first chunks of a new file system: one of each kind, since later ones take their profile
/// from those that there are.
struct FirstChunks {
    private static let mebibyte: UInt64 = 1 << 20
    /// The least of each that a file system of use needs, bytes of one copy.
    private static let systemBytesMin = 4 * mebibyte
    private static let metadataBytesMin = 16 * mebibyte
    private static let dataBytesMin = 8 * mebibyte

    /// Type and profile, and the most bytes.
    let chunks: [(flags: ChunkFlags, lengthMax: UInt64)]

    /// - Parameter sizes: of the devices, bytes.
    init(_ choice: FormatChoice, sizes: [UInt64]) {
        let total = sizes.reduce(0, +)
        let metadata = choice.metadataProfile.flags
        // 8 MiB as mkfs.btrfs makes it; small devices need every byte.
        let system = max(
            FirstChunks.systemBytesMin,
            min(8 * FirstChunks.mebibyte, total / 64)
        )
        // On small devices the rules of later chunks could leave no room for another kind.
        let share = max(FirstChunks.metadataBytesMin, total / UInt64(sizes.count) / 4)
        if choice.options.isMixed {
            chunks = [(.system | metadata, system), (.data | .metadata | metadata, share)]
        } else {
            chunks = [
                (.system | metadata, system), (.metadata | metadata, share),
                (.data | choice.dataProfile.flags, share),
            ]
        }
    }

    /// Bytes that each device must have.
    static func deviceBytesMin(_ choice: FormatChoice) -> UInt64 {
        let ofMetadata = systemBytesMin + metadataBytesMin
        var bytes = mebibyte + ofMetadata * UInt64(choice.metadataProfile.stripesPerDevice)
        if !choice.options.isMixed {
            bytes += dataBytesMin * UInt64(choice.dataProfile.stripesPerDevice)
        }
        return bytes
    }
}
