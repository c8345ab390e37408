//===-- DeviceItems.swift - devices and the parts of them in use ------------------------------===//
// Items of the chunk and device trees. Each initializer takes the bytes of one item and refuses
// what no sound file system contains.

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

    /// A device that nothing lies on yet.
    package init(
        devid: UInt64,
        totalBytes: UInt64,
        sectorSize: UInt32,
        uuid: FilesystemUUID,
        filesystemUUID: FilesystemUUID
    ) {
        self.devid = devid
        self.totalBytes = totalBytes
        bytesUsed = 0
        ioAlign = sectorSize
        ioWidth = sectorSize
        self.sectorSize = sectorSize
        type = 0
        generation = 0
        startOffset = 0
        deviceGroup = 0
        seekSpeed = 0
        bandwidth = 0
        self.uuid = uuid
        self.filesystemUUID = filesystemUUID
    }

    /// Where the item lies in the chunk tree.
    package var key: Key { Key(ObjectID.deviceItems, .deviceItem, devid) }

    /// The item's bytes, in the chunk tree as in a super block.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(DeviceItem.byteCount)
        bytes.append(littleEndian: devid)
        bytes.append(littleEndian: totalBytes)
        bytes.append(littleEndian: bytesUsed)
        bytes.append(littleEndian: ioAlign)
        bytes.append(littleEndian: ioWidth)
        bytes.append(littleEndian: sectorSize)
        bytes.append(littleEndian: type)
        bytes.append(littleEndian: generation)
        bytes.append(littleEndian: startOffset)
        bytes.append(littleEndian: deviceGroup)
        bytes.append(seekSpeed)
        bytes.append(bandwidth)
        bytes.append(uuid)
        bytes.append(filesystemUUID)
        return bytes
    }

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
                .corrupt,
                "device item",
                "% bytes used of %",
                bytesUsed,
                totalBytes,
                devid: devid
            )
        }
    }

    /// Reads an item of the chunk tree.
    package init(key: Key, _ bytes: RawSpan) throws(FilesystemError) {
        try self.init(bytes)
        guard key.type == .deviceItem, key.objectid == ObjectID.deviceItems else {
            throw FilesystemError(
                .corrupt,
                "device item",
                "object id %, expected 1",
                key.objectid
            )
        }
        guard key.offset == devid else {
            throw FilesystemError(
                .corrupt,
                "device item",
                "key says devid %, item %",
                key.offset,
                devid
            )
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

    package init(
        devid: UInt64,
        physical: UInt64,
        length: UInt64,
        chunkLogical: UInt64,
        chunkTreeUUID: FilesystemUUID
    ) {
        self.devid = devid
        self.physical = physical
        self.length = length
        self.chunkLogical = chunkLogical
        self.chunkTreeUUID = chunkTreeUUID
    }

    /// First byte behind it on its device.
    package var end: UInt64 { physical + length }

    /// Where the item lies in the device tree.
    package var key: Key { Key(devid, .deviceExtent, physical) }

    /// The item's bytes.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(DeviceExtent.byteCount)
        bytes.append(littleEndian: ObjectID.chunkTree)
        bytes.append(littleEndian: ObjectID.firstChunk)
        bytes.append(littleEndian: chunkLogical)
        bytes.append(littleEndian: length)
        bytes.append(chunkTreeUUID)
        return bytes
    }

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
                .corrupt,
                "device extent",
                problem,
                devid: devid,
                physical: physical
            )
        }
    }
}
