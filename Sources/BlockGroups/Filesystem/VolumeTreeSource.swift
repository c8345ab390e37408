//===-- VolumeTreeSource.swift - tree blocks from the devices of a file system ------------------===//
// Implements what BGTrees asks for (TreeBlockSource) on a Volume.
//
// Threads: any number at once, once the volume's chunks are complete.
//===-------------------------------------------------------------------------------------------===//

package import BGDevices
package import BGDiskFormat
package import BGTrees
internal import Synchronization

package final class VolumeTreeSource: TreeBlockSource {
    package let volume: Volume
    /// The commit whose trees are read.
    package let superBlock: SuperBlock
    package let geometry: TreeGeometry
    private let correctedCount = Atomic<UInt64>(0)

    package convenience init(_ volume: Volume) {
        self.init(volume, volume.superBlock)
    }

    package init(_ volume: Volume, _ superBlock: SuperBlock) {
        self.volume = volume
        self.superBlock = superBlock
        geometry = TreeGeometry(superBlock)
    }

    /// Tree blocks of which one copy was bad and another good, counted at each read.
    package var correctedBlocks: UInt64 { correctedCount.load(ordering: .relaxed) }

    package func mirrorCount(logical: UInt64) throws(FilesystemError) -> Int {
        let length = UInt64(geometry.limits.nodeSize)
        guard let chunk = volume.chunk(at: logical), length <= chunk.item.end - logical
        else {
            throw FilesystemError(
                .corrupt,
                "tree block",
                "no chunk holds it",
                logical: logical
            )
        }
        return chunk.mirrorCount
    }

    package func readBlock(
        logical: UInt64,
        mirror: Int,
        into bytes: inout [UInt8]
    ) throws(FilesystemError) {
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        // The volume counts mirrors from 1.
        try volume.read(logical: logical, into: &raw, mirror: mirror + 1)
    }

    package func noteCorrectedBlock(logical: UInt64, badMirrors: Int) {
        correctedCount.wrappingAdd(1, ordering: .relaxed)
    }
}
