//===-- GroupSource.swift - where a file system's allocator learns what is free -------------------===//
// Keeps the block groups of a file system, old and new, tells the allocator what is free in them,
// and makes more where the file system is writable (GroupSource+Chunks.swift).
//
// Invariants:
//   1. A group that was there at opening and is not cached has not changed since, in memory or in
//      any commit: whoever claims in it or frees some of it caches it first. So the committed trees
//      are right for it, and so is the record of opening.
//   2. A group made since is cached from memory, as wholly free.
//   3. Logical addresses are given to chunks in ascending order and never twice.
//   4. `changes` holds what is in effect in memory and no commit has taken yet, oldest first.
//
// Locks: `chunks` guards all state but `committed`; that changes under `roots` (write), or under
// `roots` (read) and `chunks` together when the reader of the latest commit is made.
//===-------------------------------------------------------------------------------------------===//

package import BGAllocation
package import BGDevices
package import BGDiskFormat
import BGTrees

package final class GroupSource: BlockGroupSource, @unchecked Sendable {
    struct Entry {
        var record: BlockGroupRecord
        /// Made since the file system was opened.
        var isNew: Bool
    }

    /// Most of `reserveBytes` that a chunk of data waits for: a larger commit is not worth keeping data
    /// out for.
    static let reserveBytesMax: UInt64 = 1 << 30

    package let volume: Volume
    let origin: FreeSpaceSource
    let chunks = Mutex(.chunks)
    private let roots = ReadWriteLock(.roots)

    // Under `chunks`.
    var entries: [UInt64: Entry] = [:]
    /// What the devices have room for; nil: opened read-only.
    var space: DeviceSpace?
    var changes: [ChunkChange] = []
    /// Addresses of the groups that hold metadata (mixed ones included) and of SYSTEM groups.
    var metadataGroups: [UInt64] = []
    var systemGroups: [UInt64] = []
    /// Why the free space of groups could not be read, by address.
    private var cacheFailures: [UInt64: FilesystemError] = [:]
    /// Groups that somebody is about to take away.
    var leaving: Set<UInt64> = []
    /// Bytes of metadata space that the last change wants left.
    var reserveBytes: UInt64 = 0

    /// The last commit that `committed` may read, and its reader; nil: not made yet, or there is no
    /// file system yet.
    private var committedSuperBlock: SuperBlock
    private var committed: FilesystemReader?
    private let opened: FilesystemReader?

    /// For a file system that exists.
    init(_ reader: FilesystemReader, _ origin: FreeSpaceSource, _ space: DeviceSpace?) {
        volume = reader.volume
        self.origin = origin
        self.space = space
        committedSuperBlock = reader.superBlock
        committed = reader
        opened = reader
        for record in reader.blockGroups { note(Entry(record: record, isNew: false)) }
    }

    /// For a file system that is being made on `volume`.
    init(formatting superBlock: SuperBlock, _ volume: Volume, _ space: DeviceSpace) {
        self.volume = volume
        origin = .automatic
        self.space = space
        committedSuperBlock = superBlock
        committed = nil
        opened = nil
    }

    /// Adds a group to the tables. `chunks` is held, or nobody else knows this object yet.
    func note(_ entry: Entry) {
        let record = entry.record
        entries[record.logical] = entry
        if record.flags.contains(.metadata) { metadataGroups.append(record.logical) }
        if record.flags.contains(.system) { systemGroups.append(record.logical) }
    }

    /// The opposite. `chunks` is held.
    func forget(_ logical: UInt64) {
        entries[logical] = nil
        cacheFailures[logical] = nil
        metadataGroups.removeAll { $0 == logical }
        systemGroups.removeAll { $0 == logical }
    }

    package func record(ofGroupAt logical: UInt64) -> BlockGroupRecord? {
        chunks.withLock { entries[logical]?.record }
    }

    /// All groups there are now, by address.
    package var records: [BlockGroupRecord] {
        var all = chunks.withLock { entries.values.map { $0.record } }
        all.sort { $0.logical < $1.logical }
        return all
    }

    // MARK: BlockGroupSource

    package func cacheFreeSpace(of group: BlockGroup) throws(AllocationError) {
        guard let entry = chunks.withLock({ entries[group.logical] }) else {
            throw AllocationError(.notFound)
        }
        do throws(FilesystemError) {
            try visitFreeSpace(of: entry) { (logical, length) throws(FilesystemError) in
                do throws(AllocationError) {
                    try group.addFreeSpace(logical: logical, length: length)
                } catch {
                    throw FilesystemError(allocation: error)
                }
            }
        } catch {
            chunks.withLock { cacheFailures[group.logical] = error }
            throw AllocationError(result: -error.errno)
        }
    }

    package func hasRoomForChunk(flags: BlockGroupFlags) -> Bool? {
        // A claim without a profile bit takes any: single asks for the least.
        let flags = ChunkFlags(rawValue: flags.rawValue)
        guard let profile = flags.profile else { return nil }
        let room = chunks.withLock { space?.hasRoom(flags.type | profile.flags) }
        return room ?? volume.hasRoomForChunk(profile)
    }

    // MARK: the committed trees

    /// Why the free space of a group could not be read; nil: it could, or nobody has tried.
    package func cacheFailure(ofGroupAt logical: UInt64) -> FilesystemError? {
        chunks.withLock { cacheFailures[logical] }
    }

    private func visitFreeSpace(
        of entry: Entry,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        let record = entry.record
        guard !entry.isNew else {
            var merger = FreeRunMerger(excluded: record.superBlockCopies)
            try merger.add(record.logical, record.length, visit)
            try merger.finish(visit)
            return
        }
        try roots.withReadLock { () throws(FilesystemError) in
            try committedReader().freeSpace(of: record, source: origin, visit: visit)
        }
    }

    /// The reader of the last commit. `roots` is held for reading.
    private func committedReader() throws(FilesystemError) -> FilesystemReader {
        if let committed = chunks.withLock({ committed }) { return committed }
        guard let opened else {
            throw FilesystemError(.corrupt, "block group", "is older than its file system")
        }
        let reader = try FilesystemReader(opened, committed: committedSuperBlock)
        chunks.withLock { committed = reader }
        return reader
    }

    /// The trees of an earlier commit are read no more when this returns, and may be overwritten.
    func switchCommitted(to superBlock: SuperBlock) {
        roots.withWriteLock {
            committedSuperBlock = superBlock
            chunks.withLock { committed = nil }
        }
    }

    /// The super block of the last commit.
    var superBlock: SuperBlock { roots.withReadLock { committedSuperBlock } }
}
