// A small file system, and a model of what is in it: items, data extents and their references,
// checksums. Data is referred to by real file extents in the subvolume tree, as in a file system.

import BGDiskFormat
import Testing

@testable import BGTrees

/// The features a file system is made with.
struct FixtureFeatures: CustomTestStringConvertible, Sendable {
    var nodeSize: UInt32 = 4096
    var isSkinny = true
    var hasFreeSpaceTree = true
    var hasBlockGroupTree = false
    var checksumType = ChecksumType.crc32c

    var testDescription: String {
        "node \(nodeSize)\(isSkinny ? "" : ", fat")\(hasFreeSpaceTree ? "" : ", no free-space tree")"
            + (hasBlockGroupTree ? ", block-group tree" : "")
    }

    static let all = [
        FixtureFeatures(),
        FixtureFeatures(isSkinny: false),
        FixtureFeatures(hasFreeSpaceTree: false),
        FixtureFeatures(nodeSize: 16384, hasBlockGroupTree: true, checksumType: .sha256),
        FixtureFeatures(nodeSize: 65536, checksumType: .xxhash64),
    ]
}

/// A part of a file.
struct ModelPart: Equatable {
    var extent: UInt64
    var length: UInt64
}

final class Fixture {
    static let tree = ObjectID.filesystemTree

    let features: FixtureFeatures
    var host: MemoryHost
    var store: TreeStore
    /// File extents by key.
    var parts: [Key: ModelPart] = [:]
    var checksums: [UInt64: [UInt8]] = [:]
    /// Other items of the subvolume tree.
    var items: [Key: [UInt8]] = [:]

    static func superBlock(_ features: FixtureFeatures) -> SuperBlock {
        var incompat: UInt64 = IncompatFlags.mixedBackref.rawValue | IncompatFlags.noHoles.rawValue
        if features.isSkinny { incompat |= IncompatFlags.skinnyMetadata.rawValue }
        var readOnly: UInt64 = features.hasFreeSpaceTree ? 3 : 0
        if features.hasBlockGroupTree { readOnly |= CompatReadOnlyFlags.blockGroupTree.rawValue }
        let fsid = FilesystemUUID(high: 1, low: 2)
        return SuperBlock(
            formatting: fsid,
            sectorSize: 4096,
            nodeSize: features.nodeSize,
            checksumType: features.checksumType,
            incompat: IncompatFlags(rawValue: incompat),
            compatReadOnly: CompatReadOnlyFlags(rawValue: readOnly),
            label: [],
            device: DeviceItem(
                devid: 1,
                totalBytes: MemoryHost.deviceBytes,
                sectorSize: 4096,
                uuid: FilesystemUUID(high: 3, low: 4),
                filesystemUUID: fsid
            ),
            deviceCount: 1,
            totalBytes: MemoryHost.deviceBytes
        )
    }

    init(
        _ features: FixtureFeatures = FixtureFeatures(),
        metadataBytes: UInt64 = 16 << 20,
        dataBytes: UInt64 = 16 << 20
    ) throws {
        self.features = features
        let superBlock = Self.superBlock(features)
        host = MemoryHost(
            formatting: superBlock,
            metadataBytes: metadataBytes,
            dataBytes: dataBytes
        )
        store = try TreeStore(
            formatting: superBlock,
            chunkTreeUUID: MemoryHost.chunkTreeUUID,
            host: host
        )
        try store.change { transaction throws(FilesystemError) in
            let item = RootItem(creating: Self.tree, generation: 1, nodeSize: features.nodeSize)
            let tree = try transaction.createTree(Self.tree, item)
            try tree.insert(Key(256, .inodeItem, 0), [UInt8](repeating: 1, count: 160))
        }
        items[Key(256, .inodeItem, 0)] = [UInt8](repeating: 1, count: 160)
    }

    /// Opens the file system again from what is on the device.
    func reopen(_ disk: Disk? = nil) throws {
        host = try MemoryHost(opening: disk ?? host.disk)
        store = try TreeStore(
            host.disk.parsedSuperBlock(),
            groups: host.groupRecords,
            host: host
        )
    }

    // MARK: changing

    static func fileExtent(_ part: ModelPart) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt64(1))
        bytes.append(littleEndian: part.length)
        bytes.append(zeros: 4)
        bytes.append(1)
        bytes.append(littleEndian: part.extent)
        bytes.append(littleEndian: part.length)
        bytes.append(littleEndian: UInt64(0))
        bytes.append(littleEndian: part.length)
        return bytes
    }

    static func reference(_ key: Key, _ part: ModelPart, tree: UInt64) -> DataReference {
        DataReference(
            logical: part.extent,
            length: part.length,
            root: tree,
            inode: key.objectid,
            offset: key.offset
        )
    }

    func sums(_ length: UInt64, _ salt: UInt64) -> [UInt8] {
        let count = Int(length / 4096) * features.checksumType.byteCount
        return (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ Int(salt & 0xff)) }
    }

    /// Records a new extent, in place of what is at `key`.
    func write(_ key: Key, length: UInt64, withSums: Bool = true) throws {
        let logical = try host.claimData(length)
        let part = ModelPart(extent: logical, length: length)
        let sums = sums(length, logical >> 12)
        try remove(key)
        try store.change { transaction throws(FilesystemError) in
            try transaction.recordExtent(Self.reference(key, part, tree: Self.tree))
            try transaction.tree(Self.tree).insert(key, Self.fileExtent(part))
            if withSums { try transaction.setChecksums(logical: logical, sums) }
        }
        parts[key] = part
        guard withSums else { return }
        let sumBytes = features.checksumType.byteCount
        for index in 0..<Int(length / 4096) {
            checksums[logical + UInt64(index) * 4096] =
                Array(sums[index * sumBytes..<(index + 1) * sumBytes])
        }
    }

    /// Refers to the extent at `source` from `key`, too.
    func share(_ source: Key, at key: Key) throws {
        let part = try #require(parts[source])
        guard parts[key] == nil else { return }
        try store.change { transaction throws(FilesystemError) in
            try transaction.addReference(Self.reference(key, part, tree: Self.tree))
            try transaction.tree(Self.tree).insert(key, Self.fileExtent(part))
        }
        parts[key] = part
    }

    func remove(_ key: Key) throws {
        guard let part = parts[key] else { return }
        try store.change { transaction throws(FilesystemError) in
            try transaction.dropReference(Self.reference(key, part, tree: Self.tree))
            try transaction.tree(Self.tree).remove(key)
        }
        parts[key] = nil
        guard !parts.values.contains(where: { $0.extent == part.extent }) else { return }
        for logical in stride(from: part.extent, to: part.extent + part.length, by: 4096) {
            checksums[logical] = nil
        }
    }

    func setItem(_ key: Key, _ data: [UInt8]?) throws {
        let old = items[key]
        try store.change { transaction throws(FilesystemError) in
            let tree = try transaction.tree(Self.tree)
            switch (old, data) {
            case (nil, nil): break
            case (nil, let data?): try tree.insert(key, data)
            case (_?, nil): try tree.remove(key)
            case (_?, let data?): try tree.replace(key, data)
            }
        }
        items[key] = data
    }

    // MARK: checking

    /// Everything on the device agrees with itself and with the model.
    func check(_ disk: Disk? = nil) throws {
        let facts = try FileSystemFacts(disk ?? host.disk)
        facts.check()
        var wanted = items.map { TreeItem(key: $0.key, data: $0.value) }
        wanted += parts.map { TreeItem(key: $0.key, data: Self.fileExtent($0.value)) }
        wanted.sort { $0.key < $1.key }
        #expect(facts.items[Self.tree] == wanted)
        #expect(facts.checksums == checksums)
    }

    /// Commits, and nothing is left claimed that no tree records.
    func commitAndCheck() throws {
        try store.commit()
        try check()
        #expect(host.bytes(.claimed) == 0)
        #expect(try host.bytes(.owned) == FileSystemFacts(host.disk).superBlock.bytesUsed)
    }
}
