//===-- GroupSource+Removing.swift - empty groups go, their holes come back ----------------------===//
// A group that nothing is in, claimed, recorded or pinned, can be taken away: from the allocator at
// once, from the trees with the next commit. The holes on the devices are there for new chunks once
// that commit is durable.
//
// Two steps: `beginRemoving` decides, with the tree mutex held, so that no change comes to rely on the
// space, and makes the group read-only, so that it counts no more; `finishRemoving` takes it away, and
// waits for readers, with no lock held.
//
// Invariant: a group in `leaving` is one thread's to take away; for the others it is gone already.
//
// Locks: as said; `chunks` while the tables change.
//===-------------------------------------------------------------------------------------------===//

import BGAllocation
import BGDevices
import BGDiskFormat
import BGTrees

/// A group between the two steps.
struct LeavingGroup {
    let group: BlockGroup
    let wasReadOnly: Bool
}

extension GroupSource {
    /// Chooses an empty group to be taken away. Must be followed by `finishRemoving`.
    ///
    /// - Parameter keeping: bytes of metadata space that are to be left.
    /// - Throws: `.notFound` where no group begins there, `.busy` where something is in it or it is
    ///   the last one of metadata or SYSTEM, or too little would be left, `.readOnly`.
    func beginRemoving(
        groupAt logical: UInt64,
        keeping metadataBytes: UInt64,
        in allocator: Allocator
    ) throws(FilesystemError) -> LeavingGroup {
        guard let group = allocator.group(at: logical), group.logical == logical else {
            throw FilesystemError(.notFound, "block group", "none begins there", logical: logical)
        }
        try chunks.withLock { () throws(FilesystemError) in
            guard space != nil else { throw FilesystemError.openedReadOnly }
            try checkMayLeave(logical)
            leaving.insert(logical)
        }
        return try close(group, keeping: metadataBytes, in: allocator)
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

    /// Keeps claims out of a group that is in `leaving`, by this thread, and makes sure that it may go.
    private func close(
        _ group: BlockGroup,
        keeping metadataBytes: UInt64,
        in allocator: Allocator
    ) throws(FilesystemError) -> LeavingGroup {
        let logical = group.logical
        let leavingGroup = LeavingGroup(group: group, wasReadOnly: group.isReadOnly)
        // From here on nothing is claimed in it, so what is found free stays free.
        group.setReadOnly(true)
        let refusal = chunks.withLock { () -> StaticString? in
            guard isEmpty(group) else {
                return "holds claims, extents, or what the next commit frees"
            }
            // It counts no more, being read-only.
            let hasReserve =
                (!group.flags.contains(.metadata)
                    || freeBytes(of: metadataGroups, in: allocator) >= metadataBytes)
                && (!group.flags.contains(.system)
                    || hasSystemReserve(
                        in: systemGroups.filter { $0 != logical },
                        of: allocator
                    ))
            return hasReserve ? nil : "the next commit may need its space"
        }
        if let refusal {
            reopen(leavingGroup)
            throw FilesystemError(.busy, "block group", refusal, logical: logical)
        }
        return leavingGroup
    }

    /// Whether holes of groups that are gone, or about to be, wait for a commit.
    var isRemoving: Bool {
        chunks.withLock {
            !leaving.isEmpty
                || changes.contains { if case .removed = $0 { true } else { false } }
        }
    }

    private func reopen(_ leavingGroup: LeavingGroup) {
        leavingGroup.group.setReadOnly(leavingGroup.wasReadOnly)
        chunks.withLock { _ = leaving.remove(leavingGroup.group.logical) }
    }

    /// Takes away what `beginRemoving` chose. No lock is held.
    ///
    /// - Throws: `.noMemory`; the group is then as it was.
    func finishRemoving(
        _ leavingGroup: LeavingGroup,
        from allocator: Allocator
    ) throws(FilesystemError) {
        let logical = leavingGroup.group.logical
        do throws(AllocationError) {
            try allocator.removeGroup(logical: logical)
        } catch {
            reopen(leavingGroup)
            throw FilesystemError(allocation: error).located(logical: logical)
        }
        chunks.withLock {
            noteRemoved(logical)
            leaving.remove(logical)
        }
    }

    /// Chooses the empty groups of other types than `type` (one of each kind stays, so that its
    /// profile is not forgotten). Must be followed by `finishRemoving` for each.
    ///
    /// - Parameter keeping: bytes of metadata space that are to be left.
    func beginRemovingEmptyGroups(
        sparing type: ChunkFlags,
        keeping metadataBytes: UInt64,
        in allocator: Allocator
    ) -> [LeavingGroup] {
        let candidates = chunks.withLock {
            let found = emptyGroups(sparing: type, in: allocator)
            // At once, so that two threads together do not take the last of a kind.
            leaving.formUnion(found)
            return found
        }
        var closed: [LeavingGroup] = []
        for logical in candidates {
            guard let group = allocator.group(at: logical) else {
                chunks.withLock { _ = leaving.remove(logical) }
                continue
            }
            do throws(FilesystemError) {
                closed.append(try close(group, keeping: metadataBytes, in: allocator))
            } catch {
                // Somebody has just claimed in it, or what it has is needed.
                continue
            }
        }
        return closed
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
