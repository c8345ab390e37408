//===-- Key.swift - keys, key types and well-known object ids ---------------------------------===//
// A key orders the items of every tree: object id, then type, then offset, each unsigned.

/// The kind of an item. Any byte is a value; the names are those this library reads or writes.
package struct KeyType: Equatable, Comparable, Hashable, Sendable {
    package var rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static func < (a: KeyType, b: KeyType) -> Bool { a.rawValue < b.rawValue }

    package static let inodeItem = KeyType(rawValue: 1)
    package static let inodeRef = KeyType(rawValue: 12)
    package static let inodeExtendedRef = KeyType(rawValue: 13)
    package static let extendedAttribute = KeyType(rawValue: 24)
    package static let orphanItem = KeyType(rawValue: 48)
    package static let dirItem = KeyType(rawValue: 84)
    package static let dirIndex = KeyType(rawValue: 96)
    package static let extentData = KeyType(rawValue: 108)
    package static let extentChecksum = KeyType(rawValue: 128)
    package static let rootItem = KeyType(rawValue: 132)
    package static let rootBackref = KeyType(rawValue: 144)
    package static let rootRef = KeyType(rawValue: 156)
    package static let extentItem = KeyType(rawValue: 168)
    package static let metadataItem = KeyType(rawValue: 169)
    package static let extentOwnerRef = KeyType(rawValue: 172)
    package static let treeBlockRef = KeyType(rawValue: 176)
    package static let extentDataRef = KeyType(rawValue: 178)
    package static let sharedBlockRef = KeyType(rawValue: 182)
    package static let sharedDataRef = KeyType(rawValue: 184)
    package static let blockGroupItem = KeyType(rawValue: 192)
    package static let freeSpaceInfo = KeyType(rawValue: 198)
    package static let freeSpaceExtent = KeyType(rawValue: 199)
    package static let freeSpaceBitmap = KeyType(rawValue: 200)
    package static let deviceExtent = KeyType(rawValue: 204)
    package static let deviceItem = KeyType(rawValue: 216)
    package static let chunkItem = KeyType(rawValue: 228)
    package static let temporaryItem = KeyType(rawValue: 248)
    package static let persistentItem = KeyType(rawValue: 249)
    package static let uuidSubvolume = KeyType(rawValue: 251)
}

/// Object ids that the format gives a meaning: the trees, and a few items.
package enum ObjectID {
    package static let rootTree: UInt64 = 1
    package static let extentTree: UInt64 = 2
    package static let chunkTree: UInt64 = 3
    package static let deviceTree: UInt64 = 4
    package static let filesystemTree: UInt64 = 5
    package static let rootTreeDirectory: UInt64 = 6
    package static let checksumTree: UInt64 = 7
    package static let quotaTree: UInt64 = 8
    package static let uuidTree: UInt64 = 9
    package static let freeSpaceTree: UInt64 = 10
    package static let blockGroupTree: UInt64 = 11
    package static let raidStripeTree: UInt64 = 12
    package static let treeLog = UInt64(bitPattern: -6)
    /// Object id of every ORPHAN_ITEM of a tree.
    package static let orphans = UInt64(bitPattern: -5)
    package static let dataRelocationTree = UInt64(bitPattern: -9)

    /// Object id of every EXTENT_CSUM in the checksum tree.
    package static let extentChecksum = UInt64(bitPattern: -10)
    /// Object id of every DEV_ITEM in the chunk tree.
    package static let deviceItems: UInt64 = 1
    /// Object id of every CHUNK_ITEM in the chunk tree.
    package static let firstChunk: UInt64 = 256
    package static let firstFree: UInt64 = 256
    package static let lastFree = UInt64(bitPattern: -256)
}

/// Where an item sorts in its tree.
package struct Key: Equatable, Comparable, Hashable, Sendable {
    /// Bytes of a key on disk.
    package static let byteCount = 17

    package var objectid: UInt64
    package var type: KeyType
    package var offset: UInt64

    package init(_ objectid: UInt64, _ type: KeyType, _ offset: UInt64) {
        self.objectid = objectid
        self.type = type
        self.offset = offset
    }

    /// The lowest key there is.
    package static let min = Key(0, KeyType(rawValue: 0), 0)
    /// The highest key there is.
    package static let max = Key(UInt64.max, KeyType(rawValue: 255), UInt64.max)

    /// The next key in order, or nil after the highest.
    package var next: Key? {
        if offset < UInt64.max { return Key(objectid, type, offset + 1) }
        if type.rawValue < 255 { return Key(objectid, KeyType(rawValue: type.rawValue + 1), 0) }
        if objectid < UInt64.max { return Key(objectid + 1, KeyType(rawValue: 0), 0) }
        return nil
    }

    @inline(__always)
    package static func < (a: Key, b: Key) -> Bool {
        if a.objectid != b.objectid { return a.objectid < b.objectid }
        if a.type != b.type { return a.type < b.type }
        return a.offset < b.offset
    }
}

/// A 16-byte UUID: of a file system, a device or a tree.
public struct FilesystemUUID: Equatable, Hashable, Sendable {
    /// Bytes 0 to 7, the first one most significant.
    public var high: UInt64
    /// Bytes 8 to 15, likewise.
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public static let zero = FilesystemUUID(high: 0, low: 0)

    /// Reads the usual 36 characters, in either case; nil where `text` is something else.
    public init?(_ text: String) {
        var digits: [UInt64] = []
        var position = 0
        for byte in text.utf8 {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard byte == 0x2d else { return nil }
            } else {
                switch byte {
                case 0x30...0x39: digits.append(UInt64(byte - 0x30))
                case 0x41...0x46: digits.append(UInt64(byte - 0x37))
                case 0x61...0x66: digits.append(UInt64(byte - 0x57))
                default: return nil
                }
            }
            position += 1
        }
        guard position == 36 else { return nil }
        high = 0
        low = 0
        for index in 0..<16 { high = high << 4 | digits[index] }
        for index in 16..<32 { low = low << 4 | digits[index] }
    }

    /// The usual 36 characters in lower case.
    public var text: String {
        var bytes: [UInt8] = []
        bytes.appendHex(high >> 32, width: 8)
        bytes.append(0x2d)
        bytes.appendHex(high >> 16 & 0xffff, width: 4)
        bytes.append(0x2d)
        bytes.appendHex(high & 0xffff, width: 4)
        bytes.append(0x2d)
        bytes.appendHex(low >> 48, width: 4)
        bytes.append(0x2d)
        bytes.appendHex(low & 0xffff_ffff_ffff, width: 12)
        return String(decoding: bytes, as: UTF8.self)
    }
}
