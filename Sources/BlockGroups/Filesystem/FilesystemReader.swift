//===-- FilesystemReader.swift - a btrfs file system, opened for reading ------------------------===//
// From paths to block groups: super block, system chunks, chunk tree, root tree, and the item of
// every block group; then, when asked, the free space of one group.
//
// Invariants, once open() returned:
//   1. Every chunk can be read from the devices that are there.
//   2. blockGroups has exactly one group for each chunk, of the same place, length and type,
//      ascending.
//   3. Nothing changes any more but counters.
//
// Threads: all calls from any number of threads at once. There is no lock: each call makes its own
// TreeReader, whose cache of blocks nobody shares; it re-reads a few upper nodes instead.
//
// Not here: claims (BGAllocation), writing.
//===-------------------------------------------------------------------------------------------===//

package import BGDevices
package import BGDiskFormat
internal import BGTrees

/// Where to learn a group's free space from.
package enum FreeSpaceSource: Sendable, Equatable {
    /// The free-space tree where it is valid, otherwise the extent tree.
    case automatic
    case freeSpaceTree
    case extentTree
}

package final class FilesystemReader: @unchecked Sendable {
    package let source: VolumeTreeSource
    package let blockGroups: [BlockGroupRecord]
    /// What is wrong but did not keep the file system from opening, for people to read.
    package let warnings: [FilesystemError]
    private let extentRoot: TreeRoot
    /// nil where there is no free-space tree, or it is not valid.
    private let freeSpaceRoot: TreeRoot?

    package var volume: Volume { source.volume }
    package var superBlock: SuperBlock { source.superBlock }
    package var limits: FormatLimits { source.geometry.limits }
    /// Copies of tree blocks that were bad where another one was good.
    package var correctedBlocks: UInt64 { source.correctedBlocks }
    package var hasFreeSpaceTree: Bool { freeSpaceRoot != nil }
    /// Height of the extent tree above its leaves.
    package var extentTreeLevel: Int { Int(extentRoot.level) }

    /// Opens the file system on the files with these paths, in any order.
    ///
    /// Throws what opening the files throws; `.invalidArgument` where they hold no btrfs, or not
    /// one; `.unsupported` for a feature that is not implemented; `.missingDevice`; `.corrupt` or
    /// `.io` where what opening needs is damaged.
    package static func open(paths: [String]) throws(FilesystemError) -> FilesystemReader {
        try FilesystemReader(Volume.open(paths: paths))
    }

    /// Opens the file system on devices whose super blocks were read.
    package init(_ volume: Volume) throws(FilesystemError) {
        let source = VolumeTreeSource(volume)
        self.source = source
        let reader = TreeReader(source)
        try loadChunks(reader, into: volume)
        let trees = try TreeDirectory(reader, volume.superBlock)
        extentRoot = trees.extentTree
        freeSpaceRoot = trees.freeSpaceTree
        blockGroups = try loadBlockGroups(
            reader,
            trees.blockGroupTree ?? trees.extentTree,
            volume.chunkMap
        )
        warnings = volume.warnings + remarks(on: blockGroups, volume.superBlock)
    }

    /// The same file system as a later commit left it. Groups and warnings stay those of opening.
    ///
    /// Throws `.corrupt` or `.io` where the roots of its trees cannot be read.
    package init(
        _ earlier: FilesystemReader,
        committed superBlock: SuperBlock
    ) throws(FilesystemError) {
        let source = VolumeTreeSource(earlier.volume, superBlock)
        let trees = try TreeDirectory(TreeReader(source), superBlock)
        self.source = source
        extentRoot = trees.extentTree
        freeSpaceRoot = trees.freeSpaceTree
        blockGroups = earlier.blockGroups
        warnings = earlier.warnings
    }

    /// Visits the free runs of a group: ascending, apart, never touching, each as long as it can
    /// be, without the copies of the super block.
    ///
    /// Runs are visited while the tree is being read: when this throws, those visited before mean
    /// nothing. What `visit` throws ends the walk and is passed on.
    ///
    /// Throws `.invalidArgument` where the free-space tree is asked for and there is none that is
    /// valid; `.corrupt` where the tree contradicts itself, the group or how much of it is used.
    package func freeSpace(
        of group: BlockGroupRecord,
        source wanted: FreeSpaceSource = .automatic,
        visit: (_ logical: UInt64, _ length: UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        let reader = TreeReader(source)
        if wanted != .extentTree, let freeSpaceRoot {
            var walk = FreeSpaceTreeWalk(group: group, limits: limits, root: freeSpaceRoot)
            try walk.run(reader, visit)
            return
        }
        guard wanted != .freeSpaceTree else {
            throw FilesystemError(
                .invalidArgument,
                "file system",
                "has no valid free-space tree"
            )
        }
        var walk = ExtentTreeWalk(group: group, limits: limits, root: extentRoot)
        try walk.run(reader, visit)
    }

    /// Fills `buffer` from `logical` on, from any mirror that can be read.
    ///
    /// Throws `.invalidArgument` where no chunk holds some of the range, `.io` or
    /// `.missingDevice` where no mirror can be read.
    package func read(
        logical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        try unsafe volume.read(logical: logical, into: buffer)
    }

    /// Fills `span` from `logical` on; see `read(logical:into:)`.
    package func read(logical: UInt64, into span: inout MutableRawSpan) throws(FilesystemError) {
        try volume.read(logical: logical, into: &span)
    }
}
