//===-- Filesystem+Format.swift - making a file system --------------------------------------------===//
// A new file system is one transaction on empty devices: chunks are made in memory, trees created,
// and the first commit writes generation 1. Until its last step there is no super block, so what was
// interrupted is no file system at all.
//
// Locks: none held on calling.
// Not here: the wishes and their checks (FormatOptions.swift), what devices hold before
// (DeviceContent.swift, FormatDevices.swift).

package import BGDevices
public import BGDiskFormat
internal import BGTrees

/// A file system that was made.
public struct FormatSummary: Sendable {
    public struct Device: Sendable {
        public var devid: UInt64
        public var uuid: FilesystemUUID
        /// Bytes that the file system has of it.
        public var byteCount: UInt64
    }

    public struct Chunk: Sendable {
        /// Type and profile.
        public var flags: ChunkFlags
        /// Bytes of logical address space.
        public var length: UInt64
    }

    public var uuid: FilesystemUUID
    public var label: [UInt8]
    /// Bytes.
    public var nodeSize: UInt32
    /// Bytes.
    public var sectorSize: UInt32
    public var checksumType: ChecksumType
    public var hasBlockGroupTree: Bool
    public var isMixed: Bool
    /// In the order of the paths.
    public var devices: [Device]
    /// The first chunks, by address.
    public var chunks: [Chunk]

    /// Bytes of all devices.
    public var totalBytes: UInt64 { devices.reduce(0) { $0 + $1.byteCount } }
}

extension Filesystem {
    /// Makes an empty file system on these files or block devices, durable when this returns.
    ///
    /// All checks come first; a device that is refused, and all others then, are as they were.
    ///
    /// - Parameters:
    ///   - paths: its devices. A file that is not there is made where
    ///     ``FormatOptions/deviceBytes`` says how long.
    /// - Throws: `.invalidArgument` for wishes that cannot be met, or a device named twice; `.busy`
    ///   for a device that is mounted or in use; `.exists` for one that holds something, unless
    ///   ``FormatOptions/overwrites``; `.noSpace` for one that is too small; `.unsupported` for
    ///   raid5 and raid6; what opening and writing files throw.
    @discardableResult
    public static func format(
        paths: [String],
        _ options: FormatOptions = FormatOptions()
    ) throws(FilesystemError) -> FormatSummary {
        let choice = try FormatChoice(options, deviceCount: paths.count)
        var devices = try FormatDevices(paths, options)
        let sizes = try devices.check(choice)
        do throws(FilesystemError) {
            try devices.prepare(sizes)
            return try format(devices.storages, sizes: sizes, choice)
        } catch {
            devices.undo()
            throw error
        }
    }

    /// The same on devices that were opened, whatever they hold: super blocks of an older file
    /// system are wiped.
    @discardableResult
    package static func format(
        devices: [any BlockDevice],
        _ options: FormatOptions = FormatOptions()
    ) throws(FilesystemError) -> FormatSummary {
        let choice = try FormatChoice(options, deviceCount: devices.count)
        let unit = UInt64(FormatChoice.sectorSize)
        var sizes: [UInt64] = []
        for device in devices {
            let size = min(options.deviceBytes ?? .max, device.byteCount)
            sizes.append(size - size % unit)
        }
        for device in devices { try wipe(device) }
        return try format(devices, sizes: sizes, choice)
    }

    private static func format(
        _ storages: [any BlockDevice],
        sizes: [UInt64],
        _ choice: FormatChoice
    ) throws(FilesystemError) -> FormatSummary {
        let random = try FilesystemUUID.random()
        let fsid = choice.options.uuid ?? random
        let chunkTreeUUID = try FilesystemUUID.random()
        var items: [DeviceItem] = []
        for (index, size) in sizes.enumerated() {
            items.append(
                DeviceItem(
                    devid: UInt64(index) + 1,
                    totalBytes: size,
                    sectorSize: FormatChoice.sectorSize,
                    uuid: try FilesystemUUID.random(),
                    filesystemUUID: fsid
                )
            )
        }
        let superBlock = SuperBlock(
            formatting: fsid,
            sectorSize: FormatChoice.sectorSize,
            nodeSize: choice.nodeSize,
            checksumType: choice.options.checksumType,
            incompat: choice.incompat,
            compatReadOnly: choice.compatReadOnly,
            label: choice.options.label,
            device: items[0],
            deviceCount: UInt64(items.count),
            totalBytes: sizes.reduce(0, +)
        )
        let volume = Volume(formatting: superBlock, devices: storages, items: items)
        let space = try DeviceSpace(
            items,
            DeviceSpace.Format(
                sectorSize: superBlock.sectorSize,
                nodeSize: superBlock.nodeSize,
                chunkTreeUUID: chunkTreeUUID
            )
        )
        let host = try FilesystemHost(formatting: superBlock, on: volume, space: space)
        for chunk in FirstChunks(choice, sizes: sizes).chunks {
            try host.makeChunk(chunk.flags, lengthMax: chunk.lengthMax)
        }
        let trees = try TreeStore(
            formatting: superBlock,
            chunkTreeUUID: chunkTreeUUID,
            host: host
        )
        try trees.change { (transaction) throws(FilesystemError) in
            try NewTrees(transaction).create()
        }
        try trees.commit()
        return FormatSummary(superBlock, items, volume.chunkMap)
    }
}

extension FormatSummary {
    fileprivate init(_ superBlock: SuperBlock, _ items: [DeviceItem], _ map: ChunkMap) {
        uuid = superBlock.fsid
        label = superBlock.label
        nodeSize = superBlock.nodeSize
        sectorSize = superBlock.sectorSize
        checksumType = superBlock.checksumType
        hasBlockGroupTree = superBlock.compatReadOnly.contains(.blockGroupTree)
        isMixed = superBlock.incompat.contains(.mixedGroups)
        devices = items.map {
            Device(devid: $0.devid, uuid: $0.uuid, byteCount: $0.totalBytes)
        }
        chunks = map.chunks.map { Chunk(flags: $0.item.flags, length: $0.item.length) }
    }
}
