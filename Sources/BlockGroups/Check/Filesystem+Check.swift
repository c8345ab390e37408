//===-- Filesystem+Check.swift - is everything on the devices in order --------------------------===//
// The way in to the checker: every tree, every reference, every free byte of the last commit.
//
// Order of the passes, each of which uses what the ones before it gathered:
//   1. super blocks        SuperBlockCheck        every copy
//   2. chunks, devices     ChunkCheck             chunk tree, system chunks
//   3. the trees there are RootTreeCheck          root items
//   4. extents, groups     ExtentTreeCheck        into the tables that all else is held against
//   5. device extents      DeviceExtentCheck
//   6. checksums           ChecksumCheck
//   7. all trees           TreeAccounting         each block and extent once, who refers to whom
//   8. subvolumes          SubvolumeCheck         inodes, names, file extents, in the same walk
//   9. what is left        ReferenceCheck         references recorded and never met
//  10. free space          FreeSpaceCheck         the complement of the extents
//  11. data                DataCheck              only when asked for
//
// What one pass cannot read, later ones do not report as missing: one bad block is one line.
//
// Not looked at: the log tree (a remark says so), free-space caches of the first version (their
// space is accounted for like a file's), quota numbers, backup roots.
//===-------------------------------------------------------------------------------------------===//

package import BGDevices
public import BGDiskFormat

/// What ``Filesystem/check(_:progress:report:)`` does beyond reading every tree once.
public struct CheckOptions: Sendable {
    /// Read every byte that has a checksum, from every copy, and compare.
    public var verifiesData = false
    /// Read every copy of every tree block, not only the first good one.
    public var readsAllCopies = false

    public init(verifiesData: Bool = false, readsAllCopies: Bool = false) {
        self.verifiesData = verifiesData
        self.readsAllCopies = readsAllCopies
    }
}

/// How far a check is.
public struct CheckProgress: Sendable {
    public enum Phase: Sendable {
        /// Reading the chunk, root, extent and checksum trees.
        case tables
        /// Walking every tree; counted in tree blocks.
        case trees
        /// Comparing free space; counted in block groups.
        case freeSpace
        /// Verifying data; counted in bytes.
        case data
    }

    public let phase: Phase
    public let done: UInt64
    /// An estimate; 0 where nothing is known.
    public let total: UInt64
}

/// What a check came to.
public struct CheckSummary: Sendable {
    /// Lines reported that are not remarks.
    public internal(set) var faults: UInt64 = 0
    public internal(set) var remarks: UInt64 = 0
    /// False where `progress` stopped it.
    public internal(set) var isComplete = true
    /// Tree blocks met, each once.
    public internal(set) var treeBlocks: UInt64 = 0
    /// Extents of data recorded.
    public internal(set) var dataExtents: UInt64 = 0
    public internal(set) var inodes: UInt64 = 0
    /// Bytes whose checksums were compared, over all copies.
    public internal(set) var verifiedBytes: UInt64 = 0
}

extension Filesystem {
    /// Checks the file system on these devices, which need not be one that can be opened otherwise.
    ///
    /// Reads only. Takes about 40 bytes of memory an extent, 40 a reference and 100 a name of the
    /// largest subvolume. The devices must not change meanwhile.
    ///
    /// - Parameters:
    ///   - paths: its devices, in any order.
    ///   - progress: called now and then; false stops the check.
    ///   - report: called with each fault as it is found.
    /// - Throws: `.invalidArgument` where there is no btrfs, `.corrupt`, `.io`, `.unsupported` or
    ///   `.missingDevice` where not one super block can be used. Everything else is reported.
    public static func check(
        paths: [String],
        _ options: CheckOptions = CheckOptions(),
        progress: @escaping (CheckProgress) -> Bool = { _ in true },
        report: @escaping (CheckFault) -> Void
    ) throws(FilesystemError) -> CheckSummary {
        try check(Volume.open(paths: paths), options, progress, report)
    }

    /// Checks this file system as the last commit left it on the devices.
    ///
    /// See ``check(paths:_:progress:report:)``. No commit may run meanwhile.
    public func check(
        _ options: CheckOptions = CheckOptions(),
        progress: @escaping (CheckProgress) -> Bool = { _ in true },
        report: @escaping (CheckFault) -> Void
    ) throws(FilesystemError) -> CheckSummary {
        // A volume of its own: the super blocks as they are now, and chunks from nothing.
        let storages = reader.volume.devices.map { $0.storage }
        return try Filesystem.check(Volume(devices: storages), options, progress, report)
    }

    package static func check(
        _ volume: Volume,
        _ options: CheckOptions,
        _ progress: @escaping (CheckProgress) -> Bool,
        _ report: @escaping (CheckFault) -> Void
    ) throws(FilesystemError) -> CheckSummary {
        let checker = Checker(volume, options, progress, report)
        checker.run()
        return checker.summary
    }
}
