//===-- InodeItem.swift - what a file or directory is, and where its names are ------------------===//
// INODE_ITEM: type, owner, size, times. INODE_REF and INODE_EXTREF: the names that lead to an inode,
// by directory; several names of one directory share an item.
//
// A value that exists has a sound size, type, and generation, and names of 1 to 255 bytes.

/// Seconds since 1970 and nanoseconds, as inodes and roots store them.
package struct InodeTime: Equatable, Sendable {
    package static let byteCount = 12

    package var seconds: Int64
    package var nanoseconds: UInt32

    package init(seconds: Int64, nanoseconds: UInt32) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    init(_ bytes: RawSpan, at offset: Int) {
        seconds = Int64(bitPattern: bytes.u64(at: offset))
        nanoseconds = bytes.u32(at: offset + 8)
    }

    func store(into bytes: inout MutableRawSpan, at offset: Int) {
        bytes.store(seconds, at: offset)
        bytes.store(nanoseconds, at: offset + 8)
    }
}

/// INODE_ITEM, key (inode, 1, 0).
package struct InodeItem: Equatable, Sendable {
    package static let byteCount = 160

    /// Bits of `mode` that say what the inode is, and the values that there are.
    package static let modeTypeMask: UInt32 = 0o170000
    package static let modeFIFO: UInt32 = 0o010000
    package static let modeCharacterDevice: UInt32 = 0o020000
    package static let modeDirectory: UInt32 = 0o040000
    package static let modeBlockDevice: UInt32 = 0o060000
    package static let modeRegular: UInt32 = 0o100000
    package static let modeSymbolicLink: UInt32 = 0o120000
    package static let modeSocket: UInt32 = 0o140000

    /// Bits of `flags`: no checksums for the data; overwritten in place by the kernel; may not be
    /// changed; may only grow; compressed by the kernel or not.
    package static let flagNoDataChecksums: UInt64 = 1 << 0
    package static let flagNoDataCopy: UInt64 = 1 << 1
    package static let flagReadOnly: UInt64 = 1 << 2
    package static let flagNoCompress: UInt64 = 1 << 3
    package static let flagPreallocated: UInt64 = 1 << 4
    package static let flagImmutable: UInt64 = 1 << 6
    package static let flagAppend: UInt64 = 1 << 7
    package static let flagCompress: UInt64 = 1 << 11
    /// In the upper half: sealed by fs-verity.
    package static let flagVerity: UInt64 = 1 << 32

    package var generation: UInt64
    /// Of the last change.
    package var transid: UInt64
    /// Bytes; of a directory, twice the length of all names in it.
    package var size: UInt64
    /// Bytes that extents hold.
    package var byteCount: UInt64
    package var blockGroup: UInt64
    /// Names that lead here.
    package var linkCount: UInt32
    package var owner: UInt32
    package var group: UInt32
    package var mode: UInt32
    /// Device number of a device file.
    package var device: UInt64
    package var flags: UInt64
    /// Whether its data has checksums.
    package var hasDataChecksums: Bool { flags & InodeItem.flagNoDataChecksums == 0 }
    /// Counts changes.
    package var sequence: UInt64
    package var accessTime: InodeTime
    package var changeTime: InodeTime
    package var modificationTime: InodeTime
    package var creationTime: InodeTime

    package var typeBits: UInt32 { mode & InodeItem.modeTypeMask }
    package var isDirectory: Bool { typeBits == InodeItem.modeDirectory }
    package var isRegular: Bool { typeBits == InodeItem.modeRegular }
    package var isSymbolicLink: Bool { typeBits == InodeItem.modeSymbolicLink }

    /// A new inode with one name, all times the same.
    package init(generation: UInt64, mode: UInt32, owner: UInt32, group: UInt32, time: InodeTime) {
        self.generation = generation
        transid = generation
        size = 0
        byteCount = 0
        blockGroup = 0
        linkCount = 1
        self.owner = owner
        self.group = group
        self.mode = mode
        device = 0
        flags = 0
        sequence = 0
        accessTime = time
        changeTime = time
        modificationTime = time
        creationTime = time
    }

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.requireExactly(InodeItem.byteCount, "inode item")
        generation = bytes.u64(at: 0)
        transid = bytes.u64(at: 8)
        size = bytes.u64(at: 16)
        byteCount = bytes.u64(at: 24)
        blockGroup = bytes.u64(at: 32)
        linkCount = bytes.u32(at: 40)
        owner = bytes.u32(at: 44)
        group = bytes.u32(at: 48)
        mode = bytes.u32(at: 52)
        device = bytes.u64(at: 56)
        flags = bytes.u64(at: 64)
        sequence = bytes.u64(at: 72)
        accessTime = InodeTime(bytes, at: 112)
        changeTime = InodeTime(bytes, at: 124)
        modificationTime = InodeTime(bytes, at: 136)
        creationTime = InodeTime(bytes, at: 148)
        try check(key, limits)
    }

    private func check(_ key: Key, _ limits: FormatLimits) throws(FilesystemError) {
        guard key.type == .inodeItem, key.offset == 0 else {
            throw FilesystemError(
                .corrupt,
                "inode item",
                "key type %, offset %",
                UInt64(key.type.rawValue),
                key.offset
            )
        }
        // The running transaction may be one above the committed one.
        guard generation <= limits.generation + 1, transid <= limits.generation + 1 else {
            throw FilesystemError(
                .corrupt,
                "inode item",
                "generation % or change % above the super block's",
                generation,
                transid
            )
        }
        switch typeBits {
        case InodeItem.modeFIFO, InodeItem.modeCharacterDevice, InodeItem.modeDirectory,
            InodeItem.modeBlockDevice, InodeItem.modeRegular, InodeItem.modeSymbolicLink,
            InodeItem.modeSocket:
            break
        default:
            throw FilesystemError(.corrupt, "inode item", "mode %", UInt64(mode))
        }
        guard !isDirectory || linkCount <= 1 else {
            throw FilesystemError(
                .corrupt,
                "inode item",
                "directory with % links",
                UInt64(linkCount)
            )
        }
        guard size <= UInt64(Int64.max) else {
            throw FilesystemError(.corrupt, "inode item", "size %", size)
        }
    }

    package var encoded: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: InodeItem.byteCount)
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        store(into: &raw)
        return bytes
    }

    /// Overwrites an item's fields; its reserved bytes stay.
    package func store(into item: inout MutableRawSpan) {
        item.store(generation, at: 0)
        item.store(transid, at: 8)
        item.store(size, at: 16)
        item.store(byteCount, at: 24)
        item.store(blockGroup, at: 32)
        item.store(linkCount, at: 40)
        item.store(owner, at: 44)
        item.store(group, at: 48)
        item.store(mode, at: 52)
        item.store(device, at: 56)
        item.store(flags, at: 64)
        item.store(sequence, at: 72)
        accessTime.store(into: &item, at: 112)
        changeTime.store(into: &item, at: 124)
        modificationTime.store(into: &item, at: 136)
        creationTime.store(into: &item, at: 148)
    }
}

/// One name of an inode: an entry of an INODE_REF item, key (inode, 12, directory), or of an
/// INODE_EXTREF item, key (inode, 13, hash).
package struct InodeRef: Equatable, Sendable {
    /// Bytes of an entry before its name.
    package static let headerBytes = 10
    package static let extendedHeaderBytes = 18

    package var directory: UInt64
    /// Of the DIR_INDEX item of this name.
    package var index: UInt64
    package var name: [UInt8]

    package init(directory: UInt64, index: UInt64, name: [UInt8]) {
        self.directory = directory
        self.index = index
        self.name = name
    }

    /// All entries of an INODE_REF item.
    package static func entries(
        key: Key,
        _ bytes: RawSpan
    ) throws(FilesystemError) -> [InodeRef] {
        try parse(bytes, header: headerBytes) { entry in
            (key.offset, entry.u64(at: 0), Int(entry.u16(at: 8)))
        }
    }

    /// All entries of an INODE_EXTREF item.
    package static func extendedEntries(
        key: Key,
        _ bytes: RawSpan
    ) throws(FilesystemError) -> [InodeRef] {
        let found = try parse(bytes, header: extendedHeaderBytes) { entry in
            (entry.u64(at: 0), entry.u64(at: 8), Int(entry.u16(at: 16)))
        }
        for entry in found {
            let hash = NameHash.extendedRef(directory: entry.directory, entry.name)
            guard hash == key.offset else {
                throw FilesystemError(
                    .corrupt,
                    "inode extended ref",
                    "name with hash % under %",
                    hash,
                    key.offset
                )
            }
        }
        return found
    }

    private static func parse(
        _ bytes: RawSpan,
        header: Int,
        _ fields: (RawSpan) -> (directory: UInt64, index: UInt64, nameBytes: Int)
    ) throws(FilesystemError) -> [InodeRef] {
        var entries: [InodeRef] = []
        var offset = 0
        // Ends: each entry is longer than its header.
        while offset < bytes.byteCount {
            guard bytes.byteCount - offset > header else {
                throw FilesystemError(
                    .corrupt,
                    "inode ref",
                    "entry cut off at byte %",
                    UInt64(offset)
                )
            }
            let (directory, index, count) = fields(
                bytes.extracting(offset..<offset + header)
            )
            let name = offset + header
            guard FileName.lengthRange.contains(count), count <= bytes.byteCount - name else {
                throw FilesystemError(
                    .corrupt,
                    "inode ref",
                    "name of % bytes at byte %",
                    UInt64(count),
                    UInt64(offset)
                )
            }
            entries.append(
                InodeRef(
                    directory: directory,
                    index: index,
                    name: bytes.bytes(name..<name + count)
                )
            )
            offset = name + count
        }
        guard !entries.isEmpty else {
            throw FilesystemError(.corrupt, "inode ref", "empty item")
        }
        return entries
    }

    /// The entry as an INODE_REF item holds it.
    package var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(InodeRef.headerBytes + name.count)
        bytes.append(littleEndian: index)
        bytes.append(littleEndian: UInt16(name.count))
        bytes.append(contentsOf: name)
        return bytes
    }

    /// The entry as an INODE_EXTREF item holds it.
    package var extendedEncoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(InodeRef.extendedHeaderBytes + name.count)
        bytes.append(littleEndian: directory)
        bytes.append(littleEndian: index)
        bytes.append(littleEndian: UInt16(name.count))
        bytes.append(contentsOf: name)
        return bytes
    }
}
