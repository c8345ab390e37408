//===-- BlockGroupRecord.swift - one block group as the file system records it ------------------===//
// What is known of a group before its free space is: its place, type, and how much of it is used.

package import BGDevices
package import BGDiskFormat

package struct BlockGroupRecord: Sendable, Equatable {
    /// First byte.
    package let logical: UInt64
    /// Bytes.
    package let length: UInt64
    /// Type and profile, the same as its chunk's.
    package let flags: ChunkFlags
    /// Bytes of the group that extents hold, from the group's item.
    package let used: UInt64
    /// Where copies of the super block lie: free on disk, never to be allocated. Sorted, disjoint,
    /// inside the group.
    package let superBlockCopies: [LogicalRange]

    /// First address behind the group.
    package var end: UInt64 { logical + length }
}
