//===-- FileExtentItem.swift - which bytes of a file lie where ----------------------------------===//
// EXTENT_DATA, key (inode, 108, file offset): the bytes themselves ("inline"), or a part of an extent
// that the extent tree records, or a hole.
//
// A value that exists has aligned places and lengths that do not overflow, and a part that lies
// inside its extent.

/// EXTENT_DATA.
package struct FileExtentItem: Equatable, Sendable {
    package static let headerBytes = 21
    /// Bytes of an item that is not inline.
    package static let byteCount = 53

    package enum Kind: UInt8, Sendable {
        case inline = 0
        case regular = 1
        /// Set aside but never written: reads as zeroes.
        case preallocated = 2
    }

    /// 0: none, otherwise zlib, lzo or zstd.
    package static let compressionMax: UInt8 = 3

    package var generation: UInt64
    /// Bytes of the whole extent, or of the inline data, once uncompressed.
    package var ramBytes: UInt64
    package var compression: UInt8
    package var kind: Kind
    /// Address and length of the whole extent; an address of 0 is a hole.
    package var logical: UInt64
    package var diskBytes: UInt64
    /// Where in the (uncompressed) extent this part begins, and its length.
    package var offset: UInt64
    package var length: UInt64
    /// Bytes of an inline item behind its header.
    package var inlineBytes: Int

    package var isHole: Bool { kind != .inline && logical == 0 }
    /// Bytes that it adds to its inode's count.
    package var countedBytes: UInt64 { isHole ? 0 : length }

    /// A part of an extent that is not compressed; an address of 0 makes a hole.
    package init(
        generation: UInt64,
        kind: Kind = .regular,
        logical: UInt64,
        diskBytes: UInt64,
        offset: UInt64 = 0,
        length: UInt64
    ) {
        self.generation = generation
        ramBytes = logical == 0 ? length : diskBytes
        compression = 0
        self.kind = kind
        self.logical = logical
        self.diskBytes = logical == 0 ? 0 : diskBytes
        self.offset = offset
        self.length = length
        inlineBytes = 0
    }

    /// - Parameter bytes: of an inline item, at least its header.
    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.require(FileExtentItem.headerBytes + 1, "file extent")
        generation = bytes.u64(at: 0)
        ramBytes = bytes.u64(at: 8)
        compression = bytes.u8(at: 16)
        guard let kind = Kind(rawValue: bytes.u8(at: 20)) else {
            throw FilesystemError(.corrupt, "file extent", "type %", UInt64(bytes.u8(at: 20)))
        }
        self.kind = kind
        guard key.type == .extentData, key.offset.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "key type %, offset % not sector aligned",
                UInt64(key.type.rawValue),
                key.offset
            )
        }
        guard compression <= FileExtentItem.compressionMax, bytes.u8(at: 17) == 0,
            bytes.u16(at: 18) == 0
        else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "compression %, encryption or other encoding %",
                UInt64(compression),
                UInt64(bytes.u8(at: 17))
            )
        }
        if kind == .inline {
            logical = 0
            diskBytes = 0
            offset = 0
            length = ramBytes
            inlineBytes = bytes.byteCount - FileExtentItem.headerBytes
            try checkInline(key)
        } else {
            try bytes.requireExactly(FileExtentItem.byteCount, "file extent")
            logical = bytes.u64(at: 21)
            diskBytes = bytes.u64(at: 29)
            offset = bytes.u64(at: 37)
            length = bytes.u64(at: 45)
            inlineBytes = 0
            try checkRegular(key, limits)
        }
    }

    private func checkInline(_ key: Key) throws(FilesystemError) {
        guard key.offset == 0 else {
            throw FilesystemError(.corrupt, "file extent", "inline at offset %", key.offset)
        }
        guard compression != 0 || ramBytes == UInt64(inlineBytes) else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "% bytes inline, says %",
                UInt64(inlineBytes),
                ramBytes
            )
        }
        // Inline data is less than a sector, of 64 KiB at the most.
        guard ramBytes <= 65536 else {
            throw FilesystemError(.corrupt, "file extent", "inline of % bytes", ramBytes)
        }
    }

    private func checkRegular(_ key: Key, _ limits: FormatLimits) throws(FilesystemError) {
        let sector = limits.sectorSize
        guard logical.isAligned(to: sector), diskBytes.isAligned(to: sector),
            offset.isAligned(to: sector), length.isAligned(to: sector),
            ramBytes.isAligned(to: sector)
        else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "a field is not sector aligned",
                logical: logical
            )
        }
        guard length > 0, let end = key.offset.end(adding: length), end <= 1 << 63 else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "% bytes at offset %",
                length,
                key.offset,
                logical: logical
            )
        }
        guard logical != 0 else { return }
        guard diskBytes > 0, logical.end(adding: diskBytes) != nil,
            let partEnd = offset.end(adding: length),
            partEnd <= (compression == 0 ? diskBytes : ramBytes)
        else {
            throw FilesystemError(
                .corrupt,
                "file extent",
                "part ends behind its extent of % bytes",
                diskBytes,
                logical: logical
            )
        }
    }

    /// The item; of an inline one, only its header.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(FileExtentItem.byteCount)
        bytes.append(littleEndian: generation)
        bytes.append(littleEndian: ramBytes)
        bytes.append(compression)
        bytes.append(zeros: 3)
        bytes.append(kind.rawValue)
        guard kind != .inline else { return bytes }
        for field in [logical, diskBytes, offset, length] { bytes.append(littleEndian: field) }
        return bytes
    }

    /// An inline item with all its bytes.
    package static func inline(generation: UInt64, _ data: RawSpan) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(headerBytes + data.byteCount)
        bytes.append(littleEndian: generation)
        bytes.append(littleEndian: UInt64(data.byteCount))
        bytes.append(zeros: 4)
        bytes.append(Kind.inline.rawValue)
        bytes.append(contentsOf: data.bytes(0..<data.byteCount))
        return bytes
    }
}
