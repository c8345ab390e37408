//===-- Filesystem.swift - a btrfs file system and the allocator over its groups -----------------===//
// Opens the devices, adds every block group to an allocator, and lets it learn each group's free
// space when a claim first needs it. Opened for writing, it has transactions, too: what is recorded
// in its trees becomes durable with `commit()`.
//
// Invariants:
//   1. A file system opened read-only writes nothing, and claims on it stay in memory.
//   2. Opening for writing writes nothing either; the first commit does.
//   3. After a failure inside a commit, or a change that could not be undone, nothing is written any
//      more: the last commit stays whole, and every further change is refused with that failure.
//
// Threads: everything may be called from any number of threads at once.
// Locks: none held on calling but a file's; see CShim/include/bgs_lock.h.
// Not here: reading the trees (FilesystemReader), the search (BGAllocation), changes, data, groups
// and what may be written at all (Writing/).

@_exported public import BGAllocation
package import BGDevices
public import BGDiskFormat
internal import BGTrees

/// A btrfs file system on one or more devices or image files.
public final class Filesystem: @unchecked Sendable {
    /// Which record of free space to believe.
    public enum FreeSpaceOrigin: Sendable {
        /// The free-space tree where it is valid, otherwise the extent tree.
        case automatic
        /// The extent tree: what no extent holds is free.
        case extentTree
    }

    /// The file system's own allocator. Claims for data that is to stay are better made with
    /// ``claimData(length:lengthMin:hint:)``, which gets space back by a commit where it must.
    public let allocator: Allocator
    /// The file system as it was when it was opened.
    package let reader: FilesystemReader
    /// Whether it was opened for writing. It may have turned read-only since.
    public let isWritable: Bool

    let source: GroupSource
    let host: FilesystemHost
    private let opening = Mutex(.commit)
    /// Made at opening for writing, otherwise when first needed; under `opening`.
    private var openedTrees: TreeStore?
    /// What the file calls remember; see Files/.
    package let openFiles = OpenFiles()

    /// Opens a file system.
    ///
    /// Opened for writing, its devices are this process's alone: neither mounted nor open for writing
    /// elsewhere, until the object goes and every ``BlockGroup`` of it. What cannot be kept right is
    /// refused with the reason: features that are not known, a log tree to replay, quotas, a balance
    /// or device replacement under way, a free-space tree that is not valid, raid5 and raid6, sectors
    /// of other than 4096 bytes, seeds, and devices that are missing or behind. Nothing was written
    /// then.
    ///
    /// - Parameters:
    ///   - paths: its devices, in any order.
    ///   - readOnly: false: for writing.
    ///   - freeSpace: where to learn what is free.
    /// - Throws: what opening a file throws; `.invalidArgument` where there is no btrfs, or not one;
    ///   `.unsupported` for a feature that is not implemented, or not for writing; `.busy` for devices
    ///   in use; `.missingDevice`; `.corrupt` or `.io` for damage; `.noMemory`.
    public convenience init(
        paths: [String],
        readOnly: Bool = true,
        freeSpace: FreeSpaceOrigin = .automatic
    ) throws(FilesystemError) {
        let volume = try Volume.open(paths: paths, writable: !readOnly)
        try self.init(volume, readOnly: readOnly, freeSpace: freeSpace)
    }

    /// The same on devices that were opened.
    package init(
        _ volume: Volume,
        readOnly: Bool,
        freeSpace: FreeSpaceOrigin = .automatic
    ) throws(FilesystemError) {
        let reader = try FilesystemReader(volume)
        var space: DeviceSpace?
        if !readOnly {
            try checkWritable(reader)
            space = try DeviceSpace(reader)
        }
        let source = GroupSource(reader, freeSpace == .extentTree ? .extentTree : .automatic, space)
        do throws(AllocationError) {
            allocator = try Allocator(
                sectorSize: UInt64(reader.superBlock.sectorSize),
                source: source,
                allocatesChunks: !readOnly
            )
            for record in reader.blockGroups { try allocator.addGroup(record) }
        } catch {
            throw FilesystemError(allocation: error)
        }
        self.reader = reader
        self.source = source
        isWritable = !readOnly
        host = FilesystemHost(reader, source, allocator, isWritable: !readOnly)
        if !readOnly { _ = try trees() }
    }

    /// The trees that transactions see.
    func trees() throws(FilesystemError) -> TreeStore {
        try opening.withLock { () throws(FilesystemError) in
            if let openedTrees { return openedTrees }
            let groups = reader.blockGroups.map {
                GroupRecord(
                    logical: $0.logical,
                    length: $0.length,
                    flags: $0.flags,
                    used: $0.used
                )
            }
            let store = try TreeStore(
                reader.superBlock,
                groups: groups,
                host: host,
                readOnly: !isWritable
            )
            openedTrees = store
            return store
        }
    }

    /// Commits what is left. The file system is to be let go then: its devices are free for others
    /// when the last reference to it is gone, and to its allocator and groups.
    ///
    /// One that is let go without this loses what was not committed.
    ///
    /// - Throws: why the commit failed, or that an earlier failure had made the file system read-only.
    public func close() throws(FilesystemError) {
        if isWritable { try commit() }
    }

    /// Learns the free space of every group now, rather than when a claim first needs it. May run
    /// beside claims, on a thread of the caller's.
    ///
    /// - Parameter progress: called after each group with how many are done; false stops.
    /// - Throws: the first group's error; the others are cached all the same.
    public func cacheFreeSpace(
        progress: (_ done: Int, _ total: Int) -> Bool = { _, _ in true }
    ) throws(AllocationError) {
        var first: AllocationError?
        let records = source.records
        for (index, record) in records.enumerated() {
            if let group = allocator.group(at: record.logical) {
                do throws(AllocationError) { try group.cache() } catch { first = first ?? error }
            }
            if !progress(index + 1, records.count) { break }
        }
        if let first { throw first }
    }

    /// Why the free space of a group could not be read, in words; nil: it could, or nobody has tried.
    public func cacheFailure(ofGroupAt logical: UInt64) -> FilesystemError? {
        source.cacheFailure(ofGroupAt: logical)
    }
}

extension FilesystemError {
    /// An allocator's error as a file system's.
    init(allocation error: AllocationError) {
        switch error.code {
        case .noSpace: self.init(.noSpace, "allocator", "found no space")
        case .invalidArgument: self.init(.invalidArgument, "allocator", "refused an argument")
        case .exists: self.init(.corrupt, "block group", "overlaps, or names free space twice")
        case .notFound: self.init(.notFound, "block group", "is not there")
        case .busy: self.init(.busy, "block group", "has claims out")
        case .readOnly: self.init(.readOnly, "block group", "is read-only")
        case .io: self.init(.io, "block group", "could not be read")
        case .corrupt: self.init(.corrupt, "block group", "is damaged")
        case .noMemory: self.init(.noMemory, "allocator", "is out of memory")
        case .system(let number): self.init(.system(number), "allocator", "was refused")
        }
    }
}
