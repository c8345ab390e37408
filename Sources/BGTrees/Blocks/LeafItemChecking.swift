//===-- LeafItemChecking.swift - does each item of a leaf hold sound fields ---------------------===//
// One switch over the key types that this library uses; the parsers of BGDiskFormat do the work.
// Items of other types are left alone: nobody here reads them.
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat

extension TreeBlock {
    /// Checks the fields of every item of a leaf whose item bounds are in order.
    func checkItems(
        _ geometry: TreeGeometry,
        _ expected: BlockExpectation
    ) throws(FilesystemError) {
        for slot in 0..<itemCount {
            do throws(FilesystemError) {
                try withItem(slot) { (data) throws(FilesystemError) in
                    try Self.checkItem(key(slot), data, geometry.limits)
                }
            } catch {
                throw error.located(root: expected.treeID, logical: logical, slot: slot)
            }
        }
    }

    private static func checkItem(
        _ key: Key,
        _ data: RawSpan,
        _ limits: FormatLimits
    ) throws(FilesystemError) {
        switch key.type {
        case .rootItem:
            _ = try RootItem(key: key, data, limits)
        case .extentItem, .metadataItem:
            _ = try ExtentItem(key: key, data, limits)
        case .blockGroupItem:
            _ = try BlockGroupItem(key: key, data, limits)
        case .freeSpaceInfo:
            _ = try FreeSpaceInfo(key: key, data, limits)
        case .freeSpaceExtent:
            _ = try FreeSpaceExtent(key: key, data, limits)
        case .freeSpaceBitmap:
            _ = try FreeSpaceBitmap(key: key, data, limits)
        case .deviceExtent:
            _ = try DeviceExtent(key: key, data, limits)
        case .deviceItem:
            _ = try DeviceItem(key: key, data)
        case .chunkItem:
            _ = try ChunkItem(key: key, data, limits)
        default:
            break
        }
    }
}
