//===-- ExtentItem.swift - allocated ranges and their back references -------------------------===//
// Items of the extent tree, skinny or fat. A value that exists has a range that does not overflow
// and inline references that were walked to their end.

/// One back reference inside an extent item.
package enum InlineRef: Equatable, Sendable {
    /// A tree block of the tree `root`.
    case treeBlock(root: UInt64)
    /// A tree block below the block at `parent`.
    case sharedBlock(parent: UInt64)
    /// File data of `count` file extents.
    case data(root: UInt64, inode: UInt64, offset: UInt64, count: UInt32)
    /// File data of `count` file extents in the leaf at `parent`.
    case sharedData(parent: UInt64, count: UInt32)
    /// The subvolume that simple quotas charge; not a reference.
    case owner(root: UInt64)

    /// References that it stands for.
    package var refCount: UInt64 {
        switch self {
        case .treeBlock, .sharedBlock: 1
        case .data(_, _, _, let count), .sharedData(_, let count): UInt64(count)
        case .owner: 0
        }
    }
}

/// EXTENT_ITEM or METADATA_ITEM: an allocated range, and who uses it.
package struct ExtentItem: Equatable, Sendable {
    package static let fixedByteCount = 24
    package static let flagData: UInt64 = 1
    package static let flagTreeBlock: UInt64 = 2
    package static let flagFullBackref: UInt64 = 0x100

    package var logical: UInt64
    /// Bytes; of a skinny item, the node size.
    package var length: UInt64
    package var refs: UInt64
    package var generation: UInt64
    package var flags: UInt64
    /// Level of a tree block, nil for data.
    package var level: UInt8?
    /// Whether the key is a METADATA_ITEM.
    package var isSkinny: Bool
    /// Where in the item the back references begin, bytes.
    package var inlineRefsStart: Int

    /// First logical address behind the extent.
    package var end: UInt64 { logical + length }

    package init(key: Key, _ bytes: RawSpan, _ limits: FormatLimits) throws(FilesystemError) {
        try bytes.require(ExtentItem.fixedByteCount, "extent")
        logical = key.objectid
        isSkinny = key.type == .metadataItem
        length = isSkinny ? UInt64(limits.nodeSize) : key.offset
        refs = bytes.u64(at: 0)
        generation = bytes.u64(at: 8)
        flags = bytes.u64(at: 16)
        level = nil
        inlineRefsStart = ExtentItem.fixedByteCount
        try checkRange(key, limits)
        let kind = flags & (ExtentItem.flagData | ExtentItem.flagTreeBlock)
        guard kind == ExtentItem.flagData || kind == ExtentItem.flagTreeBlock else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "flags % are neither data nor tree block",
                flags
            )
        }
        if kind == ExtentItem.flagTreeBlock {
            try readTreeBlock(key, bytes, limits)
        } else {
            guard !isSkinny else {
                throw FilesystemError(.corrupt, "extent", "metadata item with flags %", flags)
            }
            guard flags & ExtentItem.flagFullBackref == 0 else {
                throw FilesystemError(.corrupt, "extent", "data with flags %", flags)
            }
        }
        try checkInlineRefs(bytes, limits)
    }

    private func checkRange(_ key: Key, _ limits: FormatLimits) throws(FilesystemError) {
        guard key.type == .extentItem || key.type == .metadataItem else {
            throw FilesystemError(.corrupt, "extent", "key type %", UInt64(key.type.rawValue))
        }
        guard !isSkinny || limits.incompat.contains(.skinnyMetadata) else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "metadata item without the skinny-metadata flag"
            )
        }
        guard logical.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "extent", "address % not sector aligned", logical)
        }
        guard length > 0, length.isAligned(to: limits.sectorSize) else {
            throw FilesystemError(.corrupt, "extent", "length % not sector aligned", length)
        }
        guard logical.end(adding: length) != nil else {
            throw FilesystemError(.corrupt, "extent", "length % passes the last address", length)
        }
        guard generation <= limits.generation + 1 else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "generation % above the super block's %",
                generation,
                limits.generation
            )
        }
        guard refs > 0 else {
            throw FilesystemError(.corrupt, "extent", "no references")
        }
    }

    private mutating func readTreeBlock(
        _ key: Key,
        _ bytes: RawSpan,
        _ limits: FormatLimits
    ) throws(FilesystemError) {
        let found: UInt64
        if isSkinny {
            found = key.offset
        } else {
            guard length == UInt64(limits.nodeSize) else {
                throw FilesystemError(
                    .corrupt,
                    "extent",
                    "tree block of % bytes, node size %",
                    length,
                    UInt64(limits.nodeSize)
                )
            }
            // First key and level of the block.
            let infoBytes = Key.byteCount + 1
            try bytes.require(inlineRefsStart + infoBytes, "extent")
            found = UInt64(bytes.u8(at: inlineRefsStart + Key.byteCount))
            inlineRefsStart += infoBytes
        }
        guard found <= UInt64(SuperBlock.levelMax) else {
            throw FilesystemError(.corrupt, "extent", "level %", found)
        }
        level = UInt8(found)
    }

    private func checkInlineRefs(
        _ bytes: RawSpan,
        _ limits: FormatLimits
    ) throws(FilesystemError) {
        var offset = inlineRefsStart
        var inlineRefs: UInt64 = 0
        // Ends: every reference takes at least 9 bytes of the item.
        while let ref = try nextInlineRef(bytes, &offset) {
            switch ref {
            case .treeBlock, .sharedBlock:
                guard level != nil else {
                    throw FilesystemError(.corrupt, "extent", "tree block reference to data")
                }
            case .data(_, _, let fileOffset, let count):
                guard level == nil, fileOffset.isAligned(to: limits.sectorSize), count > 0
                else {
                    throw FilesystemError(
                        .corrupt,
                        "extent",
                        "data reference with offset %, count %",
                        fileOffset,
                        UInt64(count)
                    )
                }
            case .sharedData(_, let count):
                guard level == nil, count > 0 else {
                    throw FilesystemError(
                        .corrupt,
                        "extent",
                        "shared data reference with count %",
                        UInt64(count)
                    )
                }
            case .owner: break
            }
            switch ref {
            case .sharedBlock(let parent), .sharedData(let parent, _):
                guard parent.isAligned(to: limits.sectorSize) else {
                    throw FilesystemError(
                        .corrupt,
                        "extent",
                        "reference from %, not sector aligned",
                        parent
                    )
                }
            default: break
            }
            inlineRefs += ref.refCount
        }
        guard inlineRefs <= refs else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "% references inline of %",
                inlineRefs,
                refs
            )
        }
    }

    /// The back reference at `offset` of the item, which then moves behind it; nil at the end.
    ///
    /// Start with `inlineRefsStart`.
    package func nextInlineRef(
        _ bytes: RawSpan,
        _ offset: inout Int
    ) throws(FilesystemError) -> InlineRef? {
        guard offset < bytes.byteCount else { return nil }
        let type = KeyType(rawValue: bytes.u8(at: offset))
        let size =
            switch type {
            case .treeBlockRef, .sharedBlockRef, .extentOwnerRef: 9
            case .sharedDataRef: 13
            case .extentDataRef: 29
            default: 0
            }
        guard size > 0 else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "inline reference of type %",
                UInt64(type.rawValue)
            )
        }
        guard size <= bytes.byteCount - offset else {
            throw FilesystemError(
                .corrupt,
                "extent",
                "inline reference at byte % cut off",
                UInt64(offset)
            )
        }
        let at = offset + 1
        offset += size
        switch type {
        case .treeBlockRef: return .treeBlock(root: bytes.u64(at: at))
        case .sharedBlockRef: return .sharedBlock(parent: bytes.u64(at: at))
        case .extentOwnerRef: return .owner(root: bytes.u64(at: at))
        case .sharedDataRef:
            return .sharedData(parent: bytes.u64(at: at), count: bytes.u32(at: at + 8))
        default:
            return .data(
                root: bytes.u64(at: at),
                inode: bytes.u64(at: at + 8),
                offset: bytes.u64(at: at + 16),
                count: bytes.u32(at: at + 24)
            )
        }
    }
}
