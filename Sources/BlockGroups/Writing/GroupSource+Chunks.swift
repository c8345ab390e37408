//===-- GroupSource+Chunks.swift - chunks from holes of the devices ------------------------------===//
// A chunk is made in memory at once: holes chosen, chunk mapped, group added to the allocator. The
// next commit records it. So a claim gets its chunk on the thread that needs it, also one with the
// tree mutex held.
//
// What is made in time: before a chunk of data or metadata, the SYSTEM chunks get room for the chunk
// tree's next changes; before a chunk of data, the metadata chunks get room for what describes it
// and for the reserve. Thus data cannot take the last hole that metadata will need.
//
// Locks: `chunks` is held while a chunk is made.
//===-------------------------------------------------------------------------------------------===//

package import BGAllocation
import BGDevices
import BGDiskFormat
import BGTrees

extension GroupSource {
    // MARK: BlockGroupSource

    package func allocateChunk(
        in allocator: Allocator,
        flags: BlockGroupFlags,
        length: UInt64
    ) throws(AllocationError) {
        do throws(FilesystemError) {
            let wanted = chunkFlags(for: flags)
            try prepare(for: wanted, in: allocator)
            guard try makeChunk(wanted, in: allocator) else { throw .noHole }
        } catch {
            throw AllocationError(result: -error.errno)
        }
    }

    // MARK: making one

    /// Makes a chunk and its group, unless `unneeded` says with `chunks` held that there is no need.
    ///
    /// - Returns: whether there was a hole for it, or no need.
    /// - Throws: `.readOnly`, `.noMemory`.
    @discardableResult
    func makeChunk(
        _ flags: ChunkFlags,
        lengthMax: UInt64 = .max,
        in allocator: Allocator,
        unneeded: () -> Bool = { false }
    ) throws(FilesystemError) -> Bool {
        let made = try chunks.withLock { () throws(FilesystemError) -> UInt64?? in
            if unneeded() { return .some(nil) }
            return try makeChunkLocked(flags, lengthMax, in: allocator).map { .some($0) }
        }
        guard let made else { return false }
        // Cached from memory. Should it fail, the group stays uncached, and whoever needs it tries.
        if let logical = made { try? allocator.group(at: logical)?.cache() }
        return true
    }

    /// - Returns: the chunk's address; nil: there is no hole.
    private func makeChunkLocked(
        _ flags: ChunkFlags,
        _ lengthMax: UInt64,
        in allocator: Allocator
    ) throws(FilesystemError) -> UInt64? {
        guard space != nil else { throw FilesystemError.openedReadOnly }
        guard let plan = space!.planChunk(flags, lengthMax: lengthMax) else { return nil }
        let item = plan.chunk
        do throws(FilesystemError) {
            try volume.addChunk(item)
        } catch {
            space!.release(plan)
            throw error
        }
        let record = BlockGroupRecord(
            logical: item.logical,
            length: item.length,
            flags: item.flags,
            used: 0,
            superBlockCopies: superBlockCopies(in: item)
        )
        // Before the group is there for claims: whoever caches it looks here.
        note(Entry(record: record, isNew: true))
        do throws(AllocationError) {
            try allocator.addGroup(record)
        } catch {
            forget(item.logical)
            try? volume.removeChunk(logical: item.logical)
            space!.release(plan)
            throw FilesystemError(allocation: error)
        }
        changes.append(.added(item, plan.extents))
        return item.logical
    }

    /// Makes the chunks that must be there before one of these flags takes its hole.
    private func prepare(
        for flags: ChunkFlags,
        in allocator: Allocator
    ) throws(FilesystemError) {
        guard !flags.contains(.system) else { return }
        try makeChunk(chunkFlags(for: .system), in: allocator) {
            hasSystemReserve(in: systemGroups, of: allocator)
        }
        guard flags.type == .data else { return }
        let described = metadataBytesWanted(forDataBytes: dataChunkBytesUsual)
        try makeChunk(chunkFlags(for: .metadata), in: allocator) {
            freeBytes(of: metadataGroups, in: allocator) >= described
        }
    }

    /// Makes chunks for metadata until so much of it is free; none where the holes are too small for
    /// that in any case, unless what they have will do.
    ///
    /// - Returns: whether as much is free now, as far as anybody knows.
    func growMetadata(
        to bytes: UInt64,
        partly: Bool = false,
        in allocator: Allocator
    ) throws(FilesystemError) -> Bool {
        let flags = chunkFlags(for: .metadata)
        let holes = chunks.withLock { space?.unallocatedBytes ?? 0 }
        let free = freeMetadataBytes(in: allocator)
        guard !partly, free < bytes, bytes - free > holes else {
            return try makeMetadataChunks(flags, until: bytes, in: allocator)
        }
        return false
    }

    private func makeMetadataChunks(
        _ flags: ChunkFlags,
        until bytes: UInt64,
        in allocator: Allocator
    ) throws(FilesystemError) -> Bool {
        // Ends: each takes a hole.
        while freeMetadataBytes(in: allocator) < bytes {
            try prepare(for: flags, in: allocator)
            let isMade = try makeChunk(flags, in: allocator) {
                freeBytes(of: metadataGroups, in: allocator) >= bytes
            }
            guard isMade else { return false }
        }
        return true
    }

    // MARK: how much there is, and should be

    /// Free bytes of metadata, in chunks that exist.
    func freeMetadataBytes(in allocator: Allocator) -> UInt64 {
        chunks.withLock { freeBytes(of: metadataGroups, in: allocator) }
    }

    /// Says how much metadata space chunks of data are to leave.
    func setReserve(_ bytes: UInt64) {
        chunks.withLock { reserveBytes = bytes }
    }

    /// Free bytes of groups, cached or not. `chunks` is held.
    func freeBytes(of groups: [UInt64], in allocator: Allocator) -> UInt64 {
        var sum: UInt64 = 0
        for logical in groups {
            guard let reference = allocator.reference(at: logical) else { continue }
            defer { reference.put() }
            if reference.isReadOnly { continue }
            sum += freeBytes(of: reference)
        }
        return sum
    }

    /// Free bytes of a group. `chunks` is held.
    func freeBytes(of group: GroupReference) -> UInt64 {
        if group.isCached { return group.freeBytes }
        // Not changed since it was opened or made. What could not be read cannot be claimed.
        guard group.cacheError == 0, let record = entries[group.logical]?.record else { return 0 }
        let superBytes = record.superBlockCopies.reduce(0) { $0 + $1.length }
        return record.length - min(record.length, record.used + superBytes)
    }

    /// Whether these SYSTEM groups have what the chunk tree may need before the next commit frees what
    /// it leaves: all of it copied twice over, and a few blocks more. `chunks` is held.
    func hasSystemReserve(in groups: [UInt64], of allocator: Allocator) -> Bool {
        let free = freeBytes(of: groups, in: allocator)
        let all = groups.reduce(UInt64(0)) { $0 + (entries[$1]?.record.length ?? 0) }
        return free >= 2 * (all - min(all, free)) + 16 * UInt64(volume.superBlock.nodeSize)
    }

    /// The reserve, and what checksums and extent items of so much data may take.
    private func metadataBytesWanted(forDataBytes bytes: UInt64) -> UInt64 {
        let superBlock = volume.superBlock
        let sums =
            bytes / UInt64(superBlock.sectorSize) * UInt64(superBlock.checksumType.byteCount)
        // Leaves are at worst half full.
        return min(reserveBytes, Self.reserveBytesMax) + 2 * sums + bytes / 1024
    }

    /// No more than a tenth of all devices is one chunk, and no more than 1 GiB of one device.
    private var dataChunkBytesUsual: UInt64 {
        min(volume.superBlock.totalBytes / 10, 1 << 30)
    }

    // MARK: which profile

    /// Type and profile of the next chunk for claims of these flags: the profile asked for, otherwise
    /// that of the groups there are.
    func chunkFlags(for claim: BlockGroupFlags) -> ChunkFlags {
        var type = ChunkFlags(rawValue: claim.rawValue).type
        if volume.superBlock.incompat.contains(.mixedGroups), !type.contains(.system) {
            type = .data | .metadata
        }
        if claim.contains(.availSingle) { return type }
        let asked = ChunkFlags(rawValue: claim.rawValue & ChunkFlags.profileMask.rawValue)
        if asked.rawValue != 0 { return type | asked }
        return chunks.withLock { type | profile(ofGroupsOf: type).flags }
    }

    /// The most redundant profile among the groups of a type that the devices can hold; single where
    /// there is no group. `chunks` is held.
    private func profile(ofGroupsOf type: ChunkFlags) -> Profile {
        var present: [Profile] = []
        for entry in entries.values where entry.record.flags.type == type {
            if let profile = entry.record.flags.profile { present.append(profile) }
        }
        let order: [Profile] = [.raid1c4, .raid1c3, .raid10, .raid1, .dup, .raid0]
        for profile in order where present.contains(profile) {
            if volume.devices.count >= profile.devicesMin { return profile }
        }
        return .single
    }
}

extension Allocator {
    /// Adds the group of a record.
    @discardableResult
    func addGroup(_ record: BlockGroupRecord) throws(AllocationError) -> BlockGroup {
        try addGroup(
            logical: record.logical,
            length: record.length,
            flags: .init(rawValue: record.flags.rawValue),
            superBytes: record.superBlockCopies.reduce(0) { $0 + $1.length }
        )
    }
}

extension FilesystemError {
    static var noHole: FilesystemError {
        FilesystemError(.noSpace, "chunk", "no device has a hole for one")
    }

    static var openedReadOnly: FilesystemError {
        FilesystemError(.readOnly, "file system", "was opened read-only")
    }
}

// MARK: - For the commit

extension GroupSource {
    /// The changes since the last call, oldest first.
    func takeChanges() -> [ChunkChange] {
        chunks.withLock {
            let taken = changes
            changes = []
            return taken
        }
    }

    /// All devices as they are now, in order of their ids.
    var deviceItems: [DeviceItem] {
        chunks.withLock { space?.deviceItems ?? [] }
    }

    /// Every SYSTEM chunk, in address order. One that is being made, and may yet fail to be, is not
    /// among them: the map changes under `chunks`.
    var systemChunks: [ChunkItem] {
        chunks.withLock { volume.chunkMap }.chunks.map { $0.item }.filter {
            $0.flags.contains(.system)
        }
    }

    /// The commit that forgot these chunks is durable: their places can be used again.
    func release(_ removed: [ChunkItem]) {
        guard !removed.isEmpty else { return }
        chunks.withLock {
            for item in removed { space?.release(item) }
        }
    }
}
