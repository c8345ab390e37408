//===-- Allocator.swift - block groups, and the claims on them -----------------------------------===//
// Owns the shim's allocator and drives what is policy: adding and removing groups, when a group's
// free space is learnt, who asks for a chunk. Knows nothing of disks: a source tells what is free.
//
// Locks: none held while a source is called. See CShim/include/bgs_lock.h for the order of those
// that the shim takes.

internal import CShim

/// Where an allocator learns what is free, and gets more. Called on the thread whose claim needed it.
public protocol BlockGroupSource: AnyObject {
    /// Report the group's free ranges with `addFreeSpace`. Called once for each group, however many
    /// threads arrive; an error is kept with the group, and later claims pass the group by.
    func cacheFreeSpace(of group: BlockGroup) throws(AllocationError)

    /// Add a group of these flags with room for `length` bytes, or throw `.noSpace`. Called by one
    /// thread at a time for each type, while others that ran out of space wait.
    func allocateChunk(
        in allocator: Allocator,
        flags: BlockGroupFlags,
        length: UInt64
    ) throws(AllocationError)

    /// Whether any device has a hole for a chunk of these flags, for `explain`; nil: not known.
    func hasRoomForChunk(flags: BlockGroupFlags) -> Bool?

    /// What kept the free space of a group from being learnt, for people, in UTF-8; nil: no more is
    /// known than the error.
    func cacheFailureWords(ofGroupAt logical: UInt64) -> [UInt8]?
}

extension BlockGroupSource {
    public func cacheFailureWords(ofGroupAt logical: UInt64) -> [UInt8]? { nil }
}

/// A concurrent extent allocator over block groups. May be used from any number of threads.
@safe
public final class Allocator: @unchecked Sendable {
    /// The shim's state; freed with this object.
    let core: UnsafeMutablePointer<bgs_allocator>
    let source: (any BlockGroupSource)?
    private let cachesLazily: Bool
    let allocatesChunks: Bool

    /// Smallest unit of space, bytes.
    public var sectorSize: UInt64 { unsafe 1 << UInt64(core.pointee.sector_shift) }
    var sectorShift: UInt32 { unsafe UInt32(core.pointee.sector_shift) }

    /// An allocator without groups.
    ///
    /// - Parameters:
    ///   - sectorSize: bytes; a power of two from 512 to 65536.
    ///   - magazines: whether small claims may go through the processors' magazines.
    ///   - source: where free space comes from; nil: groups start out cached, and there are no more.
    ///   - cachesLazily: false: groups start out cached although there is a source.
    ///   - allocatesChunks: false: the source is never asked for a chunk.
    /// - Throws: `.invalidArgument`, `.noMemory`.
    public init(
        sectorSize: UInt64 = 4096,
        magazines: Bool = true,
        source: (any BlockGroupSource)? = nil,
        cachesLazily: Bool = true,
        allocatesChunks: Bool = true
    ) throws(AllocationError) {
        guard sectorSize >= 512, sectorSize <= 65536, sectorSize & (sectorSize - 1) == 0 else {
            throw AllocationError(.invalidArgument)
        }
        var created: UnsafeMutablePointer<bgs_allocator>?
        let shift = UInt32(sectorSize.trailingZeroBitCount)
        try unsafe check(bgs_allocator_create(shift, magazines, &created))
        unsafe core = created.unsafelyUnwrapped
        self.source = source
        self.cachesLazily = source != nil && cachesLazily
        self.allocatesChunks = source != nil && allocatesChunks
        unsafe core.pointee.owner = Unmanaged.passUnretained(self).toOpaque()
    }

    deinit { unsafe bgs_allocator_destroy(core) }

    static func owner(of core: UnsafeMutablePointer<bgs_allocator>) -> Allocator {
        unsafe Unmanaged<Allocator>.fromOpaque(core.pointee.owner).takeUnretainedValue()
    }

    // MARK: Groups

    /// Adds a group in which nothing is free until its free space is cached or added.
    ///
    /// - Parameters:
    ///   - logical: first byte, a multiple of the sector size; 0 is an address like any other.
    ///   - length: bytes, fewer than 2^31 sectors.
    ///   - superBytes: of super block copies inside; told by `explain`.
    /// - Throws: `.invalidArgument`, `.exists` when it overlaps a group, `.noMemory`.
    /// - Returns: the group.
    @discardableResult
    public func addGroup(
        logical: UInt64,
        length: UInt64,
        flags: BlockGroupFlags,
        readOnly: Bool = false,
        superBytes: UInt64 = 0
    ) throws(AllocationError) -> BlockGroup {
        let (end, overflow) = logical.addingReportingOverflow(length)
        guard (logical | length) & (sectorSize - 1) == 0, length != 0, !overflow,
            end <= UInt64.max - sectorSize, flags.isValidForGroup,
            length >> UInt64(sectorShift) < 1 << 31
        else { throw AllocationError(.invalidArgument) }
        // Not looked up by its address: others may have removed it and added another by then.
        var added: OpaquePointer?
        try unsafe check(
            bgs_allocator_add_group(
                core,
                logical,
                length,
                flags.rawValue,
                !cachesLazily,
                readOnly,
                superBytes,
                &added
            )
        )
        return unsafe BlockGroup(adopting: GroupReference(opaque: added.unsafelyUnwrapped))
    }

    /// Takes a group away while others may be searching. Waits until no reader can see it.
    ///
    /// - Throws: `.notFound` when no group begins there, `.busy` while claims are out, `.noMemory`.
    public func removeGroup(logical: UInt64) throws(AllocationError) {
        try unsafe check(bgs_allocator_remove_group(core, logical))
    }

    /// The group that holds an address. Lock-free.
    public func group(at logical: UInt64) -> BlockGroup? {
        reference(at: logical).map { BlockGroup(adopting: $0) }
    }

    /// The same as a bare reference, which the caller puts.
    package func reference(at logical: UInt64) -> GroupReference? {
        guard let group = unsafe bgs_allocator_get_group(core, logical) else { return nil }
        return unsafe GroupReference(opaque: group)
    }

    /// The first group that ends above an address, as a bare reference, which the caller puts.
    package func reference(endingAbove logical: UInt64) -> GroupReference? {
        guard let group = unsafe bgs_allocator_get_next_group(core, logical) else { return nil }
        return unsafe GroupReference(opaque: group)
    }

    /// Visits the groups in address order, without a lock; groups that come or go meanwhile may be
    /// seen or not. `body` returns false to stop.
    public func forEachGroup(_ body: (BlockGroup) -> Bool) {
        var logical: UInt64 = 0
        // Ends: every group begins above the one before.
        while let reference = reference(endingAbove: logical) {
            let group = BlockGroup(adopting: reference)
            logical = group.logical + group.length
            if !body(group) { return }
        }
    }

    /// Times that groups' free-space locks were taken, and found taken.
    public var lockCounts: (taken: UInt64, contended: UInt64) {
        var taken: UInt64 = 0
        var contended: UInt64 = 0
        unsafe bgs_allocator_lock_counts(core, &taken, &contended)
        return (taken, contended)
    }

    /// Memory of all groups and their free-space indexes, bytes.
    public var memoryBytes: UInt64 { unsafe bgs_allocator_bytes(core) }

    // MARK: Caching and chunks

    /// Learns a group's free space, or waits for the thread that does.
    ///
    /// - Returns: 0 or the negative errno that is kept with the group; 0 to the thread that is just
    ///   learning it, which sees what it has reported so far.
    package func cacheFreeSpace(of reference: GroupReference) -> CInt {
        if reference.isCached { return 0 }
        guard unsafe bgs_caching_begin(core, reference.pointer) else { return reference.cacheError }
        var result: CInt = 0
        if let source {
            do throws(AllocationError) {
                try source.cacheFreeSpace(of: BlockGroup(reference))
            } catch {
                result = -error.errno
            }
        }
        // A claim never says that memory is short (the contract): to whoever only wants space, a
        // group that could not be read for want of it is one that could not be read.
        if result == -bgs_enomem { result = -bgs_eio }
        unsafe bgs_caching_end(core, reference.pointer, result)
        return result
    }

    /// Asks the source for a chunk, unless another thread did since `generation`.
    ///
    /// - Parameters:
    ///   - asked: counted up when this thread asked.
    ///   - takeFirst: called when a chunk came that this thread asked for, before those go on that
    ///     wait for it: otherwise they might leave it nothing, time and again.
    /// - Returns: 0 or the negative errno of whoever asked.
    func allocateChunk(
        flags: UInt64,
        sectors: UInt32,
        generation: UInt64,
        asked: inout Int,
        takeFirst: () -> Void
    ) -> CInt {
        guard allocatesChunks, let source else { return -bgs_enospc }
        var result: CInt = 0
        guard unsafe bgs_chunk_begin(core, flags, sectors, generation, &result) else {
            return result
        }
        asked += 1
        let length = UInt64(sectors) << UInt64(sectorShift)
        do throws(AllocationError) {
            try source.allocateChunk(
                in: self,
                flags: BlockGroupFlags(rawValue: flags),
                length: length
            )
        } catch {
            result = -error.errno
        }
        if result == 0 { takeFirst() }
        unsafe bgs_chunk_end(core, flags, result)
        bgs_probe_chunk(flags, length, result)
        return result
    }

    /// What kept a group's free space from being learnt, in words: of `group`, or of the first one of
    /// these flags that has this error.
    ///
    /// - Returns: false: no more is known than the error.
    package func appendCacheFailure(
        of group: GroupReference?,
        _ flags: BlockGroupFlags,
        _ error: AllocationError,
        to text: inout TextBuffer
    ) -> Bool {
        let found = group?.logical ?? firstGroup(of: flags, withCacheError: -error.errno)
        guard let found, let words = source?.cacheFailureWords(ofGroupAt: found) else {
            return false
        }
        text.append("block group ")
        text.append(found)
        text.append(": ")
        for byte in words { text.append(byte: byte) }
        return true
    }

    private func firstGroup(of flags: BlockGroupFlags, withCacheError result: CInt) -> UInt64? {
        var logical: UInt64 = 0
        // Ends: every group begins above the one before.
        while let group = reference(endingAbove: logical) {
            defer { group.put() }
            if group.cacheError == result,
                bgs_flags_match(group.flags.rawValue, flags.rawValue)
            {
                return group.logical
            }
            logical = group.logical + group.length
        }
        return nil
    }

    /// Whether the source knows of room for a chunk; nil: not known.
    func hasRoomForChunk(flags: BlockGroupFlags) -> Bool? {
        source?.hasRoomForChunk(flags: flags)
    }

    // MARK: Claims

    /// Takes a range out of free space: the seed's reserve_extent.
    ///
    /// May call the source, to learn a group's free space or for a chunk.
    /// - Throws: `.noSpace`; `.invalidArgument`; the error of a group that could not be cached and
    ///   might have served.
    public func claim(_ request: ClaimRequest) throws(AllocationError) -> ClaimedExtent {
        let extent = try claimExtent(request)
        return ClaimedExtent(logical: extent.logical, length: extent.length, allocator: self)
    }

    /// The same, ending in a plain value that the caller must give back or record.
    package func claimExtent(_ request: ClaimRequest) throws(AllocationError) -> Extent {
        if request.isPlain, request.flags.isValidForClaim {
            let handle = unsafe AllocatorHandle(core)
            let flags = request.flags.rawValue
            if let logical = handle.claimAnywhere(flags: flags, length: request.length) {
                return Extent(logical: logical, length: request.length)
            }
        }
        let found = try reserveExtent(try Wish(request, sectorShift: sectorShift))
        let shift = UInt64(sectorShift)
        return Extent(logical: found.sector << shift, length: UInt64(found.count) << shift)
    }

    /// Claims from one group alone: the seed's find_space_for_alloc.
    package func claim(
        _ request: ClaimRequest,
        in group: GroupReference
    ) throws(AllocationError) -> Extent {
        var request = request
        // The group has been chosen: flags are one wish less, not a bad one.
        if request.flags.rawValue == 0 { request.flags = group.flags }
        let wish = try Wish(request, sectorShift: sectorShift)
        guard UInt64(wish.sectors) << UInt64(sectorShift) == request.length else {
            throw AllocationError(.noSpace)
        }
        try check(cacheFreeSpace(of: group))
        let sector = try findSpace(
            in: group,
            sectors: wish.sectors,
            emptySectors: wish.emptySectors,
            alignment: wish.alignment,
            from: wish.start
        )
        return Extent(logical: sector << UInt64(sectorShift), length: request.length)
    }

    /// Undoes a claim or a part of one. Never fails for want of memory.
    ///
    /// - Throws: `.invalidArgument` (unaligned, in no group, across a group's end, or more than is
    ///   claimed), `.exists` when some of it is free already.
    public func giveBack(_ extent: Extent) throws(AllocationError) {
        try check(giveBack(extent.logical, extent.length))
    }

    /// Ends a claim whose range a tree now owns: it no longer counts as claimed, and comes back
    /// with `BlockGroup.addFreeSpace`.
    ///
    /// - Throws: `.notFound` for an address in no group, `.invalidArgument` for more than is claimed
    ///   there.
    package func own(_ extent: Extent) throws(AllocationError) {
        guard let group = reference(at: extent.logical) else { throw AllocationError(.notFound) }
        defer { group.put() }
        try unsafe check(bgs_group_own(group.pointer, extent.length >> UInt64(sectorShift)))
    }

    /// - Returns: 0 or a negative errno.
    @usableFromInline
    package func giveBack(_ logical: UInt64, _ length: UInt64) -> CInt {
        unsafe AllocatorHandle(core).giveBack(logical, length)
    }
}
