//===-- GroupSource+Removing.swift - empty groups go, their holes come back ----------------------===//
// A group that nothing is in, claimed, recorded or pinned, can be taken away: from the allocator at
// once, from the trees with the next commit. The holes on the devices are there for new chunks once
// that commit is durable.
//
// Invariant: a group in `leaving` is one thread's to take away; for the others it is gone already.
//
// Locks: the tree mutex is held on calling, so that no change comes to rely on the space; `chunks` while
// the tables change.
//===-------------------------------------------------------------------------------------------===//

import BGAllocation
import BGDevices
import BGDiskFormat
import BGTrees

extension GroupSource {
    /// Takes an empty group away.
    ///
    /// - Parameter keeping: bytes of metadata space that are to be left.
    /// - Throws: `.notFound` where no group begins there, `.busy` where something is in it or it is
    ///   the last one of metadata or SYSTEM, or too little would be left, `.readOnly`.
    func removeGroup(
        at logical: UInt64,
        keeping metadataBytes: UInt64,
        in allocator: Allocator
    ) throws(FilesystemError) {
        guard let group = allocator.group(at: logical), group.logical == logical else {
            throw FilesystemError(.notFound, "block group", "none begins there", logical: logical)
        }
        try chunks.withLock { () throws(FilesystemError) in
            guard space != nil else { throw FilesystemError.openedReadOnly }
            try checkMayLeave(logical)
            leaving.insert(logical)
        }
        defer { chunks.withLock { _ = leaving.remove(logical) } }
        try remove(group, keeping: metadataBytes, from: allocator)
    }

    /// `chunks` is held.
    private func checkMayLeave(_ logical: UInt64) throws(FilesystemError) {
        guard !leaving.contains(logical) else {
            throw FilesystemError(.busy, "block group", "is being removed", logical: logical)
        }
        guard entries[logical] != nil else {
            throw FilesystemError(.notFound, "block group", "none begins there", logical: logical)
        }
        for groups in [metadataGroups, systemGroups] where groups.contains(logical) {
            guard groups.contains(where: { $0 != logical && !leaving.contains($0) }) else {
                throw FilesystemError(.busy, "block group", "is the last one", logical: logical)
            }
        }
    }

    /// The group is in `leaving`, by this thread.
    private func remove(
        _ group: BlockGroup,
        keeping metadataBytes: UInt64,
        from allocator: Allocator
    ) throws(FilesystemError) {
        let logical = group.logical
        let wasReadOnly = group.isReadOnly
        // From here on nothing is claimed in it, so what is found free stays free.
        group.setReadOnly(true)
        do throws(FilesystemError) {
            guard chunks.withLock({ isEmpty(group) }) else {
                throw FilesystemError(
                    .busy,
                    "block group",
                    "holds claims, extents, or what the next commit frees",
                    logical: logical
                )
            }
            // It counts no more, being read-only.
            guard
                !group.flags.contains(.metadata)
                    || freeMetadataBytes(in: allocator) >= metadataBytes
            else {
                throw FilesystemError(
                    .busy,
                    "block group",
                    "the next commit may need its space",
                    logical: logical
                )
            }
            do throws(AllocationError) {
                try allocator.removeGroup(logical: logical)
            } catch {
                throw FilesystemError(allocation: error).located(logical: logical)
            }
        } catch {
            group.setReadOnly(wasReadOnly)
            throw error
        }
        chunks.withLock { noteRemoved(logical) }
    }

    /// Takes away the empty groups of other types than `type` (one of each kind stays, so that its
    /// profile is not forgotten).
    ///
    /// - Parameter keeping: bytes of metadata space that are to be left.
    /// - Returns: how many; their holes can be used after the next commit.
    func removeEmptyGroups(
        sparing type: ChunkFlags,
        keeping metadataBytes: UInt64,
        in allocator: Allocator
    ) -> Int {
        let candidates = chunks.withLock {
            let found = emptyGroups(sparing: type, in: allocator)
            // At once, so that two threads together do not take the last of a kind.
            leaving.formUnion(found)
            return found
        }
        defer { chunks.withLock { leaving.subtract(candidates) } }
        var removed = 0
        for logical in candidates {
            guard let group = allocator.group(at: logical) else { continue }
            do throws(FilesystemError) {
                try remove(group, keeping: metadataBytes, from: allocator)
                removed += 1
            } catch {
                // Somebody has just claimed in it, or what it has is needed.
                continue
            }
        }
        return removed
    }

    /// `chunks` is held.
    private func emptyGroups(sparing type: ChunkFlags, in allocator: Allocator) -> [UInt64] {
        var kept: [UInt64: Int] = [:]
        for (logical, entry) in entries where !leaving.contains(logical) {
            kept[entry.record.flags.rawValue, default: 0] += 1
        }
        var found: [UInt64] = []
        for (logical, entry) in entries where !leaving.contains(logical) {
            let flags = entry.record.flags
            guard flags.type != type, !flags.contains(.system),
                kept[flags.rawValue, default: 0] > 1,
                let group = allocator.group(at: logical), isEmpty(group)
            else { continue }
            kept[flags.rawValue, default: 0] -= 1
            found.append(logical)
        }
        return found
    }

    /// Whether all of a group is free. `chunks` is held.
    private func isEmpty(_ group: BlockGroup) -> Bool {
        group.reference.cacheError == 0
            && freeBytes(of: group.reference) + group.superBytes == group.length
    }

    /// The group has gone from the allocator. `chunks` is held.
    private func noteRemoved(_ logical: UInt64) {
        guard let chunk = volume.chunk(at: logical) else { return }
        forget(logical)
        do throws(FilesystemError) {
            try volume.removeChunk(logical: logical)
        } catch {
            preconditionFailure("a chunk that was just found is mapped")
        }
        // One that no commit has seen leaves no trace.
        for index in changes.indices {
            if case .added(let item, let extents) = changes[index], item.logical == logical {
                changes.remove(at: index)
                space?.release(ChunkPlan(chunk: item, extents: extents))
                return
            }
        }
        changes.append(.removed(chunk.item, space?.remove(chunk.item) ?? []))
    }
}
