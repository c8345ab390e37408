//===-- Filesystem.swift - a btrfs file system and the allocator over its groups -----------------===//
// Opens the devices, adds every block group to an allocator, and lets it learn each group's free
// space when a claim first needs it.
//
// Threads: everything may be called from any number of threads at once. No lock is held while a
// device is read.
// Not here: reading the trees (FilesystemReader), the search (BGAllocation), writing: a file system
// is opened read-only for now, and claims on it stay in memory.

@_exported public import BGAllocation
internal import BGDevices
public import BGDiskFormat

/// A btrfs file system on one or more devices or image files.
public final class Filesystem: Sendable {
    /// Which record of free space to believe.
    public enum FreeSpaceOrigin: Sendable {
        /// The free-space tree where it is valid, otherwise the extent tree.
        case automatic
        /// The extent tree: what no extent holds is free.
        case extentTree
    }

    /// The file system's own allocator.
    public let allocator: Allocator
    package let reader: FilesystemReader
    private let origin: FreeSpaceSource
    /// What the file calls remember; see Files/.
    package let openFiles = OpenFiles()

    /// Opens a file system.
    ///
    /// - Parameters:
    ///   - paths: its devices, in any order.
    ///   - readOnly: must be true for now.
    /// - Throws: what opening a file throws; `.invalidArgument` where there is no btrfs, or not one;
    ///   `.unsupported` for a feature that is not implemented; `.missingDevice`; `.corrupt` or `.io`
    ///   for damage; `.readOnly` when writing was asked for; `.noMemory`.
    public init(
        paths: [String],
        readOnly: Bool = true,
        freeSpace: FreeSpaceOrigin = .automatic
    ) throws(FilesystemError) {
        guard readOnly else {
            throw FilesystemError(
                .readOnly,
                "file system",
                "can only be opened read-only by this version"
            )
        }
        let reader = try FilesystemReader.open(paths: paths)
        self.reader = reader
        origin = freeSpace == .extentTree ? .extentTree : .automatic
        do throws(AllocationError) {
            let source = TreeFreeSpaceSource(reader, origin)
            allocator = try Allocator(
                sectorSize: UInt64(reader.superBlock.sectorSize),
                source: source,
                allocatesChunks: false
            )
            for record in reader.blockGroups {
                try allocator.addGroup(
                    logical: record.logical,
                    length: record.length,
                    flags: .init(rawValue: record.flags.rawValue),
                    superBytes: record.superBlockCopies.reduce(0) { $0 + $1.length }
                )
            }
        } catch {
            throw FilesystemError(allocation: error)
        }
    }

    /// Reads bytes by logical address, from any good mirror.
    ///
    /// - Throws: `.invalidArgument` where no chunk holds some of the range, `.io`.
    public func read(
        logical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        try unsafe reader.read(logical: logical, into: buffer)
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
        for (index, record) in reader.blockGroups.enumerated() {
            if let group = allocator.group(at: record.logical) {
                do throws(AllocationError) { try group.cache() } catch { first = first ?? error }
            }
            if !progress(index + 1, reader.blockGroups.count) { break }
        }
        if let first { throw first }
    }

    /// Bytes that extents hold in the group that begins at `logical`, from its item; nil: no group.
    public func usedBytes(ofGroupAt logical: UInt64) -> UInt64? {
        reader.record(ofGroupAt: logical)?.used
    }

    /// Why the free space of a group could not be read, in words; nil when it could.
    public func cacheFailure(ofGroupAt logical: UInt64) -> FilesystemError? {
        guard let record = reader.record(ofGroupAt: logical) else {
            return nil
        }
        do throws(FilesystemError) {
            try reader.freeSpace(of: record, source: origin) { (_, _) throws(FilesystemError) in }
            return nil
        } catch {
            return error
        }
    }
}

extension FilesystemReader {
    /// The record of the group that begins at `logical`, found by bisection; nil: none does.
    fileprivate func record(ofGroupAt logical: UInt64) -> BlockGroupRecord? {
        var low = 0
        var high = blockGroups.count
        while low < high {
            let middle = low + (high - low) / 2
            if blockGroups[middle].logical < logical { low = middle + 1 } else { high = middle }
        }
        guard low < blockGroups.count, blockGroups[low].logical == logical else { return nil }
        return blockGroups[low]
    }
}

/// Tells an allocator what is free, from the trees.
private final class TreeFreeSpaceSource: BlockGroupSource {
    private let reader: FilesystemReader
    private let origin: FreeSpaceSource

    init(_ reader: FilesystemReader, _ origin: FreeSpaceSource) {
        self.reader = reader
        self.origin = origin
    }

    func cacheFreeSpace(of group: BlockGroup) throws(AllocationError) {
        guard let record = reader.record(ofGroupAt: group.logical) else {
            throw AllocationError(.notFound)
        }
        do throws(FilesystemError) {
            try reader.freeSpace(of: record, source: origin) {
                (logical, length) throws(FilesystemError) in
                do throws(AllocationError) {
                    try group.addFreeSpace(logical: logical, length: length)
                } catch {
                    throw FilesystemError(allocation: error)
                }
            }
        } catch {
            throw AllocationError(result: -error.errno)
        }
    }

    func allocateChunk(
        in allocator: Allocator,
        flags: BlockGroupFlags,
        length: UInt64
    ) throws(AllocationError) {
        throw AllocationError(.readOnly)
    }

    func hasRoomForChunk(flags: BlockGroupFlags) -> Bool? {
        // A claim without a profile bit takes any: single asks for the least.
        guard let profile = ChunkFlags(rawValue: flags.rawValue).profile else { return nil }
        return reader.volume.hasRoomForChunk(profile)
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
