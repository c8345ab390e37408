//===-- FormatLimits.swift - what an item is checked against ----------------------------------===//
// The few facts of a super block that every other structure depends on.

/// The sizes and flags of a file system that the items are checked against.
package struct FormatLimits: Equatable, Sendable {
    /// Bytes.
    package var sectorSize: UInt32
    /// Bytes.
    package var nodeSize: UInt32
    /// Last committed generation.
    package var generation: UInt64
    package var incompat: IncompatFlags

    package init(
        sectorSize: UInt32,
        nodeSize: UInt32,
        generation: UInt64,
        incompat: IncompatFlags
    ) {
        self.sectorSize = sectorSize
        self.nodeSize = nodeSize
        self.generation = generation
        self.incompat = incompat
    }
}
