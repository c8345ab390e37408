//===-- Cluster.swift - a run set aside for one kind of writer -----------------------------------===//
// Claims of one writer that belong together, such as the tree blocks of one commit, lie side by side:
// a cluster takes a long run once and serves it from its start. What it has not served counts as free
// and goes back before anybody else is refused (bgs_group_recall).
//
// Invariant: the run lies in one group of the cluster's flags.
// Locks: the shim's; see CShim/include/bgs_cluster.h. Not here: alignment, hints, bounds.

internal import CShim

/// A run set aside for one kind of writer.
@safe
public final class Cluster: @unchecked Sendable {
    private let cluster: UnsafeMutablePointer<bgs_cluster>
    private let allocator: Allocator
    private let flags: BlockGroupFlags
    private let windowSectors: UInt32

    /// A cluster that holds nothing yet.
    ///
    /// - Parameters:
    ///   - flags: what its claims are for.
    ///   - window: bytes to take at a time; where no run is so long, half of it and so on.
    /// - Throws: `.invalidArgument`, `.noMemory`.
    public init(
        allocator: Allocator,
        flags: BlockGroupFlags,
        window: UInt64 = 2 << 20
    ) throws(AllocationError) {
        let sectors = window >> UInt64(allocator.sectorShift)
        guard flags.isValidForClaim, sectors > 0, sectors <= UInt64(Int32.max) else {
            throw AllocationError(.invalidArgument)
        }
        self.allocator = allocator
        self.flags = flags
        windowSectors = UInt32(sectors)
        unsafe cluster = UnsafeMutablePointer<bgs_cluster>.allocate(capacity: 1)
        let result = unsafe bgs_cluster_init(cluster)
        guard result == 0 else {
            unsafe cluster.deallocate()
            throw AllocationError(result: result)
        }
    }

    deinit {
        unsafe bgs_cluster_return(cluster)
        unsafe bgs_cluster_destroy(cluster)
        unsafe cluster.deallocate()
    }

    /// Claims `length` bytes right behind the cluster's last claim where its run has room, else from
    /// a new run.
    ///
    /// - Throws: `.noSpace`, `.invalidArgument`, or the error of a group that could not be cached.
    public func claim(length: UInt64) throws(AllocationError) -> ClaimedExtent {
        let shift = UInt64(allocator.sectorShift)
        guard length != 0, length & (allocator.sectorSize - 1) == 0,
            length >> shift <= UInt64(windowSectors)
        else { throw AllocationError(.invalidArgument) }
        let sectors = UInt32(length >> shift)
        var sector: UInt64 = 0
        // Twice: a run just taken may be used up by others, or called back, at once.
        for _ in 0..<2 {
            if unsafe bgs_cluster_claim(cluster, sectors, &sector) == 0 {
                return ClaimedExtent(
                    logical: sector << shift,
                    length: length,
                    allocator: allocator
                )
            }
            refill(least: sectors)
        }
        return try allocator.claim(ClaimRequest(length: length, flags: flags))
    }

    /// Gives back what has not been served.
    public func returnRest() { unsafe bgs_cluster_return(cluster) }

    /// Takes a new run: the longest up to the window, from the first group in list order that has one.
    private func refill(least: UInt32) {
        for index in 0..<allocator.spaceCount {
            let space = unsafe allocator.space(index)
            guard unsafe bgs_flags_match(space.pointee.flags, flags.rawValue) else { continue }
            var position: UInt32 = 0
            while let found = unsafe bgs_space_get_next(space, &position) {
                let group = unsafe GroupReference(opaque: found)
                defer { group.put() }
                if group.isReadOnly || allocator.cacheFreeSpace(of: group) != 0 { continue }
                if unsafe bgs_cluster_refill(cluster, found, windowSectors, least) == 0 { return }
            }
        }
    }
}
