//===-- SuperBlock.swift - the root of everything, and its feature flags ----------------------===//
// 4096 bytes at each of three fixed offsets of every device.
//
// A value that exists passed every check that the kernel makes before a mount: signature, own
// address, checksum, known features, sizes, levels, aligned roots, counts, the system chunk array.

/// Features without which a reader would misread the file system.
package struct IncompatFlags: Equatable, Sendable {
    package var rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static let mixedBackref = IncompatFlags(rawValue: 1 << 0)
    package static let defaultSubvolume = IncompatFlags(rawValue: 1 << 1)
    package static let mixedGroups = IncompatFlags(rawValue: 1 << 2)
    package static let compressLZO = IncompatFlags(rawValue: 1 << 3)
    package static let compressZSTD = IncompatFlags(rawValue: 1 << 4)
    package static let bigMetadata = IncompatFlags(rawValue: 1 << 5)
    package static let extendedInodeRef = IncompatFlags(rawValue: 1 << 6)
    package static let raid56 = IncompatFlags(rawValue: 1 << 7)
    package static let skinnyMetadata = IncompatFlags(rawValue: 1 << 8)
    package static let noHoles = IncompatFlags(rawValue: 1 << 9)
    package static let metadataUUID = IncompatFlags(rawValue: 1 << 10)
    package static let raid1c34 = IncompatFlags(rawValue: 1 << 11)
    package static let simpleQuota = IncompatFlags(rawValue: 1 << 16)

    /// What this library can read. Zoned devices, the second extent tree format and the stripe
    /// tree are not among them.
    package static let supported = IncompatFlags(rawValue: 0xfff | 1 << 16)

    package func contains(_ flag: IncompatFlags) -> Bool { rawValue & flag.rawValue != 0 }
}

/// Features without which a writer would damage the file system; reading is safe.
package struct CompatReadOnlyFlags: Equatable, Sendable {
    package var rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package static let freeSpaceTree = CompatReadOnlyFlags(rawValue: 1 << 0)
    package static let freeSpaceTreeValid = CompatReadOnlyFlags(rawValue: 1 << 1)
    package static let verity = CompatReadOnlyFlags(rawValue: 1 << 2)
    package static let blockGroupTree = CompatReadOnlyFlags(rawValue: 1 << 3)

    /// What this library keeps in order when it writes.
    package static let supported = CompatReadOnlyFlags(rawValue: 0xf)

    package func contains(_ flag: CompatReadOnlyFlags) -> Bool { rawValue & flag.rawValue != 0 }
}

/// A super block, read and checked.
package struct SuperBlock: Sendable {
    package static let byteCount = 4096
    /// Where the copies lie on every device that is long enough, bytes.
    package static let copyCount = 3
    package static let levelMax = 7

    /// Room for system chunks and their keys, bytes.
    package static let systemChunkArrayBytesMax = 2048
    /// Room for the label and a zero behind it, bytes.
    package static let labelBytes = 256
    static let deviceOffset = 201
    static let labelOffset = 299
    static let systemChunkArrayOffset = 811
    static let backupRootsOffset = 2859
    static let signature: UInt64 = 0x4d5f_5366_5248_425f
    static let writtenFlag: UInt64 = 1

    /// Physical offset of copy 0 (64 KiB), 1 (64 MiB) or 2 (256 GiB).
    package static func physical(ofCopy copy: Int) -> UInt64 {
        switch copy {
        case 0: 64 << 10
        case 1: 64 << 20
        default: 256 << 30
        }
    }

    package var fsid: FilesystemUUID
    /// Where this copy lies, bytes.
    package var physical: UInt64
    package var flags: UInt64
    package var generation: UInt64
    /// Logical address of the root tree's root.
    package var root: UInt64
    package var chunkRoot: UInt64
    /// 0 where there is no log.
    package var logRoot: UInt64
    package var totalBytes: UInt64
    package var bytesUsed: UInt64
    package var rootDirectory: UInt64
    package var deviceCount: UInt64
    package var sectorSize: UInt32
    package var nodeSize: UInt32
    package var stripeSize: UInt32
    /// Bytes of the array that this value was read with.
    package internal(set) var systemChunkArraySize: UInt32
    package var chunkRootGeneration: UInt64
    package var compat: UInt64
    package var compatReadOnly: CompatReadOnlyFlags
    package var incompat: IncompatFlags
    package var checksumType: ChecksumType
    package var rootLevel: UInt8
    package var chunkRootLevel: UInt8
    package var logRootLevel: UInt8
    package var device: DeviceItem
    /// UTF-8 without the final zero.
    package var label: [UInt8]
    package var cacheGeneration: UInt64
    package var uuidTreeGeneration: UInt64
    /// The UUID in tree blocks: the field of that name where its flag is set, otherwise the fsid.
    package var metadataUUID: FilesystemUUID
    /// In the order of the array.
    package var systemChunks: [ChunkItem]
    /// Four slots, see `rotateBackup(_:)`.
    package internal(set) var backupRoots: [BackupRoots]
    /// The bytes that this value was read from: what is in no field survives in them.
    let source: [UInt8]

    /// What items of this file system are checked against.
    package var limits: FormatLimits {
        FormatLimits(
            sectorSize: sectorSize,
            nodeSize: nodeSize,
            generation: generation,
            incompat: incompat
        )
    }

    /// Whether the flags allow writing at all.
    package var isWritable: Bool {
        compatReadOnly.rawValue & ~CompatReadOnlyFlags.supported.rawValue == 0
    }

    /// Whether there is a free-space tree, and it is in order.
    package var hasValidFreeSpaceTree: Bool {
        compatReadOnly.contains(.freeSpaceTree) && compatReadOnly.contains(.freeSpaceTreeValid)
    }

    /// Reads the copy that was found at `physical`.
    ///
    /// Throws `.invalidArgument` where there is no btrfs signature, `.corrupt` for a damaged
    /// super block, `.unsupported` for a feature that is not implemented.
    package init(_ bytes: RawSpan, physical: UInt64) throws(FilesystemError) {
        do throws(FilesystemError) {
            try self.init(checking: bytes, physical: physical)
        } catch {
            throw error.located(physical: physical)
        }
    }

    private init(checking bytes: RawSpan, physical: UInt64) throws(FilesystemError) {
        let type = try SuperBlock.checkIdentity(bytes, physical: physical)
        checksumType = type
        fsid = bytes.uuid(at: 32)
        self.physical = physical
        flags = bytes.u64(at: 56)
        generation = bytes.u64(at: 72)
        root = bytes.u64(at: 80)
        chunkRoot = bytes.u64(at: 88)
        logRoot = bytes.u64(at: 96)
        totalBytes = bytes.u64(at: 112)
        bytesUsed = bytes.u64(at: 120)
        rootDirectory = bytes.u64(at: 128)
        deviceCount = bytes.u64(at: 136)
        sectorSize = bytes.u32(at: 144)
        nodeSize = bytes.u32(at: 148)
        stripeSize = bytes.u32(at: 156)
        systemChunkArraySize = bytes.u32(at: 160)
        chunkRootGeneration = bytes.u64(at: 164)
        compat = bytes.u64(at: 172)
        compatReadOnly = CompatReadOnlyFlags(rawValue: bytes.u64(at: 180))
        incompat = IncompatFlags(rawValue: bytes.u64(at: 188))
        rootLevel = bytes.u8(at: 198)
        chunkRootLevel = bytes.u8(at: 199)
        logRootLevel = bytes.u8(at: 200)
        cacheGeneration = bytes.u64(at: 555)
        uuidTreeGeneration = bytes.u64(at: 563)
        label = []
        for offset in SuperBlock.labelOffset..<SuperBlock.labelOffset + SuperBlock.labelBytes {
            let byte = bytes.u8(at: offset)
            if byte == 0 { break }
            label.append(byte)
        }
        metadataUUID =
            incompat.contains(.metadataUUID) ? bytes.uuid(at: 571) : fsid
        // Flags first: an unknown feature may be why the rest looks wrong.
        try SuperBlock.checkFeatures(flags: flags, incompat, compatReadOnly)
        device = try DeviceItem(
            bytes.extracting(
                SuperBlock.deviceOffset..<SuperBlock.deviceOffset + DeviceItem.byteCount
            )
        )
        systemChunks = []
        backupRoots = (0..<BackupRoots.slotCount).map { slot in
            BackupRoots(
                bytes,
                at: SuperBlock.backupRootsOffset + slot * BackupRoots.byteCount
            )
        }
        source = unsafe bytes.withUnsafeBytes { unsafe [UInt8]($0) }
        try checkSizes(leafSize: bytes.u32(at: 152))
        try checkRoots()
        try checkDevice()
        try readSystemChunks(bytes)
    }

    /// Whether `bytes` carry the btrfs signature at all.
    package static func hasSignature(_ bytes: RawSpan) -> Bool {
        bytes.byteCount >= byteCount && bytes.u64(at: 64) == signature
    }

    private static func checkIdentity(
        _ bytes: RawSpan,
        physical: UInt64
    ) throws(FilesystemError) -> ChecksumType {
        guard bytes.byteCount == byteCount, hasSignature(bytes) else {
            throw FilesystemError(.invalidArgument, "super block", "no btrfs signature")
        }
        guard let type = ChecksumType(rawValue: bytes.u16(at: 196)) else {
            throw FilesystemError(
                .unsupported,
                "super block",
                "checksum type %",
                UInt64(bytes.u16(at: 196))
            )
        }
        guard type.verify(block: bytes) else {
            throw FilesystemError(.corrupt, "super block", "checksum does not match")
        }
        guard bytes.u64(at: 48) == physical else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "says it lies at %",
                bytes.u64(at: 48)
            )
        }
        return type
    }

    private static func checkFeatures(
        flags: UInt64,
        _ incompat: IncompatFlags,
        _ compatReadOnly: CompatReadOnlyFlags
    ) throws(FilesystemError) {
        let unknown = incompat.rawValue & ~IncompatFlags.supported.rawValue
        guard unknown == 0 else {
            throw FilesystemError(.unsupported, "super block", "incompat feature bits %", unknown)
        }
        // Written, reloc and error say nothing here, seeding means a read-only device. A metadata
        // dump has no data, and a half-changed fsid has two.
        let knownFlags: UInt64 = 0x7 | 1 << 32
        guard flags & ~knownFlags == 0 else {
            throw FilesystemError(.unsupported, "super block", "flags %", flags & ~knownFlags)
        }
        if compatReadOnly.contains(.blockGroupTree) {
            guard
                compatReadOnly.contains(.freeSpaceTree),
                compatReadOnly.contains(.freeSpaceTreeValid), incompat.contains(.noHoles)
            else {
                throw FilesystemError(
                    .corrupt,
                    "super block",
                    "block-group tree without a valid free-space tree and no-holes"
                )
            }
        }
    }

    private func checkSizes(leafSize: UInt32) throws(FilesystemError) {
        guard sectorSize.isPowerOfTwo, 4096...65536 ~= sectorSize else {
            throw FilesystemError(.corrupt, "super block", "sector size %", UInt64(sectorSize))
        }
        guard nodeSize.isPowerOfTwo, sectorSize...65536 ~= nodeSize else {
            throw FilesystemError(.corrupt, "super block", "node size %", UInt64(nodeSize))
        }
        guard leafSize == nodeSize else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "leaf size %, node size %",
                UInt64(leafSize),
                UInt64(nodeSize)
            )
        }
        guard stripeSize.isPowerOfTwo else {
            throw FilesystemError(.corrupt, "super block", "stripe size %", UInt64(stripeSize))
        }
        guard bytesUsed >= 6 * UInt64(nodeSize) else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "% bytes used, fewer than six tree blocks",
                bytesUsed
            )
        }
        guard bytesUsed <= totalBytes else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "% bytes used of %",
                bytesUsed,
                totalBytes
            )
        }
    }

    private func checkRoots() throws(FilesystemError) {
        func check(
            _ level: UInt8,
            _ logical: UInt64,
            _ what: StaticString
        ) throws(FilesystemError) {
            guard level <= SuperBlock.levelMax, logical.isAligned(to: sectorSize) else {
                throw FilesystemError(
                    .corrupt,
                    "super block",
                    what,
                    logical,
                    UInt64(level)
                )
            }
        }
        try check(rootLevel, root, "root tree at % level %")
        try check(chunkRootLevel, chunkRoot, "chunk tree at % level %")
        try check(logRootLevel, logRoot, "log tree at % level %")
        guard root != 0 || chunkRoot != 0 else {
            throw FilesystemError(.corrupt, "super block", "no root tree and no chunk tree")
        }
        guard chunkRootGeneration <= generation else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "chunk root generation % above generation %",
                chunkRootGeneration,
                generation
            )
        }
        // Readers allow one transaction above this.
        guard generation < UInt64.max - 1 else {
            throw FilesystemError(.corrupt, "super block", "generation %", generation)
        }
    }

    private func checkDevice() throws(FilesystemError) {
        guard deviceCount > 0, deviceCount <= 1 << 31 else {
            throw FilesystemError(.corrupt, "super block", "% devices", deviceCount)
        }
        guard device.filesystemUUID == metadataUUID else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "device item belongs to another file system",
                devid: device.devid
            )
        }
        guard device.totalBytes <= totalBytes else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "device of % bytes in a file system of %",
                device.totalBytes,
                totalBytes
            )
        }
        guard device.totalBytes > 0 else {
            throw FilesystemError(.corrupt, "super block", "device of 0 bytes")
        }
    }

    private mutating func readSystemChunks(_ bytes: RawSpan) throws(FilesystemError) {
        let size = Int(systemChunkArraySize)
        let least = Key.byteCount + ChunkItem.byteCount(stripeCount: 1)
        guard least...SuperBlock.systemChunkArrayBytesMax ~= size else {
            throw FilesystemError(
                .corrupt,
                "super block",
                "system chunk array of % bytes",
                UInt64(size)
            )
        }
        let start = SuperBlock.systemChunkArrayOffset
        let array = bytes.extracting(start..<start + size)
        var offset = 0
        // Ends: every chunk takes at least 97 bytes of at most 2048.
        while offset < size {
            guard size - offset >= least else {
                throw FilesystemError(
                    .corrupt,
                    "super block",
                    "system chunk array cut off at byte %",
                    UInt64(offset)
                )
            }
            let key = array.key(at: offset)
            let chunk = try ChunkItem(
                key: key,
                prefix: array.extracting((offset + Key.byteCount)..<size),
                limits
            )
            guard chunk.flags.contains(.system) else {
                throw FilesystemError(
                    .corrupt,
                    "super block",
                    "type % in the system chunk array",
                    chunk.flags.rawValue,
                    logical: chunk.logical
                )
            }
            systemChunks.append(chunk)
            offset += Key.byteCount + ChunkItem.byteCount(stripeCount: chunk.stripes.count)
        }
    }
}
