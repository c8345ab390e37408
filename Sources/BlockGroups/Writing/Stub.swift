import BGDevices
import BGDiskFormat
package struct ChunkPlan { var chunk: ChunkItem; var extents: [DeviceExtent] }
package struct DeviceSpace {
    init(_ reader: FilesystemReader) throws(FilesystemError) { _ = try readDeviceExtents(reader) }
    mutating func planChunk(_ flags: ChunkFlags) -> ChunkPlan? { nil }
    mutating func release(_ plan: ChunkPlan) {}
    mutating func release(_ item: ChunkItem) {}
    var deviceItems: [DeviceItem] { [] }
    func extents(of: ChunkItem) -> [DeviceExtent] { [] }
}
