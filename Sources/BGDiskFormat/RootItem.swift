//===-- RootItem.swift - where a tree begins --------------------------------------------------===//
// An item of the root tree.

/// ROOT_ITEM: where a tree begins. Holds every byte of the item; what the item of an old file system
/// lacks is zero.
package struct RootItem: Equatable, Sendable {
    package static let byteCount = 439
    /// Items of file systems from before the second generation field.
    package static let legacyByteCount = 239
    /// Bytes of the inode item that every root item begins with.
    package static let inodeByteCount = 160
    private static let reservedByteCount = 64

    /// A moment: seconds since 1970, and nanoseconds.
    package struct Time: Equatable, Sendable {
        package static let zero = Time(seconds: 0, nanoseconds: 0)

        package var seconds: UInt64
        package var nanoseconds: UInt32

        package init(seconds: UInt64, nanoseconds: UInt32) {
            self.seconds = seconds
            self.nanoseconds = nanoseconds
        }
    }

    package var objectid: UInt64
    /// An inode item as bytes; of a subvolume tree, what `stat` showed before there was one inside.
    package var inode: [UInt8]
    package var generation: UInt64
    /// Object id of the tree's root directory; 0 where it holds no files.
    package var rootDirectory: UInt64
    /// Logical address of the root block.
    package var logical: UInt64
    package var byteLimit: UInt64
    /// Bytes of the tree's blocks, shared ones included.
    package var bytesUsed: UInt64
    /// Generation of the last snapshot that was made of this tree: blocks up to it may be shared.
    package var lastSnapshot: UInt64
    package var flags: UInt64
    package var refs: UInt32
    /// How far the removal of the tree has come.
    package var dropProgress: Key
    package var dropLevel: UInt8
    package var level: UInt8
    package var uuid: FilesystemUUID
    package var parentUUID: FilesystemUUID
    package var receivedUUID: FilesystemUUID
    /// Generations of the last change, the creation, and of sending and receiving.
    package var changeGeneration: UInt64
    package var creationGeneration: UInt64
    package var sendGeneration: UInt64
    package var receiveGeneration: UInt64
    package var changeTime: Time
    package var creationTime: Time
    package var sendTime: Time
    package var receiveTime: Time
    private var reserved: [UInt8]

    /// The item of a tree that is being made; the commit fills in where it begins.
    package init(creating objectid: UInt64, generation: UInt64, nodeSize: UInt32) {
        self.objectid = objectid
        inode = Self.emptyInode(nodeSize: nodeSize)
        self.generation = generation
        rootDirectory = 0
        logical = 0
        byteLimit = 0
        bytesUsed = 0
        lastSnapshot = 0
        flags = 0
        refs = 1
        dropProgress = .min
        dropLevel = 0
        level = 0
        uuid = .zero
        parentUUID = .zero
        receivedUUID = .zero
        changeGeneration = 0
        creationGeneration = 0
        sendGeneration = 0
        receiveGeneration = 0
        changeTime = .zero
        creationTime = .zero
        sendTime = .zero
        receiveTime = .zero
        reserved = [UInt8](repeating: 0, count: Self.reservedByteCount)
    }

    /// What every root item carries: a directory of mode 755 in generation 1 with one link.
    private static func emptyInode(nodeSize: UInt32) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(inodeByteCount)
        bytes.append(littleEndian: UInt64(1))
        bytes.append(zeros: 8)
        bytes.append(littleEndian: UInt64(3))
        bytes.append(littleEndian: UInt64(nodeSize))
        bytes.append(zeros: 8)
        bytes.append(littleEndian: UInt32(1))
        bytes.append(zeros: 8)
        bytes.append(littleEndian: UInt32(0o40755))
        bytes.append(zeros: inodeByteCount - bytes.count)
        return bytes
    }

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        guard
            bytes.byteCount == RootItem.byteCount
                || bytes.byteCount == RootItem.legacyByteCount
        else {
            throw FilesystemError(
                .corrupt,
                "root item",
                "item of % bytes, expected 439 or 239",
                UInt64(bytes.byteCount)
            )
        }
        self.init(creating: key.objectid, generation: bytes.u64(at: 160), nodeSize: limits.nodeSize)
        inode = bytes.array(0..<Self.inodeByteCount)
        rootDirectory = bytes.u64(at: 168)
        logical = bytes.u64(at: 176)
        byteLimit = bytes.u64(at: 184)
        bytesUsed = bytes.u64(at: 192)
        lastSnapshot = bytes.u64(at: 200)
        flags = bytes.u64(at: 208)
        refs = bytes.u32(at: 216)
        dropProgress = bytes.key(at: 220)
        dropLevel = bytes.u8(at: 237)
        level = bytes.u8(at: 238)
        // A writer that does not know the rest leaves it stale, and this generation behind.
        if bytes.byteCount == RootItem.byteCount, bytes.u64(at: 239) == generation {
            readSecondPart(bytes)
        }
        try check(key, limits)
    }

    private mutating func readSecondPart(_ bytes: RawSpan) {
        func time(_ offset: Int) -> Time {
            Time(seconds: bytes.u64(at: offset), nanoseconds: bytes.u32(at: offset + 8))
        }
        uuid = bytes.uuid(at: 247)
        parentUUID = bytes.uuid(at: 263)
        receivedUUID = bytes.uuid(at: 279)
        changeGeneration = bytes.u64(at: 295)
        creationGeneration = bytes.u64(at: 303)
        sendGeneration = bytes.u64(at: 311)
        receiveGeneration = bytes.u64(at: 319)
        changeTime = time(327)
        creationTime = time(339)
        sendTime = time(351)
        receiveTime = time(363)
        reserved = bytes.array(375..<Self.byteCount)
    }

    private func check(_ key: Key, _ limits: FormatLimits) throws(FilesystemError) {
        guard key.type == .rootItem, key.objectid != 0 else {
            throw FilesystemError(
                .corrupt,
                "root item",
                "object id %, key type %",
                key.objectid,
                UInt64(key.type.rawValue)
            )
        }
        guard logical.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(
                .corrupt,
                "root item",
                "address % not sector aligned",
                logical
            )
        }
        guard level <= SuperBlock.levelMax else {
            throw FilesystemError(.corrupt, "root item", "level %", UInt64(level))
        }
        guard generation <= limits.generation + 1 else {
            throw FilesystemError(
                .corrupt,
                "root item",
                "generation % above the super block's %",
                generation,
                limits.generation
            )
        }
    }

    /// The item's bytes, always in the newer, longer form.
    package var encoded: [UInt8] {
        var bytes = inode
        bytes.reserveCapacity(Self.byteCount)
        bytes.append(littleEndian: generation)
        bytes.append(littleEndian: rootDirectory)
        bytes.append(littleEndian: logical)
        bytes.append(littleEndian: byteLimit)
        bytes.append(littleEndian: bytesUsed)
        bytes.append(littleEndian: lastSnapshot)
        bytes.append(littleEndian: flags)
        bytes.append(littleEndian: refs)
        bytes.append(dropProgress)
        bytes.append(dropLevel)
        bytes.append(level)
        bytes.append(littleEndian: generation)
        bytes.append(uuid)
        bytes.append(parentUUID)
        bytes.append(receivedUUID)
        bytes.append(littleEndian: changeGeneration)
        bytes.append(littleEndian: creationGeneration)
        bytes.append(littleEndian: sendGeneration)
        bytes.append(littleEndian: receiveGeneration)
        for time in [changeTime, creationTime, sendTime, receiveTime] {
            bytes.append(littleEndian: time.seconds)
            bytes.append(littleEndian: time.nanoseconds)
        }
        bytes += reserved
        return bytes
    }
}
