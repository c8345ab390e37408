//===-- Explain.swift - why a claim is refused ---------------------------------------------------===//
// One line a group: what it lacked. On demand only, from a snapshot of each group. Nothing is cached
// for it; a group that has room is asked by a claim that is given back at once.

internal import CShim

extension Allocator {
    /// Writes why a claim would be refused, or that it would not be.
    package func explain(_ request: ClaimRequest, into text: inout TextBuffer)
        throws(AllocationError)
    {
        let wish = try explainable(request)
        append(request, to: &text)

        var groups = 0
        var fitting = 0
        var unknown = 0
        var logical: UInt64 = 0
        while let group = reference(endingAbove: logical) {
            defer { group.put() }
            logical = group.logical + group.length
            groups += 1
            switch append(group, wish, to: &text) {
            case .some(true): fitting += 1
            case .some(false): break
            case .none: unknown += 1
            }
        }
        if groups == 0 { text.append("there is no block group\n") }
        if fitting > 0 {
            text.append("a claim made now would find space\n")
        } else if unknown > 0 {
            text.append("a claim made now would read the free space of ")
            text.append(UInt64(unknown))
            text.append(unknown == 1 ? " group first\n" : " groups first\n")
        } else {
            appendChunks(request.flags, to: &text)
        }
    }

    /// The same as a string.
    public func explain(_ request: ClaimRequest) throws(AllocationError) -> String {
        var capacity = 4096
        // Twice at most: groups may come meanwhile, then the text is cut.
        for _ in 0..<2 {
            let bytes = UnsafeMutableBufferPointer<CChar>.allocate(capacity: capacity)
            defer { unsafe bytes.deallocate() }
            var text = unsafe TextBuffer(bytes)
            try explain(request, into: &text)
            text.finish()
            if text.length < capacity || capacity > 4096 {
                return unsafe String(cString: bytes.baseAddress!)
            }
            capacity = text.length * 2
        }
        return ""
    }

    /// The request as a wish. Of more than any group can have, one sector more than that is left.
    private func explainable(_ request: ClaimRequest) throws(AllocationError) -> Wish {
        do throws(AllocationError) {
            return try Wish(request, sectorShift: sectorShift)
        } catch {
            guard error.code == .noSpace else { throw error }
        }
        var short = request
        short.length = sectorSize
        short.lengthMin = 0
        var wish = try Wish(short, sectorShift: sectorShift)
        wish.sectors = 1 << 31
        wish.sectorsMin = wish.sectors
        return wish
    }

    private func append(_ request: ClaimRequest, to text: inout TextBuffer) {
        text.append("wanted: ")
        text.append(bytes: request.length)
        if request.lengthMin != 0, request.lengthMin < request.length {
            text.append(", at least ")
            text.append(bytes: request.lengthMin)
        }
        text.append(" of ")
        appendWords(request.flags, to: &text)
        if request.emptySize != 0 {
            text.append(", in a run with ")
            text.append(bytes: request.emptySize)
            text.append(" more")
        }
        if request.alignment != 0 {
            text.append(", aligned to ")
            text.append(bytes: request.alignment)
        }
        text.append("\n")
    }

    private func appendWords(_ flags: BlockGroupFlags, to text: inout TextBuffer) {
        // A claim without a profile bit takes any; single is said only where it was asked for.
        if flags.isDisjoint(with: [.profiles, .availSingle]) {
            switch flags.intersection(.types) {
            case .data: text.append("DATA")
            case .metadata: text.append("METADATA")
            case .system: text.append("SYSTEM")
            default: text.append("DATA|METADATA")
            }
            text.append(" (any profile)")
            return
        }
        var copy = text
        flags.forEachWord { copy.append($0) }
        text = copy
    }

    /// - Returns: whether the group has room; nil: its free space is not known yet.
    private func append(_ group: GroupReference, _ wish: Wish, to text: inout TextBuffer) -> Bool? {
        let statistics = group.statistics
        text.append("group ")
        text.append(group.logical)
        text.append(" (")
        text.append(bytes: group.length)
        text.append(", ")
        var copy = text
        group.flags.forEachWord { copy.append($0) }
        text = copy
        text.append("): ")
        defer { text.append("\n") }

        guard bgs_flags_match(group.flags.rawValue, wish.flags) else {
            text.append("wrong type or profile")
            return false
        }
        if statistics.isReadOnly {
            text.append("read-only")
            return false
        }
        if !statistics.isCached {
            if group.cacheError != 0 {
                text.append("its free space could not be read: ")
                if let words = source?.cacheFailureWords(ofGroupAt: group.logical) {
                    for byte in words { text.append(byte: byte) }
                } else {
                    text.append("error ")
                    text.append(UInt64(-group.cacheError))
                }
                return false
            }
            if group.length < UInt64(wish.sectorsMin) << UInt64(sectorShift) {
                text.append("shorter than what is wanted")
                return false
            }
            text.append("not cached yet, so a claim would read its free space first")
            return nil
        }
        return appendRoom(statistics, group, wish, to: &text)
    }

    private func appendRoom(
        _ statistics: BlockGroupStatistics,
        _ group: GroupReference,
        _ wish: Wish,
        to text: inout TextBuffer
    ) -> Bool {
        let leastBytes = UInt64(wish.sectorsMin) << UInt64(sectorShift)
        text.append(bytes: statistics.freeBytes)
        text.append(" free")
        if statistics.freeBytes > 0 {
            text.append(" in ")
            text.append(statistics.runCount)
            text.append(statistics.runCount == 1 ? " run" : " runs, the largest ")
            if statistics.runCount != 1 { text.append(bytes: statistics.largestRun) }
        }
        if group.superBytes > 0 {
            text.append(", ")
            text.append(bytes: group.superBytes)
            text.append(" kept for super block copies")
        }
        if statistics.freeBytes < leastBytes {
            text.append(group.length < leastBytes ? ": shorter than what is wanted" : ": too full")
            return false
        }
        if statistics.largestRun < leastBytes {
            text.append(": too fragmented")
            return false
        }
        // Room as such there is; what is left are the bounds, which only a search can weigh.
        guard let extent = probe(group, wish) else {
            text.append(": no run inside the bounds, alignment and slack asked for")
            return false
        }
        text.append(": has room, at ")
        text.append(extent << UInt64(sectorShift))
        return true
    }

    /// Where the group would serve the smallest length that will do; nil: nowhere.
    private func probe(_ group: GroupReference, _ wish: Wish) -> UInt64? {
        var least = wish
        least.sectors = wish.sectorsMin
        var sector: UInt64 = 0
        // Slack and hint are wishes that a search gives up before it refuses.
        guard claim(in: group, least, least.sectors, sector: &sector) else { return nil }
        // Refused only where a caller's wrong give-back hit the same range meanwhile: it is free then.
        _ = unsafe bgs_group_give_back(group.pointer, sector, UInt64(least.sectors))
        return sector
    }

    private func appendChunks(_ flags: BlockGroupFlags, to text: inout TextBuffer) {
        switch hasRoomForChunk(flags: flags) {
        case .some(true) where allocatesChunks:
            text.append("a device has a hole for a chunk\n")
        case .some(true):
            text.append("the devices have holes for a chunk, but none can be allocated here\n")
        case .some(false):
            text.append("no device has a hole for a chunk\n")
        case .none where allocatesChunks:
            text.append("a chunk would be asked for\n")
        case .none:
            text.append("no chunk can be allocated here\n")
        }
    }
}
