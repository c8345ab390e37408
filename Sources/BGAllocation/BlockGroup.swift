//===-- BlockGroup.swift - a block group as Swift sees it ----------------------------------------===//
// GroupReference is a bare pointer to the shim's group, for code that holds a reference or a read
// section already; BlockGroup is a reference that ends by itself.
//
// Locks: every call takes the group's free-space lock for itself, and none is held on return.

internal import CShim

/// A snapshot of one group. Bytes, except `runCount`.
public struct BlockGroupStatistics: Sendable {
    public var logical: UInt64
    public var length: UInt64
    public var flags: BlockGroupFlags
    /// Free and claimable, magazines and clusters included.
    public var freeBytes: UInt64
    /// Claimed and not yet given back.
    public var claimedBytes: UInt64
    public var largestRun: UInt64
    public var runCount: UInt64
    public var isReadOnly: Bool
    /// Its free space is known.
    public var isCached: Bool
    /// Memory that the group's index takes.
    public var indexBytes: UInt64
}

/// A group that somebody else keeps alive.
@safe
package struct GroupReference {
    /// A `struct bgs_group`, which Swift cannot import for its alignment.
    let pointer: OpaquePointer

    @inline(__always)
    package init(opaque: OpaquePointer) {
        unsafe pointer = opaque
    }

    package var opaque: OpaquePointer { unsafe pointer }

    package var logical: UInt64 { unsafe bgs_group_logical(pointer) }
    package var length: UInt64 { unsafe bgs_group_length(pointer) }
    package var flags: BlockGroupFlags {
        BlockGroupFlags(rawValue: unsafe bgs_group_flags(pointer))
    }
    package var isReadOnly: Bool { unsafe bgs_group_is_read_only(pointer) }
    var isRemoved: Bool { unsafe bgs_group_is_removed(pointer) }
    /// Super block copies inside the group, bytes: never free here, free on disk.
    package var superBytes: UInt64 { unsafe bgs_group_super_bytes(pointer) }
    var sectorShift: UInt32 {
        unsafe UInt32(bgs_group_allocator(pointer).pointee.sector_shift)
    }
    package var allocator: Allocator { unsafe Allocator.owner(of: bgs_group_allocator(pointer)) }

    package func get() { unsafe bgs_group_get(pointer) }
    package func put() { unsafe bgs_group_put(pointer) }

    /// The range in sectors, or nil unless it is whole sectors of this group.
    @inline(__always)
    func sectors(_ logical: UInt64, _ length: UInt64) -> (first: UInt64, count: UInt64)? {
        let shift = UInt64(sectorShift)
        let offset = logical &- self.logical
        guard (logical | length) & ((1 &<< shift) &- 1) == 0, length != 0,
            logical >= self.logical, offset < self.length, length <= self.length &- offset
        else { return nil }
        return (logical &>> shift, length &>> shift)
    }

    /// Says that a range is free, if that is what nearly every call for a shattered group is.
    ///
    /// - Returns: false, with nothing changed: `addFreeSpace` decides.
    @inline(__always)
    package func addFreeSpaceAlone(_ logical: UInt64, _ length: UInt64) -> Bool {
        #if DEBUG
            // Locks are checked where C takes them.
            return false
        #else
            return unsafe bgs_group_add_alone(pointer, logical, length)
        #endif
    }

    /// - Returns: 0 or a negative errno: EINVAL, EEXIST.
    package func addFreeSpace(_ logical: UInt64, _ length: UInt64) -> CInt {
        unsafe bgs_group_add(pointer, logical, length)
    }

    /// - Returns: 0 or a negative errno: EINVAL, ENOENT.
    package func removeFreeSpace(_ logical: UInt64, _ length: UInt64) -> CInt {
        guard let range = sectors(logical, length) else { return -bgs_einval }
        return unsafe bgs_group_remove(pointer, range.first, range.count)
    }

    package func setReadOnly(_ readOnly: Bool) { unsafe bgs_group_set_read_only(pointer, readOnly) }

    package var statistics: BlockGroupStatistics {
        var numbers = bgs_group_numbers()
        let shift = sectorShift
        unsafe bgs_group_numbers(pointer, &numbers)
        let claimed = numbers.added_sectors &- numbers.free_sectors
        return BlockGroupStatistics(
            logical: logical,
            length: length,
            flags: flags,
            freeBytes: numbers.free_sectors << shift,
            // What was never claimed may have been given back: then there are no claims to tell of.
            claimedBytes: numbers.free_sectors > numbers.added_sectors ? 0 : claimed << shift,
            largestRun: UInt64(numbers.largest_run) << shift,
            runCount: numbers.run_count,
            isReadOnly: numbers.state & UInt32(BGS_GROUP_READ_ONLY) != 0,
            isCached: numbers.caching == BGS_CACHING_FINISHED.rawValue,
            indexBytes: numbers.index_bytes
        )
    }

    /// Free bytes of a cached group, found without calling back what is lent.
    package var freeBytes: UInt64 { unsafe bgs_group_free_sectors(pointer) << sectorShift }

    /// Claimed and not yet given back or owned.
    package var claimedBytes: UInt64 { statistics.claimedBytes }

    /// Whether any of a range is free in this group; the range is whole sectors inside it.
    package func hasFree(_ logical: UInt64, _ length: UInt64) -> Bool {
        guard let range = sectors(logical, length) else { return false }
        return unsafe bgs_group_has_free(pointer, range.first, range.count)
    }

    /// The first free run that ends above an address, whole; nil when there is none.
    package func nextFree(endingAbove logical: UInt64) -> (logical: UInt64, length: UInt64)? {
        var sector: UInt64 = 0
        var count: UInt64 = 0
        let shift = sectorShift
        guard unsafe bgs_group_next_free(pointer, logical >> shift, &sector, &count) else {
            return nil
        }
        return (sector << shift, count << shift)
    }

    /// What kept the group from being cached: 0 or a negative errno.
    package var cacheError: CInt { unsafe bgs_group_cache_error(pointer) }

    package var isCached: Bool {
        unsafe bgs_group_caching(pointer) == BGS_CACHING_FINISHED.rawValue
    }
}

/// A block group: a whole-chunk area of the logical address space that hands out extents.
///
/// Keeps the group, which stays usable after it was removed, and its allocator with what that keeps: its
/// source, and of a file system's the devices. May be used from any number of threads.
public final class BlockGroup: @unchecked Sendable {
    package let reference: GroupReference
    private let allocator: Allocator

    /// Takes over a reference that was taken for it.
    init(adopting reference: GroupReference) {
        self.reference = reference
        allocator = reference.allocator
    }

    /// Takes a reference of its own.
    package convenience init(_ reference: GroupReference) {
        reference.get()
        self.init(adopting: reference)
    }

    deinit { reference.put() }

    /// First byte, logical.
    public var logical: UInt64 { reference.logical }
    /// Bytes.
    public var length: UInt64 { reference.length }
    public var flags: BlockGroupFlags { reference.flags }
    public var statistics: BlockGroupStatistics { reference.statistics }
    /// Super block copies inside the group, bytes: never free here, free on disk.
    public var superBytes: UInt64 { reference.superBytes }
    public var isReadOnly: Bool { reference.isReadOnly }

    /// Stops or allows claims. When it returns, no claim that began later takes from the group.
    public func setReadOnly(_ readOnly: Bool) { reference.setReadOnly(readOnly) }

    /// Says that a range is free that no claim holds. Never fails for want of memory.
    ///
    /// - Throws: `.invalidArgument`; `.exists` when some of it is free already.
    public func addFreeSpace(logical: UInt64, length: UInt64) throws(AllocationError) {
        try check(reference.addFreeSpace(logical, length))
    }

    /// Says that a free range, which may span several runs, is in use.
    ///
    /// - Throws: `.invalidArgument`; `.notFound` when some of it is not free.
    public func removeFreeSpace(logical: UInt64, length: UInt64) throws(AllocationError) {
        try check(reference.removeFreeSpace(logical, length))
    }

    /// The first free run that ends above an address, whole; nil when there is none.
    public func nextFree(endingAbove logical: UInt64) -> (logical: UInt64, length: UInt64)? {
        reference.nextFree(endingAbove: logical)
    }

    /// Learns the group's free space where that has not been done, or waits for who does it.
    ///
    /// - Throws: the error that reading it gave, each time again.
    public func cache() throws(AllocationError) {
        try check(reference.allocator.cacheFreeSpace(of: reference))
    }

    /// The seed's find_space_for_alloc: claims from this group alone. `length`, `emptySize`,
    /// `alignment` and `searchStart` count.
    ///
    /// - Throws: `.noSpace`, `.invalidArgument`, `.readOnly`, or what kept it from being cached.
    public func claim(_ request: ClaimRequest) throws(AllocationError) -> ClaimedExtent {
        let allocator = reference.allocator
        let extent = try allocator.claim(request, in: reference)
        return ClaimedExtent(logical: extent.logical, length: extent.length, allocator: allocator)
    }
}

/// Turns 0 or a negative errno into a throw.
@inline(__always)
package func check(_ result: CInt) throws(AllocationError) {
    if result != 0 { throw AllocationError(result: result) }
}
