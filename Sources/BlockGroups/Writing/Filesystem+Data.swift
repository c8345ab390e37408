//===-- Filesystem+Data.swift - space for data, and bytes into it -----------------------------------===//
// For files, and for engines that place data themselves: claim, write to every copy, have the extent
// recorded. The checksums are computed where the bytes are at hand.
//
// Invariants:
//   1. What a tree records, or what the last commit does, is never written over.
//
// Locks: none of these may be called with a lock held but a file's.
//===-------------------------------------------------------------------------------------------===//

public import BGAllocation
import BGDevices
public import BGDiskFormat
import BGTrees

/// Bytes that one step of reading back handles.
private let pieceBytes: UInt64 = 1 << 20

extension Filesystem {
    /// Claims space for data. Removes what a crash left, commits, and takes empty groups of metadata
    /// away, where that is what gets space.
    ///
    /// - Parameters:
    ///   - length: bytes, whole sectors.
    ///   - lengthMin: the least that will do; 0: all or nothing.
    ///   - hint: an address to continue at, where it is free.
    /// - Throws: `.noSpace`, `.invalidArgument`, `.readOnly`, or why a group's free space could not be
    ///   read, or a commit failed.
    public func claimData(
        length: UInt64,
        lengthMin: UInt64 = 0,
        hint: UInt64? = nil
    ) throws(FilesystemError) -> ClaimedExtent {
        var request = ClaimRequest(length: length, flags: .data)
        request.lengthMin = lengthMin
        request.hint = hint
        return try claimData(request)
    }

    /// The same with every wish that the allocator knows; a profile among the flags is one.
    ///
    /// - Throws: `.invalidArgument` also for flags of another type than data.
    public func claimData(_ request: ClaimRequest) throws(FilesystemError) -> ClaimedExtent {
        _ = try writableTrees()
        var request = request
        guard request.flags.contains(.data), !request.flags.contains(.system) else {
            throw FilesystemError(.invalidArgument, "claim", "is not for data")
        }
        if isMixed { request.flags.formUnion(.metadata) }
        // What one round gives back, others may take.
        let roundsMax = 5
        for _ in 0..<roundsMax {
            do throws(FilesystemError) {
                return try claimLeavingReserve(request)
            } catch {
                guard error.code == .noSpace, try makeRoom(sparing: .data) else { throw error }
            }
        }
        return try claimLeavingReserve(request)
    }

    /// Whether data and metadata share their groups.
    var isMixed: Bool { reader.superBlock.incompat.contains(.mixedGroups) }

    private func claimLeavingReserve(
        _ request: ClaimRequest
    ) throws(FilesystemError) -> ClaimedExtent {
        // With the tree mutex held no commit comes to need what is counted here.
        guard isMixed else { return try claim(request) }
        let extent = try writableTrees().read { (transaction) throws(FilesystemError) in
            let reserve = bytesToKeep(transaction)
            let least = request.lengthMin > 0 ? request.lengthMin : request.length
            if try source.growMetadata(to: reserve.end(adding: least) ?? .max, in: allocator) {
                let most = reserve.end(adding: request.length) ?? .max
                _ = try source.growMetadata(to: most, partly: true, in: allocator)
            }
            let free = source.freeMetadataBytes(in: allocator)
            let spare = (free - min(free, reserve)) & ~(sectorSize - 1)
            guard spare >= least else {
                throw FilesystemError(.noSpace, "data", "what is left is kept for removing")
            }
            var request = request
            if request.lengthMin > 0 { request.length = min(request.length, spare) }
            return try claim(request).commit()
        }
        return ClaimedExtent(extent, of: allocator)
    }

    private func claim(_ request: ClaimRequest) throws(FilesystemError) -> ClaimedExtent {
        do throws(AllocationError) {
            return try allocator.claim(request)
        } catch {
            throw FilesystemError(allocation: error)
        }
    }

    /// Claims space for a file's data: all of `length` where that can be had, otherwise less.
    func claimFileData(length: UInt64) throws(FilesystemError) -> Extent {
        try claimData(length: length, lengthMin: sectorSize).commit()
    }

    /// Ends a claim whose recording failed, unless it was recorded and only what came after failed.
    func giveBackFileData(_ extent: Extent) {
        do throws(FilesystemError) {
            let isRecorded = try readTrees { (transaction) throws(FilesystemError) in
                try transaction.isRecorded(logical: extent.logical, length: extent.length)
            }
            guard !isRecorded else { return }
        } catch {
            // Nobody can tell any more whose the range is: it stays out of use.
            return
        }
        do throws(AllocationError) { try allocator.giveBack(extent) } catch {}
    }

    // MARK: writing

    /// Writes bytes to every copy of space that the caller claimed for data. They are durable when a
    /// commit that began later is, and belong to a file once the extent is attached to one.
    ///
    /// Two writes of the same bytes at once, or a write beside the recording of its extent, are the
    /// caller's to prevent.
    ///
    /// - Throws: `.invalidArgument` where some of the range is free, in no group, or in one that is
    ///   not for data; `.busy` where a tree records some; `.readOnly`; `.io`.
    public func write(
        logical: UInt64,
        from buffer: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        _ = try writableTrees()
        guard buffer.count > 0 else { return }
        let first = logical & ~(sectorSize - 1)
        guard let last = logical.end(adding: UInt64(buffer.count)),
            let end = last.end(adding: sectorSize - 1)
        else {
            throw FilesystemError(.invalidArgument, "write", "passes the last address")
        }
        let sectors = Extent(logical: first, length: (end & ~(sectorSize - 1)) - first)
        try checkClaimed(sectors)
        host.sums.forget(logical: sectors.logical, length: sectors.length)
        try unsafe reader.volume.write(logical: logical, from: buffer)
        unsafe rememberSums(logical, buffer)
    }

    /// Keeps the checksums of the whole sectors among the bytes.
    private func rememberSums(_ logical: UInt64, _ buffer: UnsafeRawBufferPointer) {
        let head = Int((sectorSize - logical % sectorSize) % sectorSize)
        guard buffer.count > head else { return }
        let count = (buffer.count - head) & ~Int(sectorSize - 1)
        guard count > 0 else { return }
        let whole = unsafe UnsafeRawBufferPointer(rebasing: buffer[head..<head + count])
        let sums = host.sums.compute(unsafe whole.bytes)
        host.sums.remember(logical: logical + UInt64(head), sums)
    }

    /// Writes whole sectors to every copy of claimed space, without a look at who claimed it.
    ///
    /// - Returns: the checksums, as `Transaction.setChecksums` takes them.
    package func writeData(
        logical: UInt64,
        _ bytes: RawSpan
    ) throws(FilesystemError) -> [UInt8] {
        host.sums.forget(logical: logical, length: UInt64(bytes.byteCount))
        let sums = host.sums.compute(bytes)
        try reader.volume.write(logical: logical, bytes)
        return sums
    }

    // MARK: before an extent is recorded

    /// The checksums of a claimed extent about to be recorded: those that `write` remembers, the
    /// rest by reading back. Not to be called inside `change`.
    package func checksums(
        ofClaimed extent: Extent
    ) throws(FilesystemError) -> [UInt8] {
        var sums: [UInt8] = []
        sums.reserveCapacity(Int(extent.length / sectorSize) * host.sums.type.byteCount)
        let end = extent.logical + extent.length
        var from = extent.logical
        while from < end {
            if host.sums.append(sumAt: from, to: &sums) {
                from += sectorSize
                continue
            }
            // As many as follow that are not known either are read at once.
            let limit = min(end, from + pieceBytes)
            var stop = from + sectorSize
            var known: [UInt8] = []
            while stop < limit, !host.sums.append(sumAt: stop, to: &known) { stop += sectorSize }
            sums += try sumsOnDevice(from, stop - from)
            from = stop
        }
        return sums
    }

    private func sumsOnDevice(
        _ logical: UInt64,
        _ length: UInt64
    ) throws(FilesystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(length))
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        try reader.volume.read(logical: logical, into: &raw)
        return host.sums.compute(raw.bytes)
    }

    /// Refuses what cannot be a caller's claim for data.
    ///
    /// - Throws: `.invalidArgument` for a range that is empty, unaligned, not inside one data group,
    ///   partly free, or more than is claimed there; `.busy` where a tree records some.
    package func checkClaim(_ extent: Extent) throws(FilesystemError) {
        try checkClaimed(extent)
        guard let group = allocator.group(at: extent.logical),
            extent.length <= group.logical + group.length - extent.logical
        else {
            throw FilesystemError(
                .invalidArgument,
                "extent",
                "% bytes leave the block group",
                extent.length,
                logical: extent.logical
            )
        }
        guard group.reference.claimedBytes >= extent.length else {
            throw FilesystemError(
                .invalidArgument,
                "extent",
                "% bytes, more than is claimed in the block group",
                extent.length,
                logical: extent.logical
            )
        }
    }

    /// Throws unless the range is whole sectors in data groups of which none is free and no tree
    /// records any.
    private func checkClaimed(_ extent: Extent) throws(FilesystemError) {
        func refused(_ what: StaticString, _ logical: UInt64) -> FilesystemError {
            FilesystemError(.invalidArgument, "data", what, extent.length, logical: logical)
        }
        guard extent.length > 0, (extent.logical | extent.length) % sectorSize == 0,
            let end = extent.logical.end(adding: extent.length)
        else {
            throw refused("a range of % bytes is empty or not whole sectors", extent.logical)
        }
        var from = extent.logical
        while from < end {
            guard let group = allocator.group(at: from) else {
                throw refused("no block group holds it", from)
            }
            guard group.flags.contains(.data) else {
                throw refused("the block group is not for data", from)
            }
            let stop = min(end, group.logical + group.length)
            // One that was never cached has no claims.
            guard group.reference.isCached, !group.reference.hasFree(from, stop - from) else {
                throw refused("nobody has claimed all of the % bytes", from)
            }
            from = stop
        }
        let isRecorded = try readTrees { (transaction) throws(FilesystemError) in
            try transaction.isRecorded(logical: extent.logical, length: extent.length)
        }
        guard !isRecorded else { throw .recorded(extent) }
    }
}

extension FilesystemError {
    /// A range that a caller takes for his claim is a tree's.
    static func recorded(_ extent: Extent) -> FilesystemError {
        FilesystemError(
            .busy,
            "data",
            "an extent is recorded among the % bytes",
            extent.length,
            logical: extent.logical
        )
    }
}
