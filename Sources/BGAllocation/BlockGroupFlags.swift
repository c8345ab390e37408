//===-- BlockGroupFlags.swift - type and profile of a block group --------------------------------===//
// The values are those on disk (btrfs_block_group_item.flags).

/// Type and profile bits of a block group, as on disk.
public struct BlockGroupFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    public static let data = BlockGroupFlags(rawValue: 1 << 0)
    public static let system = BlockGroupFlags(rawValue: 1 << 1)
    public static let metadata = BlockGroupFlags(rawValue: 1 << 2)
    public static let raid0 = BlockGroupFlags(rawValue: 1 << 3)
    public static let raid1 = BlockGroupFlags(rawValue: 1 << 4)
    public static let dup = BlockGroupFlags(rawValue: 1 << 5)
    public static let raid10 = BlockGroupFlags(rawValue: 1 << 6)
    public static let raid5 = BlockGroupFlags(rawValue: 1 << 7)
    public static let raid6 = BlockGroupFlags(rawValue: 1 << 8)
    public static let raid1c3 = BlockGroupFlags(rawValue: 1 << 9)
    public static let raid1c4 = BlockGroupFlags(rawValue: 1 << 10)
    /// In a claim only: the single profile and nothing else. No such bit is on disk.
    public static let availSingle = BlockGroupFlags(rawValue: 1 << 48)

    package static let types: BlockGroupFlags = [.data, .system, .metadata]
    package static let profiles = BlockGroupFlags(rawValue: 0x7f8)

    /// One type, or data and metadata mixed, with at most one profile.
    package var isValidForGroup: Bool {
        hasValidType && !hasSeveralProfiles && isSubset(of: [.types, .profiles])
    }

    /// The same for a claim, which may also ask for single.
    package var isValidForClaim: Bool {
        let profiles = intersection([.profiles, .availSingle])
        return hasValidType && profiles.rawValue & (profiles.rawValue &- 1) == 0
            && isSubset(of: [.types, .profiles, .availSingle])
    }

    private var hasValidType: Bool {
        let type = intersection(.types)
        return type == .data || type == .system || type == .metadata || type == [.data, .metadata]
    }

    private var hasSeveralProfiles: Bool {
        let profiles = rawValue & BlockGroupFlags.profiles.rawValue
        return profiles & (profiles &- 1) != 0
    }

    /// Calls `emit` with the words of btrfs-progs, such as "DATA", "|", "single".
    package func forEachWord(_ emit: (StaticString) -> Void) {
        var first = true
        func word(_ text: StaticString) {
            if !first { emit("|") }
            emit(text)
            first = false
        }
        if contains(.data) { word("DATA") }
        if contains(.system) { word("SYSTEM") }
        if contains(.metadata) { word("METADATA") }
        if contains(.raid0) { word("RAID0") }
        if contains(.raid1) { word("RAID1") }
        if contains(.dup) { word("DUP") }
        if contains(.raid10) { word("RAID10") }
        if contains(.raid5) { word("RAID5") }
        if contains(.raid6) { word("RAID6") }
        if contains(.raid1c3) { word("RAID1C3") }
        if contains(.raid1c4) { word("RAID1C4") }
        if rawValue & BlockGroupFlags.profiles.rawValue == 0 { word("single") }
    }

    /// The words of btrfs-progs, such as "DATA|single".
    public var words: String {
        var text = ""
        forEachWord { text += $0.description }
        return text
    }
}
