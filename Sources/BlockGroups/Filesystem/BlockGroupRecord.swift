//===-- BlockGroupRecord.swift - one block group as the file system records it ------------------===//
// What is known of a group before its free space is: its place, type, and how much of it is used.

package import BGDiskFormat

/// A range of logical addresses.
package struct LogicalRange: Sendable, Equatable {
    package let logical: UInt64
    package let length: UInt64

    package init(logical: UInt64, length: UInt64) {
        self.logical = logical
        self.length = length
    }

    /// Exclusive.
    package var end: UInt64 { logical + length }
}

package struct BlockGroupRecord: Sendable {
    package let logical: UInt64
    package let length: UInt64
    package let flags: BlockGroupFlags
    /// Bytes of the group that extents hold, from the group's item.
    package let used: UInt64
    /// Where copies of the super block lie: free on disk, never to be allocated. Sorted, disjoint,
    /// inside the group.
    package let superBlockCopies: [LogicalRange]

    /// Exclusive.
    package var end: UInt64 { logical + length }
}
