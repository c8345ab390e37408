//===-- ChunkItem.swift - chunks and their stripes --------------------------------------------===//
// Where a range of logical addresses lies on devices, as the chunk tree and the super block say it.
//
// A value that exists has in-range fields, as many stripes as its profile allows, and no end that
// overflows; whether its devices are there is for BGDevices to see.

/// Bytes that lie side by side on one stripe before a striped chunk goes on to the next one.
package let stripeLength: UInt64 = 65536

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
        logical: UInt64,
        length: UInt64,
        flags: ChunkFlags,
        profile: Profile,
        sectorSize: UInt32,
        stripes: [ChunkStripe]
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

    /// Where the item lies in the chunk tree.
    package var key: Key { Key(ObjectID.firstChunk, .chunkItem, logical) }

    /// The item's bytes, in the chunk tree as in the system chunk array.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(ChunkItem.byteCount(stripeCount: stripes.count))
        bytes.append(littleEndian: length)
        bytes.append(littleEndian: owner)
        bytes.append(littleEndian: stripeLength)
        bytes.append(littleEndian: flags.rawValue)
        bytes.append(littleEndian: ioAlign)
        bytes.append(littleEndian: ioWidth)
        bytes.append(littleEndian: sectorSize)
        bytes.append(littleEndian: UInt16(stripes.count))
        bytes.append(littleEndian: subStripes)
        for stripe in stripes {
            bytes.append(littleEndian: stripe.devid)
            bytes.append(littleEndian: stripe.physical)
            bytes.append(stripe.deviceUUID)
        }
        return bytes
    }

    /// Reads the item with this key; `bytes` are exactly the item.
    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try self.init(key: key, prefix: bytes, limits)
        try bytes.requireExactly(
            ChunkItem.byteCount(stripeCount: stripes.count),
            "chunk"
        )
    }

    /// Reads an item that other bytes may follow, as in the system chunk array.
    package init(key: Key, prefix bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.require(ChunkItem.fixedByteCount, "chunk")
        guard key.type == .chunkItem, key.objectid == ObjectID.firstChunk else {
            throw FilesystemError(
                .corrupt,
                "chunk",
                "key (% % …) is not a chunk's",
                key.objectid,
                UInt64(key.type.rawValue),
                logical: key.offset
            )
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
        stripeLength found: UInt64,
        _ limits: FormatLimits
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
                .corrupt,
                "chunk",
                "sector size %, expected %",
                UInt64(sectorSize),
                UInt64(limits.sectorSize)
            )
        }
        try flags.check("chunk")
        guard !flags.isMixed || limits.incompat.contains(.mixedGroups) else {
            throw FilesystemError(
                .corrupt,
                "chunk",
                "mixed type % without the mixed-groups flag",
                flags.rawValue
            )
        }
    }

    private func checkStripeCount(_ count: Int) throws(FilesystemError) {
        guard profile.allows(stripeCount: count) else {
            throw FilesystemError(
                .corrupt,
                "chunk",
                "% stripes with type %",
                UInt64(count),
                flags.rawValue
            )
        }
        guard profile != .raid10 || subStripes == 2 else {
            throw FilesystemError(.corrupt, "chunk", "% sub-stripes", UInt64(subStripes))
        }
    }

    private mutating func readStripes(
        _ count: Int,
        _ bytes: RawSpan,
        _ limits: FormatLimits
    ) throws(FilesystemError) {
        let stripeBytes = (length - 1) / UInt64(profile.dataStripes(of: count)) + 1
        stripes.reserveCapacity(count)
        for index in 0..<count {
            let at = ChunkItem.byteCount(stripeCount: index)
            let stripe = ChunkStripe(
                devid: bytes.u64(at: at),
                physical: bytes.u64(at: at + 8),
                deviceUUID: bytes.uuid(at: at + 16)
            )
            guard stripe.physical.isAligned(to: limits.sectorSize) else {
                throw FilesystemError(
                    .corrupt,
                    "chunk",
                    "stripe offset not sector aligned",
                    devid: stripe.devid,
                    physical: stripe.physical
                )
            }
            // A striped chunk may end in the middle of a row: allow for one piece more.
            guard let end = stripe.physical.end(adding: stripeBytes),
                end.end(adding: stripeLength) != nil
            else {
                throw FilesystemError(
                    .corrupt,
                    "chunk",
                    "stripe passes the last address",
                    devid: stripe.devid,
                    physical: stripe.physical
                )
            }
            stripes.append(stripe)
        }
    }
}
