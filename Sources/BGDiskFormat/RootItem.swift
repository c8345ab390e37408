//===-- RootItem.swift - where a tree begins --------------------------------------------------===//
// An item of the root tree.

/// ROOT_ITEM: where a tree begins.
package struct RootItem: Equatable, Sendable {
    package static let byteCount = 439
    /// Items of file systems from before the second generation field.
    package static let legacyByteCount = 239

    package var objectid: UInt64
    package var generation: UInt64
    /// Logical address of the root block.
    package var logical: UInt64
    package var bytesUsed: UInt64
    package var flags: UInt64
    package var refs: UInt32
    package var level: UInt8

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
        objectid = key.objectid
        generation = bytes.u64(at: 160)
        logical = bytes.u64(at: 176)
        bytesUsed = bytes.u64(at: 192)
        flags = bytes.u64(at: 208)
        refs = bytes.u32(at: 216)
        level = bytes.u8(at: 238)
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
}
