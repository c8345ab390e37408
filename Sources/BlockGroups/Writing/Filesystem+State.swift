//===-- Filesystem+State.swift - what a file system is, for the layers beside ----------------------===//
// The few facts that reading and writing files need.
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

extension Filesystem {
    /// Whether it was opened for writing. It may have turned read-only since.
    public var isWritable: Bool { preconditionFailure("not built yet") }
    /// The last commit's super block.
    package var superBlock: SuperBlock { reader.superBlock }
    /// Smallest unit of space, bytes.
    public var sectorSize: UInt64 { UInt64(reader.superBlock.sectorSize) }
}
