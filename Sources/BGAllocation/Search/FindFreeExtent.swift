//===-- FindFreeExtent.swift - the search over groups --------------------------------------------===//
// The seed's find_free_extent and reserve_extent, with the numbers of the contract:
//   1. the hint's group first, and only at the hint itself;
//   2. every group of the space infos that match, in list order, read without a lock;
//   3. per group: a reference; its free space cached if that was never done; not when read-only;
//   4. a claim aligned inside the group's lock, inside the bounds; an exclusion sends the search
//      behind it, in the same group;
//   5. accepted: the reference goes, as on every other way out;
//   6. nothing found: again without the hint and with more slack; then without slack, after asking
//      for a chunk; then no space. reserveExtent halves the length before it gives up.
//
// A claim that may come from anywhere first asks the directories, which lead to the tightest run; the
// walk in list order is then the truth that a refusal rests on. Every loop has a bound: groups end,
// the limits below, 31 halvings.

internal import CShim

/// Slack that a search asks for once its hint has failed: empty_cluster of the seed.
private let emptyClusterBytes: UInt64 = 2 << 20

/// How often one search may ask for a chunk that then does not serve it. One that was long enough and
/// went to others does not count: they got on, and searchRoundsMax bounds that, too.
private let chunksAskedMax = 8
/// The same with a `searchEnd`, which a new chunk is likely to lie behind.
private let boundedChunksAskedMax = 1
/// How often one search is repeated because a chunk came that others had asked for.
private let searchRoundsMax = 4096

extension Allocator {
    /// Claims what is wished for, or half of it and so on down to its minimum.
    ///
    /// - Throws: `.noSpace`, or the error of a group that could not be cached.
    func reserveExtent(_ wish: Wish) throws(AllocationError) -> (sector: UInt64, count: UInt32) {
        var wish = wish
        while true {
            var sector: UInt64 = 0
            let result = findFreeExtent(wish, sector: &sector)
            if result == 0 { return (sector, wish.sectors) }
            if wish.sectors <= wish.sectorsMin {
                bgs_probe_refused(wish.flags, UInt64(wish.sectors), result)
                throw AllocationError(result: result)
            }
            wish.sectors = max(wish.sectors / 2, wish.sectorsMin)
        }
    }

    /// - Returns: 0 with `sector` set, or a negative errno.
    func findFreeExtent(_ wish: Wish, sector: inout UInt64) -> CInt {
        var emptySectors = wish.emptySectors
        if let hint = wish.hint {
            if claimAtHint(wish, hint, sector: &sector) { return 0 }
            emptySectors += emptyClusterBytes >> UInt64(sectorShift)
        }

        var cacheError: CInt = 0
        var asked = 0
        let askedMax = wish.end == UInt64.max ? chunksAskedMax : boundedChunksAskedMax
        for _ in 0..<searchRoundsMax {
            let generation = unsafe bgs_chunk_generation(core, wish.flags)
            if searchGroups(wish, emptySectors, sector: &sector, cacheError: &cacheError) {
                return 0
            }
            if asked == askedMax { break }
            var claimed = false
            let askedBefore = asked
            let groupsBefore = allocatesChunks ? groupCount(longEnoughFor: wish) : 0
            let chunk = allocateChunk(
                flags: wish.flags,
                sectors: wish.sectors,
                generation: generation,
                asked: &asked
            ) {
                claimed = searchGroups(wish, 0, sector: &sector, cacheError: &cacheError)
            }
            if claimed { return 0 }
            if chunk == 0, asked > askedBefore, wish.end == UInt64.max,
                groupCount(longEnoughFor: wish) > groupsBefore
            {
                asked = askedBefore
            }
            if chunk != 0 && emptySectors == 0 && !allocatesChunks { break }
            emptySectors = 0
            if chunk != 0 {
                // No chunk: what is left is the same groups without slack, and those that came
                // between this search and the refusal.
                if searchGroups(wish, 0, sector: &sector, cacheError: &cacheError) { return 0 }
                break
            }
        }
        return cacheError != 0 ? cacheError : -bgs_enospc
    }

    /// Groups that could serve the wish if they were empty.
    private func groupCount(longEnoughFor wish: Wish) -> Int {
        var count = 0
        var logical: UInt64 = 0
        // Ends: every group begins above the one before.
        while let group = reference(endingAbove: logical) {
            defer { group.put() }
            logical = group.logical + group.length
            if bgs_flags_match(group.flags.rawValue, wish.flags), !group.isReadOnly,
                group.length >= UInt64(wish.sectors) << UInt64(sectorShift)
            {
                count += 1
            }
        }
        return count
    }

    /// Step 1: the hint's own group, at the hint itself. What passes the hint's byte is refused.
    private func claimAtHint(_ wish: Wish, _ hint: UInt64, sector: inout UInt64) -> Bool {
        guard hint >= wish.start, let group = reference(at: hint << UInt64(sectorShift)) else {
            return false
        }
        defer { group.put() }
        guard bgs_flags_match(group.flags.rawValue, wish.flags), !group.isReadOnly,
            cacheFreeSpace(of: group) == 0
        else { return false }
        let (hintEnd, overflow) = hint.addingReportingOverflow(UInt64(wish.sectors))
        guard !overflow, hintEnd <= wish.end,
            hintEnd <= wish.excludeStart || hint >= wish.excludeEnd
        else { return false }
        let request = bgs_wish(
            sectors: wish.sectors,
            need: Wish.need(wish.sectors, wish.emptySectors),
            alignment: wish.alignment,
            from: hint,
            end: hintEnd
        )
        return claim(in: group, request, sector: &sector) == 0
    }

    /// Steps 2 to 5. `cacheError` receives the error of a group that was passed by for it.
    private func searchGroups(
        _ wish: Wish,
        _ emptySectors: UInt64,
        sector: inout UInt64,
        cacheError: inout CInt
    ) -> Bool {
        let need = Wish.need(wish.sectors, emptySectors)
        if wish.isAnywhere,
            unsafe bgs_allocator_claim(core, wish.flags, wish.sectors, need, &sector) == 0
        {
            return true
        }
        for index in 0..<spaceCount {
            let space = unsafe self.space(index)
            guard unsafe bgs_flags_match(space.pointee.flags, wish.flags) else { continue }
            var position: UInt32 = 0
            while let found = unsafe bgs_space_get_next(space, &position) {
                let group = unsafe GroupReference(opaque: found)
                defer { group.put() }
                // Read-only groups are not cached for a claim that cannot have them.
                if group.isReadOnly { continue }
                let cached = cacheFreeSpace(of: group)
                if cached != 0 {
                    // A group that has just gone is not one that might have served.
                    if !group.isRemoved { cacheError = cached }
                    continue
                }
                if claim(in: group, wish, need, sector: &sector) { return true }
            }
        }
        return false
    }

    /// Step 4 in one group: inside the bounds, around the exclusion.
    func claim(
        in group: GroupReference,
        _ wish: Wish,
        _ need: UInt32,
        sector: inout UInt64
    ) -> Bool {
        let shift = UInt64(sectorShift)
        let from = max(wish.start, group.logical >> shift)
        let end = min(wish.end, (group.logical + group.length) >> shift)
        var request = bgs_wish(
            sectors: wish.sectors,
            need: need,
            alignment: wish.alignment,
            from: from,
            end: end
        )
        guard wish.excludeStart < wish.excludeEnd, wish.excludeStart < end, from < wish.excludeEnd
        else {
            return claim(in: group, request, sector: &sector) == 0
        }
        // Below the exclusion, then behind it: nothing that touches it is ever taken.
        request.end = wish.excludeStart
        if from < wish.excludeStart, claim(in: group, request, sector: &sector) == 0 { return true }
        request.from = wish.excludeEnd
        request.end = end
        return wish.excludeEnd < end && claim(in: group, request, sector: &sector) == 0
    }

    private func claim(
        in group: GroupReference,
        _ request: bgs_wish,
        sector: inout UInt64
    ) -> CInt {
        var request = request
        return unsafe bgs_group_claim(group.pointer, &request, &sector)
    }

    /// find_space_for_alloc: claims from one cached group, at or above `from`.
    func findSpace(
        in group: GroupReference,
        sectors: UInt32,
        emptySectors: UInt64,
        alignment: UInt64,
        from: UInt64
    ) throws(AllocationError) -> UInt64 {
        var sector: UInt64 = 0
        let request = bgs_wish(
            sectors: sectors,
            need: Wish.need(sectors, emptySectors),
            alignment: alignment,
            from: from,
            end: UInt64.max
        )
        try check(claim(in: group, request, sector: &sector))
        return sector
    }

    /// Space infos there are now; more may come, none goes.
    var spaceCount: UInt32 { unsafe bgs_allocator_space_count(core) }

    func space(_ index: UInt32) -> UnsafeMutablePointer<bgs_space> {
        unsafe bgs_allocator_space(core, index)
    }
}
