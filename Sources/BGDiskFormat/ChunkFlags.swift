//===-- ChunkFlags.swift - what a block group holds and how it lies on devices -----------===//
// Types and profiles as bits, as chunk and block group items store them, and what each profile
// means for the number of stripes.

/// The type and profile bits of a chunk or block group.
public struct ChunkFlags: Equatable, Hashable, Sendable {
    public var rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }

    public static let data = ChunkFlags(rawValue: 1 << 0)
    public static let system = ChunkFlags(rawValue: 1 << 1)
    public static let metadata = ChunkFlags(rawValue: 1 << 2)
    public static let raid0 = ChunkFlags(rawValue: 1 << 3)
    public static let raid1 = ChunkFlags(rawValue: 1 << 4)
    public static let dup = ChunkFlags(rawValue: 1 << 5)
    public static let raid10 = ChunkFlags(rawValue: 1 << 6)
    public static let raid5 = ChunkFlags(rawValue: 1 << 7)
    public static let raid6 = ChunkFlags(rawValue: 1 << 8)
    public static let raid1c3 = ChunkFlags(rawValue: 1 << 9)
    public static let raid1c4 = ChunkFlags(rawValue: 1 << 10)

    public static let typeMask = ChunkFlags(rawValue: 0x7)
    public static let profileMask = ChunkFlags(rawValue: 0x7f8)

    public static func | (a: ChunkFlags, b: ChunkFlags) -> ChunkFlags {
        ChunkFlags(rawValue: a.rawValue | b.rawValue)
    }

    /// Whether every bit of `other` is set here.
    public func contains(_ other: ChunkFlags) -> Bool {
        rawValue & other.rawValue == other.rawValue
    }

    /// Only the type bits.
    public var type: ChunkFlags {
        ChunkFlags(rawValue: rawValue & ChunkFlags.typeMask.rawValue)
    }

    /// Data and metadata in one group.
    public var isMixed: Bool { contains(.data | .metadata) }

    /// The profile, or nil where more than one profile bit is set.
    public var profile: Profile? {
        switch rawValue & ChunkFlags.profileMask.rawValue {
        case 0: .single
        case ChunkFlags.raid0.rawValue: .raid0
        case ChunkFlags.raid1.rawValue: .raid1
        case ChunkFlags.dup.rawValue: .dup
        case ChunkFlags.raid10.rawValue: .raid10
        case ChunkFlags.raid5.rawValue: .raid5
        case ChunkFlags.raid6.rawValue: .raid6
        case ChunkFlags.raid1c3.rawValue: .raid1c3
        case ChunkFlags.raid1c4.rawValue: .raid1c4
        default: nil
        }
    }

    /// The words of btrfs-progs, such as `DATA|single` or `METADATA|DUP`.
    public var words: String {
        var text: [UInt8] = []
        appendWords(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends ``words``; bits that have no word are appended in hexadecimal.
    public func appendWords(to text: inout [UInt8]) {
        let start = text.count
        func add(_ bit: ChunkFlags, _ word: StaticString) {
            guard contains(bit) else { return }
            if text.count > start { text.append(0x7c) }
            text.append(word)
        }
        add(.data, "DATA")
        add(.system, "SYSTEM")
        add(.metadata, "METADATA")
        if rawValue & ChunkFlags.profileMask.rawValue == 0 {
            if text.count > start { text.append(0x7c) }
            text.append("single")
        }
        add(.raid0, "RAID0")
        add(.raid1, "RAID1")
        add(.dup, "DUP")
        add(.raid10, "RAID10")
        add(.raid5, "RAID5")
        add(.raid6, "RAID6")
        add(.raid1c3, "RAID1C3")
        add(.raid1c4, "RAID1C4")
        let known = ChunkFlags.typeMask.rawValue | ChunkFlags.profileMask.rawValue
        if rawValue & ~known != 0 {
            text.append("|0x")
            text.appendHex(rawValue & ~known)
        }
    }

    /// Throws `.corrupt` unless these are one type (or data and metadata) and at most one profile.
    package func check(_ subject: StaticString) throws(FilesystemError) {
        let known = ChunkFlags.typeMask.rawValue | ChunkFlags.profileMask.rawValue
        guard rawValue & ~known == 0 else {
            throw FilesystemError(.corrupt, subject, "unknown type bits in %", rawValue)
        }
        guard profile != nil else {
            throw FilesystemError(.corrupt, subject, "more than one profile in type %", rawValue)
        }
        let type = self.type
        guard
            type == .data || type == .metadata || type == .system || type == .data | .metadata
        else {
            throw FilesystemError(.corrupt, subject, "type % is not one kind", rawValue)
        }
    }
}

/// How the bytes of a chunk lie on its stripes.
public enum Profile: UInt8, Sendable, CaseIterable {
    case single, dup, raid0, raid1, raid1c3, raid1c4, raid10, raid5, raid6

    /// The profile's bit on disk; none for single.
    public var flags: ChunkFlags {
        switch self {
        case .single: ChunkFlags(rawValue: 0)
        case .dup: .dup
        case .raid0: .raid0
        case .raid1: .raid1
        case .raid1c3: .raid1c3
        case .raid1c4: .raid1c4
        case .raid10: .raid10
        case .raid5: .raid5
        case .raid6: .raid6
        }
    }

    /// Whole copies of each byte.
    public var copies: Int {
        switch self {
        case .single, .raid0, .raid5, .raid6: 1
        case .dup, .raid1, .raid10: 2
        case .raid1c3: 3
        case .raid1c4: 4
        }
    }

    /// Parity stripes in each row.
    public var parityStripes: Int {
        switch self {
        case .raid5: 1
        case .raid6: 2
        default: 0
        }
    }

    /// Whether neighbouring stripe-length pieces lie on different stripes.
    public var isStriped: Bool {
        switch self {
        case .raid0, .raid10, .raid5, .raid6: true
        default: false
        }
    }

    /// Whether a chunk of this profile may have `count` stripes.
    public func allows(stripeCount count: Int) -> Bool {
        switch self {
        case .single: count == 1
        case .dup, .raid1: count == 2
        case .raid1c3: count == 3
        case .raid1c4: count == 4
        case .raid0: count >= 1
        case .raid10: count >= 2 && count % 2 == 0
        case .raid5: count >= 2
        // Each data stripe needs its own non-zero power of two in GF(256).
        case .raid6: count >= 3 && count <= 257
        }
    }

    /// Stripes that hold distinct data, out of `count` stripes.
    public func dataStripes(of count: Int) -> Int {
        switch self {
        case .raid0: count
        case .raid10: count / 2
        case .raid5, .raid6: count - parityStripes
        default: 1
        }
    }
}
