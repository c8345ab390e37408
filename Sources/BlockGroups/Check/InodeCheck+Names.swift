//===-- InodeCheck+Names.swift - references, directory entries and attributes of an inode ---------===//
// A name is stored three times: in the directory by its hash (DIR_ITEM) and by its index
// (DIR_INDEX), and with the inode (INODE_REF, or INODE_EXTREF where the former is full). The two in
// the directory are compared here, when the directory ends.
//
// Entries are taken apart here and not by BGDiskFormat, whose code also writes them: a mistake there must
// not hide itself. Nor does a check keep their bytes, but only marks.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

/// What an entry and its index must have in common.
struct EntryMark {
    let nameHash: UInt64
    let location: UInt64
    /// The location's key type and the entry's type.
    let types: UInt16

    static func isOrdered(_ a: EntryMark, _ b: EntryMark) -> Bool {
        if a.nameHash != b.nameHash { return a.nameHash < b.nameHash }
        if a.location != b.location { return a.location < b.location }
        return a.types < b.types
    }
}

/// One entry of a DIR_ITEM, DIR_INDEX or XATTR_ITEM.
private struct Entry {
    static let fixedByteCount = 30
    static let attributeType: UInt8 = 8

    let location: Key
    let dataBytes: Int
    let nameBytes: Int
    let type: UInt8
    let name: Range<Int>

    var end: Int { name.upperBound + dataBytes }

    /// Reads the entry at `offset` of an item.
    init(_ item: RawSpan, at offset: Int) throws(FilesystemError) {
        guard item.byteCount - offset >= Entry.fixedByteCount else {
            throw FilesystemError(.corrupt, "name", "entry at byte % cut off", UInt64(offset))
        }
        location = item.key(at: offset)
        dataBytes = Int(item.u16(at: offset + 25))
        nameBytes = Int(item.u16(at: offset + 27))
        type = item.u8(at: offset + 29)
        let start = offset + Entry.fixedByteCount
        name = start..<start + nameBytes
        guard start + nameBytes + dataBytes <= item.byteCount else {
            throw FilesystemError(
                .corrupt,
                "name",
                "of % bytes, data of % bytes, passes its item",
                UInt64(nameBytes),
                UInt64(dataBytes)
            )
        }
        guard 1...255 ~= nameBytes else {
            throw FilesystemError(.corrupt, "name", "of % bytes", UInt64(nameBytes))
        }
    }
}

extension InodeCheck {
    // MARK: references

    mutating func addRefs(
        _ key: Key,
        _ data: RawSpan,
        _ names: inout NameTable
    ) throws(FilesystemError) {
        var offset = 0
        repeat {
            try data.require(offset + 10, "inode reference")
            let parent = key.offset
            let name = try addRef(parent, index: data.u64(at: offset), data, offset + 8, &names)
            offset = name.upperBound
        } while offset < data.byteCount
    }

    mutating func addExtendedRefs(
        _ key: Key,
        _ data: RawSpan,
        _ names: inout NameTable
    ) throws(FilesystemError) {
        var offset = 0
        repeat {
            try data.require(offset + 18, "inode reference")
            let parent = data.u64(at: offset)
            let index = data.u64(at: offset + 8)
            let name = try addRef(parent, index: index, data, offset + 16, &names)
            guard key.offset == extendedRefHash(parent: parent, data.extracting(name)) else {
                throw FilesystemError(
                    .corrupt,
                    "name",
                    "hash % is not that of the reference",
                    key.offset
                )
            }
            offset = name.upperBound
        } while offset < data.byteCount
    }

    /// Notes a name whose length stands at `offset`, before it; returns where the name is.
    private mutating func addRef(
        _ parent: UInt64,
        index: UInt64,
        _ data: RawSpan,
        _ offset: Int,
        _ names: inout NameTable
    ) throws(FilesystemError) -> Range<Int> {
        let length = Int(data.u16(at: offset))
        let start = offset + 2
        guard 1...255 ~= length, start + length <= data.byteCount else {
            throw FilesystemError(.corrupt, "name", "of % bytes in a reference", UInt64(length))
        }
        referenceCount += 1
        let name = start..<start + length
        // The subvolume's own directory is its own parent, under "..".
        if number == ObjectID.firstFree, parent == ObjectID.firstFree {
            guard index == 0, length == 2, data.u16(at: start) == 0x2e2e else {
                throw FilesystemError(.corrupt, "name", "root directory under index %", index)
            }
            return name
        }
        names.references.append(
            NameRecord(
                parent: parent,
                child: number,
                index: index,
                nameHash: fingerprint(data.extracting(name)),
                type: entryType
            )
        )
        return name
    }

    // MARK: directories

    /// A DIR_ITEM: all entries whose names have the same hash.
    mutating func addEntries(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        var offset = 0
        repeat {
            let entry = try Entry(data, at: offset)
            try check(entry)
            let name = data.extracting(entry.name)
            guard nameHash(name) == key.offset else {
                throw FilesystemError(
                    .corrupt,
                    "name",
                    "hash % in the key, % of the name",
                    key.offset,
                    nameHash(name)
                )
            }
            entryBytes += UInt64(entry.nameBytes)
            entries.append(mark(entry, name))
            offset = entry.end
        } while offset < data.byteCount
    }

    /// A DIR_INDEX: one entry.
    mutating func addIndex(
        _ key: Key,
        _ data: RawSpan,
        _ names: inout NameTable
    ) throws(FilesystemError) {
        let entry = try Entry(data, at: 0)
        try check(entry)
        guard entry.end == data.byteCount else {
            throw FilesystemError(.corrupt, "name", "more than one entry in an index item")
        }
        let name = data.extracting(entry.name)
        indexBytes += UInt64(entry.nameBytes)
        indexes.append(mark(entry, name))
        let hash = fingerprint(name)
        if entry.location.type == .rootItem {
            checker.rootLinks.append(
                RootLink(
                    source: .entry,
                    child: entry.location.objectid,
                    parent: tree,
                    directory: number,
                    index: key.offset,
                    nameHash: hash
                )
            )
            return
        }
        names.entries.append(
            NameRecord(
                parent: number,
                child: entry.location.objectid,
                index: key.offset,
                nameHash: hash,
                type: entry.type
            )
        )
    }

    private func mark(_ entry: Entry, _ name: RawSpan) -> EntryMark {
        EntryMark(
            nameHash: fingerprint(name),
            location: entry.location.objectid,
            types: UInt16(entry.location.type.rawValue) << 8 | UInt16(entry.type)
        )
    }

    private func check(_ entry: Entry) throws(FilesystemError) {
        let type = entry.location.type
        guard type == .inodeItem || type == .rootItem else {
            throw FilesystemError(
                .corrupt,
                "name",
                "leads to an item of type %",
                UInt64(type.rawValue)
            )
        }
        guard 1...7 ~= entry.type, type != .rootItem || entry.type == 2 else {
            throw FilesystemError(.corrupt, "name", "entry of type %", UInt64(entry.type))
        }
        guard entry.dataBytes == 0 else {
            throw FilesystemError(
                .corrupt,
                "name",
                "entry with % bytes of data",
                UInt64(entry.dataBytes)
            )
        }
        guard type == .rootItem || entry.location.offset == 0 else {
            throw FilesystemError(.corrupt, "name", "leads to offset %", entry.location.offset)
        }
    }

    /// The directory has ended: entries and indexes are the same, and as many bytes as it says.
    mutating func finishDirectory() {
        if hasExtents { fault(.inode, "directory with file extents") }
        guard isSubvolume else { return }
        if entryBytes + indexBytes != size {
            fault(.directorySize, "size %, its names take %", size, entryBytes + indexBytes)
        }
        entries.sort(by: EntryMark.isOrdered)
        indexes.sort(by: EntryMark.isOrdered)
        forEachPair(entries, indexes, by: EntryMark.isOrdered) { entry, index in
            if let entry, index == nil {
                fault(.name, "entry for % is not in the index", entry.location)
            } else if let index, entry == nil {
                fault(.name, "index entry for % has no entry by name", index.location)
            }
        }
    }

    // MARK: attributes

    /// An XATTR_ITEM: all attributes whose names have the same hash.
    func checkAttributes(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        var offset = 0
        repeat {
            let entry = try Entry(data, at: offset)
            guard entry.type == Entry.attributeType, entry.location == .min else {
                throw FilesystemError(.corrupt, "item", "attribute of type %", UInt64(entry.type))
            }
            guard nameHash(data.extracting(entry.name)) == key.offset else {
                throw FilesystemError(.corrupt, "item", "attribute under hash %", key.offset)
            }
            offset = entry.end
        } while offset < data.byteCount
    }
}
