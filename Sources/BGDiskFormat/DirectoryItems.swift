//===-- DirectoryItems.swift - names in directories, and extended attributes --------------------===//
// DIR_ITEM finds a name by its hash: names with the same hash share an item, one entry after another.
// DIR_INDEX has the same entry once more, in the order of creation. XATTR_ITEM has the form of
// DIR_ITEM, with a value behind each name.
//
// A value that exists has a name and a value that lie wholly inside their item.

internal import CShim

/// What the format asks of names.
package enum FileName {
    package static let lengthRange = 1...255

    /// Whether a directory may hold this name: a path could not lead to any other.
    package static func isSound(_ name: [UInt8]) -> Bool {
        guard lengthRange.contains(name.count) else { return false }
        if name[0] == 0x2e, name.count == 1 || (name.count == 2 && name[1] == 0x2e) {
            return false
        }
        for byte in name where byte == 0 || byte == 0x2f { return false }
        return true
    }
}

/// The hashes by which names are found.
package enum NameHash {
    /// Offset of the key of a name's DIR_ITEM or XATTR_ITEM.
    package static func directoryItem(_ name: [UInt8]) -> UInt64 {
        hash(seed: ~1, name)
    }

    /// Offset of the key of a name's INODE_EXTREF.
    package static func extendedRef(directory: UInt64, _ name: [UInt8]) -> UInt64 {
        hash(seed: UInt32(truncatingIfNeeded: directory), name)
    }

    private static func hash(seed: UInt32, _ name: [UInt8]) -> UInt64 {
        let span = name.span
        return unsafe span.bytes.withUnsafeBytes { bytes in
            unsafe UInt64(bgs_crc32c_raw(seed, bytes.baseAddress, bytes.count))
        }
    }
}

/// One entry of a DIR_ITEM, DIR_INDEX or XATTR_ITEM.
package struct DirectoryItem: Equatable, Sendable {
    /// Bytes of an entry before its name.
    package static let headerBytes = 30

    /// Values of `type`; an extended attribute's is its own.
    package static let typeRegular: UInt8 = 1
    package static let typeDirectory: UInt8 = 2
    package static let typeCharacterDevice: UInt8 = 3
    package static let typeBlockDevice: UInt8 = 4
    package static let typeFIFO: UInt8 = 5
    package static let typeSocket: UInt8 = 6
    package static let typeSymbolicLink: UInt8 = 7
    package static let typeExtendedAttribute: UInt8 = 8

    /// Key of the inode item, or of a subvolume's root item; all zero for an extended attribute.
    package var location: Key
    /// Generation that made the entry.
    package var transid: UInt64
    package var type: UInt8
    package var name: [UInt8]
    /// An extended attribute's value; otherwise empty.
    package var value: [UInt8]

    package var byteCount: Int { DirectoryItem.headerBytes + name.count + value.count }

    package init(
        location: Key,
        transid: UInt64,
        type: UInt8,
        name: [UInt8],
        value: [UInt8] = []
    ) {
        self.location = location
        self.transid = transid
        self.type = type
        self.name = name
        self.value = value
    }

    /// All entries of an item.
    package static func entries(
        key: Key,
        _ bytes: RawSpan
    ) throws(FilesystemError) -> [DirectoryItem] {
        var entries: [DirectoryItem] = []
        var offset = 0
        // Ends: each entry is longer than its header.
        while offset < bytes.byteCount {
            let entry = try DirectoryItem(bytes, at: offset)
            try entry.check(key)
            entries.append(entry)
            offset += entry.byteCount
        }
        guard !entries.isEmpty, key.type != .dirIndex || entries.count == 1 else {
            throw FilesystemError(
                .corrupt,
                "directory item",
                "% entries in one item",
                UInt64(entries.count)
            )
        }
        return entries
    }

    private init(_ bytes: RawSpan, at offset: Int) throws(FilesystemError) {
        guard bytes.byteCount - offset > DirectoryItem.headerBytes else {
            throw FilesystemError(
                .corrupt,
                "directory item",
                "entry cut off at byte %",
                UInt64(offset)
            )
        }
        location = bytes.key(at: offset)
        transid = bytes.u64(at: offset + 17)
        let valueBytes = Int(bytes.u16(at: offset + 25))
        let nameBytes = Int(bytes.u16(at: offset + 27))
        type = bytes.u8(at: offset + 29)
        let start = offset + DirectoryItem.headerBytes
        guard FileName.lengthRange.contains(nameBytes),
            nameBytes + valueBytes <= bytes.byteCount - start
        else {
            throw FilesystemError(
                .corrupt,
                "directory item",
                "name of % and value of % bytes",
                UInt64(nameBytes),
                UInt64(valueBytes)
            )
        }
        name = bytes.bytes(start..<start + nameBytes)
        value = bytes.bytes(start + nameBytes..<start + nameBytes + valueBytes)
    }

    private func check(_ key: Key) throws(FilesystemError) {
        let isAttribute = key.type == .extendedAttribute
        guard isAttribute == (type == DirectoryItem.typeExtendedAttribute),
            (1...8).contains(type)
        else {
            throw FilesystemError(.corrupt, "directory item", "entry of type %", UInt64(type))
        }
        guard isAttribute || FileName.isSound(name) else {
            throw FilesystemError(
                .corrupt,
                "directory item",
                "name of % bytes with a slash or a zero, or of dots alone",
                UInt64(name.count)
            )
        }
        guard isAttribute || value.isEmpty else {
            throw FilesystemError(
                .corrupt,
                "directory item",
                "% bytes behind a name",
                UInt64(value.count)
            )
        }
        guard key.type == .dirIndex || NameHash.directoryItem(name) == key.offset else {
            throw FilesystemError(
                .corrupt,
                "directory item",
                "name with hash % under %",
                NameHash.directoryItem(name),
                key.offset
            )
        }
        guard
            isAttribute || location.type == .inodeItem || location.type == .rootItem
        else {
            throw FilesystemError(
                .corrupt,
                "directory item",
                "leads to an item of type %",
                UInt64(location.type.rawValue)
            )
        }
    }

    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        bytes.append(location)
        bytes.append(littleEndian: transid)
        bytes.append(littleEndian: UInt16(value.count))
        bytes.append(littleEndian: UInt16(name.count))
        bytes.append(type)
        bytes.append(contentsOf: name)
        bytes.append(contentsOf: value)
        return bytes
    }
}

extension RawSpan {
    /// A copy of some bytes.
    package func bytes(_ range: Range<Int>) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            let part = extracting(range)
            unsafe part.withUnsafeBytes { from in
                unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(from: from)
            }
            count = range.count
        }
    }
}
