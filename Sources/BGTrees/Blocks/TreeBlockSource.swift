//===-- TreeBlockSource.swift - where tree blocks come from -------------------------------------===//
// Trees live in logical addresses; what turns those into bytes of a device sits above this module
// and conforms to TreeBlockSource. That keeps imports pointing down: BlockGroups knows trees and
// devices, trees know only this protocol.
//
// Threads: a source may be asked from several threads at once; it locks for itself.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

/// What every block of one file system has in common, taken from its super block.
package struct TreeGeometry: Sendable {
    /// Sector and node size, features, and the last committed generation.
    package let limits: FormatLimits
    package let checksumType: ChecksumType
    /// The UUID that block headers carry.
    package let metadataUUID: FilesystemUUID
    /// Upper bound of the blocks that all trees together may have; a walk that meets more is
    /// going in circles.
    package let blocksMax: Int

    package init(
        limits: FormatLimits,
        checksumType: ChecksumType,
        metadataUUID: FilesystemUUID,
        blocksMax: Int
    ) {
        self.limits = limits
        self.checksumType = checksumType
        self.metadataUUID = metadataUUID
        self.blocksMax = blocksMax
    }

    package init(_ superBlock: SuperBlock) {
        self.init(
            limits: superBlock.limits,
            checksumType: superBlock.checksumType,
            metadataUUID: superBlock.metadataUUID,
            // A few more than fit, in case the count is a commit behind.
            blocksMax: Int(
                clamping: superBlock.bytesUsed / UInt64(superBlock.nodeSize) + 64
            )
        )
    }

    package var nodeSize: Int { Int(limits.nodeSize) }
}

/// Reads the raw bytes of tree blocks; checking them is the reader's work.
package protocol TreeBlockSource: AnyObject {
    var geometry: TreeGeometry { get }

    /// How many ways there are to read the node-sized block at `logical`, at least 1.
    ///
    /// - Throws: `.corrupt` when no chunk holds the whole block.
    func mirrorCount(logical: UInt64) throws(FilesystemError) -> Int

    /// Fills `bytes`, which is one node long, from mirror `mirror` (from 0).
    func readBlock(
        logical: UInt64,
        mirror: Int,
        into bytes: inout [UInt8]
    ) throws(FilesystemError)

    /// Called when a block was good on a mirror after another had failed: for the statistics.
    func noteCorrectedBlock(logical: UInt64, badMirrors: Int)
}
