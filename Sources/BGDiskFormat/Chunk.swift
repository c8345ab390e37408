//===-- Chunk.swift - chunks, devices, device extents, block groups ---------------------------===//
// Items of the chunk, device and extent (or block-group) trees that say where bytes lie.
//
// Every initializer takes the bytes of one item and refuses what no sound file system contains; a
// value that exists has in-range fields, and its ends do not overflow.

/// Bytes that lie side by side on one stripe before a striped chunk goes on to the next one.
package let stripeLength: UInt64 = 65536

/// The sizes and flags of a file system that the items are checked against.
package struct FormatLimits: Equatable, Sendable {
    /// Bytes.
    package var sectorSize: UInt32
    /// Bytes.
    package var nodeSize: UInt32
    /// Last committed generation.
    package var generation: UInt64
    package var incompat: IncompatFlags

    package init(
        sectorSize: UInt32, nodeSize: UInt32, generation: UInt64, incompat: IncompatFlags
    ) {
        self.sectorSize = sectorSize
        self.nodeSize = nodeSize
        self.generation = generation
        self.incompat = incompat
    }
}

/// One stripe of a chunk: where a copy or a part of it begins.
package struct ChunkStripe: Equatable, Sendable {
    package static let byteCount = 32

    package var devid: UInt64
    /// First byte on that device.
    package var physical: UInt64
    package var deviceUUID: FilesystemUUID

    package init(devid: UInt64, physical: UInt64, deviceUUID: FilesystemUUID) {
        self.devid = devid
        self.physical = physical
        self.deviceUUID = deviceUUID
    }
}

/// CHUNK_ITEM: the stripes behind a range of logical addresses.
package struct ChunkItem: Equatable, Sendable {
    /// Bytes before the stripes.
    package static let fixedByteCount = 48

    /// First logical address (the key's offset).
    package var logical: UInt64
    /// Bytes of logical address space.
    package var length: UInt64
    package var owner: UInt64
    package var flags: ChunkFlags
    package var profile: Profile
    package var ioAlign: UInt32
    package var ioWidth: UInt32
    package var sectorSize: UInt32
    /// Stripes that hold the same bytes, in raid10; otherwise without meaning.
    package var subStripes: UInt16
    package var stripes: [ChunkStripe]

    /// First logical address behind the chunk.
    package var end: UInt64 { logical + length }

    /// Stripes of distinct data.
    package var dataStripes: Int { profile.dataStripes(of: stripes.count) }

    /// Bytes that each stripe takes on its device.
    package var stripeBytes: UInt64 { (length - 1) / UInt64(dataStripes) + 1 }

    /// Bytes of an item with `stripeCount` stripes.
    package static func byteCount(stripeCount: Int) -> Int {
        fixedByteCount + stripeCount * ChunkStripe.byteCount
    }

    package init(
        logical: UInt64, length: UInt64, flags: ChunkFlags, profile: Profile,
        sectorSize: UInt32, stripes: [ChunkStripe]
    ) {
        self.logical = logical
        self.length = length
        self.owner = ObjectID.extentTree
        self.flags = flags
        self.profile = profile
        self.ioAlign = UInt32(stripeLength)
        self.ioWidth = UInt32(stripeLength)
        self.sectorSize = sectorSize
        self.subStripes = profile == .raid10 ? 2 : 1
        self.stripes = stripes
    }

    /// Reads the item with this key; `bytes` are exactly the item.
    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try self.init(key: key, prefix: bytes, limits)
        try bytes.requireExactly(
            ChunkItem.byteCount(stripeCount: stripes.count), "chunk")
    }

    /// Reads an item that other bytes may follow, as in the system chunk array.
    package init(key: Key, prefix bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.require(ChunkItem.fixedByteCount, "chunk")
        guard key.type == .chunkItem, key.objectid == ObjectID.firstChunk else {
            throw FilesystemError(
                .corrupt, "chunk", "key (% % …) is not a chunk's", key.objectid,
                UInt64(key.type.rawValue), logical: key.offset)
        }
        logical = key.offset
        length = bytes.u64(at: 0)
        owner = bytes.u64(at: 8)
        flags = ChunkFlags(rawValue: bytes.u64(at: 24))
        ioAlign = bytes.u32(at: 32)
        ioWidth = bytes.u32(at: 36)
        sectorSize = bytes.u32(at: 40)
        subStripes = bytes.u16(at: 46)
        profile = flags.profile ?? .single
        stripes = []
        do throws(FilesystemError) {
            try checkFields(stripeLength: bytes.u64(at: 16), limits)
            let count = Int(bytes.u16(at: 44))
            try checkStripeCount(count)
            try bytes.require(ChunkItem.byteCount(stripeCount: count), "chunk")
            try readStripes(count, bytes, limits)
        } catch {
            throw error.located(logical: key.offset)
        }
    }

    private func checkFields(
        stripeLength found: UInt64, _ limits: FormatLimits
    ) throws(FilesystemError) {
        guard logical.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "chunk", "address % not sector aligned", logical)
        }
        guard length > 0, length.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "chunk", "length % not sector aligned", length)
        }
        guard logical.end(adding: length) != nil else {
            throw FilesystemError(.corrupt, "chunk", "length % passes the last address", length)
        }
        // Stripes are counted in 32 bits.
        guard length / stripeLength < UInt64(UInt32.max) else {
            throw FilesystemError(.corrupt, "chunk", "length % too large", length)
        }
        guard found == stripeLength else {
            throw FilesystemError(.corrupt, "chunk", "stripe length %, expected 65536", found)
        }
        guard sectorSize == limits.sectorSize else {
            throw FilesystemError(
                .corrupt, "chunk", "sector size %, expected %", UInt64(sectorSize),
                UInt64(limits.sectorSize))
        }
        try flags.check("chunk")
        guard !flags.isMixed || limits.incompat.contains(.mixedGroups) else {
            throw FilesystemError(
                .corrupt, "chunk", "mixed type % without the mixed-groups flag", flags.rawValue)
        }
    }

    private func checkStripeCount(_ count: Int) throws(FilesystemError) {
        guard profile.allows(stripeCount: count) else {
            throw FilesystemError(
                .corrupt, "chunk", "% stripes with type %", UInt64(count), flags.rawValue)
        }
        guard profile != .raid10 || subStripes == 2 else {
            throw FilesystemError(.corrupt, "chunk", "% sub-stripes", UInt64(subStripes))
        }
    }

    private mutating func readStripes(
        _ count: Int, _ bytes: RawSpan, _ limits: FormatLimits
    ) throws(FilesystemError) {
        let stripeBytes = (length - 1) / UInt64(profile.dataStripes(of: count)) + 1
        stripes.reserveCapacity(count)
        for index in 0..<count {
            let at = ChunkItem.byteCount(stripeCount: index)
            let stripe = ChunkStripe(
                devid: bytes.u64(at: at), physical: bytes.u64(at: at + 8),
                deviceUUID: bytes.uuid(at: at + 16))
            guard stripe.physical.isAligned(to: limits.sectorSize) else {
                throw FilesystemError(
                    .corrupt, "chunk", "stripe offset not sector aligned",
                    devid: stripe.devid, physical: stripe.physical)
            }
            // A striped chunk may end in the middle of a row: allow for one piece more.
            guard let end = stripe.physical.end(adding: stripeBytes),
                end.end(adding: stripeLength) != nil
            else {
                throw FilesystemError(
                    .corrupt, "chunk", "stripe passes the last address",
                    devid: stripe.devid, physical: stripe.physical)
            }
            stripes.append(stripe)
        }
    }
}

/// DEV_ITEM: one device, as the chunk tree and the super block describe it.
package struct DeviceItem: Equatable, Sendable {
    package static let byteCount = 98

    package var devid: UInt64
    /// Bytes of the device that the file system uses.
    package var totalBytes: UInt64
    /// Bytes in device extents.
    package var bytesUsed: UInt64
    package var ioAlign: UInt32
    package var ioWidth: UInt32
    package var sectorSize: UInt32
    package var type: UInt64
    package var generation: UInt64
    package var startOffset: UInt64
    package var deviceGroup: UInt32
    package var seekSpeed: UInt8
    package var bandwidth: UInt8
    package var uuid: FilesystemUUID
    /// The metadata UUID of the file system.
    package var filesystemUUID: FilesystemUUID

    /// Reads the copy in a super block.
    package init(_ bytes: RawSpan) throws(FilesystemError) {
        try bytes.requireExactly(DeviceItem.byteCount, "device item")
        devid = bytes.u64(at: 0)
        totalBytes = bytes.u64(at: 8)
        bytesUsed = bytes.u64(at: 16)
        ioAlign = bytes.u32(at: 24)
        ioWidth = bytes.u32(at: 28)
        sectorSize = bytes.u32(at: 32)
        type = bytes.u64(at: 36)
        generation = bytes.u64(at: 44)
        startOffset = bytes.u64(at: 52)
        deviceGroup = bytes.u32(at: 60)
        seekSpeed = bytes.u8(at: 64)
        bandwidth = bytes.u8(at: 65)
        uuid = bytes.uuid(at: 66)
        filesystemUUID = bytes.uuid(at: 82)
        guard bytesUsed <= totalBytes else {
            throw FilesystemError(
                .corrupt, "device item", "% bytes used of %", bytesUsed, totalBytes,
                devid: devid)
        }
    }

    /// Reads an item of the chunk tree.
    package init(key: Key, _ bytes: RawSpan) throws(FilesystemError) {
        try self.init(bytes)
        guard key.type == .deviceItem, key.objectid == ObjectID.deviceItems else {
            throw FilesystemError(
                .corrupt, "device item", "object id %, expected 1", key.objectid)
        }
        guard key.offset == devid else {
            throw FilesystemError(
                .corrupt, "device item", "key says devid %, item %", key.offset, devid)
        }
    }
}

/// DEV_EXTENT: the bytes of a device that one stripe sits on.
package struct DeviceExtent: Equatable, Sendable {
    package static let byteCount = 48

    package var devid: UInt64
    package var physical: UInt64
    package var length: UInt64
    /// Logical address of the chunk that owns it.
    package var chunkLogical: UInt64
    package var chunkTreeUUID: FilesystemUUID

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.requireExactly(DeviceExtent.byteCount, "device extent")
        devid = key.objectid
        physical = key.offset
        chunkLogical = bytes.u64(at: 16)
        length = bytes.u64(at: 24)
        chunkTreeUUID = bytes.uuid(at: 32)
        let chunkTree = bytes.u64(at: 0)
        let chunkObjectid = bytes.u64(at: 8)
        let problem: StaticString? =
            if key.type != .deviceExtent {
                "key type is not a device extent's"
            } else if chunkTree != ObjectID.chunkTree {
                "chunk tree is not 3"
            } else if chunkObjectid != ObjectID.firstChunk {
                "chunk object id is not 256"
            } else if !physical.isAligned(to: limits.sectorSize) {
                "offset not sector aligned"
            } else if !chunkLogical.isAligned(to: limits.sectorSize) {
                "chunk address not sector aligned"
            } else if length == 0 || !length.isAligned(to: limits.sectorSize) {
                "length not sector aligned"
            } else if physical.end(adding: length) == nil {
                "passes the last address"
            } else {
                nil
            }
        if let problem {
            throw FilesystemError(
                .corrupt, "device extent", problem, devid: devid, physical: physical)
        }
    }
}

/// BLOCK_GROUP_ITEM: a block group and how much of it is in use.
package struct BlockGroupItem: Equatable, Sendable {
    package static let byteCount = 24

    package var logical: UInt64
    package var length: UInt64
    /// Bytes in extents.
    package var used: UInt64
    package var chunkObjectid: UInt64
    package var flags: ChunkFlags

    /// First logical address behind the group.
    package var end: UInt64 { logical + length }

    package init(
        logical: UInt64, length: UInt64, used: UInt64, chunkObjectid: UInt64,
        flags: ChunkFlags
    ) {
        self.logical = logical
        self.length = length
        self.used = used
        self.chunkObjectid = chunkObjectid
        self.flags = flags
    }

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.requireExactly(BlockGroupItem.byteCount, "block group")
        logical = key.objectid
        length = key.offset
        used = bytes.u64(at: 0)
        chunkObjectid = bytes.u64(at: 8)
        flags = ChunkFlags(rawValue: bytes.u64(at: 16))
        do throws(FilesystemError) {
            try check(key, limits)
        } catch {
            throw error.located(logical: key.objectid)
        }
    }

    private func check(_ key: Key, _ limits: FormatLimits) throws(FilesystemError) {
        guard key.type == .blockGroupItem else {
            throw FilesystemError(
                .corrupt, "block group", "key type %", UInt64(key.type.rawValue))
        }
        guard logical.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "block group", "address % not sector aligned", logical)
        }
        guard length > 0, length.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "block group", "length % not sector aligned", length)
        }
        guard logical.end(adding: length) != nil else {
            throw FilesystemError(
                .corrupt, "block group", "length % passes the last address", length)
        }
        guard chunkObjectid == ObjectID.firstChunk else {
            throw FilesystemError(
                .corrupt, "block group", "chunk object id %, expected 256", chunkObjectid)
        }
        guard used <= length else {
            throw FilesystemError(.corrupt, "block group", "% bytes used of %", used, length)
        }
        try flags.check("block group")
        guard !flags.isMixed || limits.incompat.contains(.mixedGroups) else {
            throw FilesystemError(
                .corrupt, "block group", "mixed type % without the mixed-groups flag",
                flags.rawValue)
        }
    }
}
