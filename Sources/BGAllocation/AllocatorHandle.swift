//===-- AllocatorHandle.swift - the paths that every claim and give-back takes -------------------===//
// What a C caller holds is a pointer to the shim's allocator, so that the usual claim and the usual
// give-back reach it without touching a Swift object. Whatever is not usual goes to Allocator.

internal import CShim

/// A claim without any wish, checked.
@safe
package struct UsualClaim {
    let core: bgs_usual
}

/// An allocator that somebody else keeps alive.
@safe
package struct AllocatorHandle {
    let core: UnsafeMutablePointer<bgs_allocator>

    init(_ core: UnsafeMutablePointer<bgs_allocator>) {
        unsafe self.core = core
    }

    @inline(__always)
    package init(opaque: OpaquePointer) {
        unsafe core = UnsafeMutablePointer<bgs_allocator>(opaque)
    }

    package init(_ allocator: Allocator) {
        unsafe core = allocator.core
    }

    package var opaque: OpaquePointer { unsafe OpaquePointer(core) }

    package var allocator: Allocator { unsafe Allocator.owner(of: core) }

    /// The group that holds an address, with a reference that the caller puts. Lock-free.
    package func group(at logical: UInt64) -> GroupReference? {
        guard let group = unsafe bgs_allocator_get_group(core, logical) else { return nil }
        return unsafe GroupReference(opaque: group)
    }

    /// The claim that a `struct bg_claim_options` of any size asks for, if it is of the usual kind;
    /// nil: left to whoever checks it.
    @inline(__always)
    package func usualClaim<Options>(_ options: UnsafePointer<Options>) -> UsualClaim? {
        let words = unsafe UnsafeRawPointer(options).assumingMemoryBound(to: UInt64.self)
        var usual = unsafe bgs_usual()
        guard unsafe bgs_allocator_is_plain(core, words, &usual) else { return nil }
        return unsafe UsualClaim(core: usual)
    }

    /// Serves a claim without a lock.
    ///
    /// - Parameter extent: a `struct bg_extent`, set only where the claim was served.
    /// - Returns: whether it was; if not, it has to go through a group's lock.
    @inline(__always)
    package func claimFromWindow<Claimed>(
        _ claim: UsualClaim,
        extent: UnsafeMutablePointer<Claimed>
    ) -> Bool {
        let extent = UnsafeMutableRawPointer(extent)
        return unsafe bgs_allocator_claim_window(
            core,
            claim.core,
            extent.assumingMemoryBound(to: bgs_extent.self)
        )
    }

    /// The same through a group's lock. false: the whole search must decide.
    @inline(__always)
    package func claimThroughLock<Claimed>(
        _ claim: UsualClaim,
        extent: UnsafeMutablePointer<Claimed>
    ) -> Bool {
        let extent = UnsafeMutableRawPointer(extent)
        return unsafe bgs_allocator_claim_locked(
            core,
            claim.core,
            extent.assumingMemoryBound(to: bgs_extent.self)
        ) == 0
    }

    /// A claim whose only wishes are type and profile, for a length that the caller checked.
    ///
    /// - Returns: where it lies; nil: the whole search must decide.
    @inline(__always)
    package func claimAnywhere(flags: UInt64, length: UInt64) -> UInt64? {
        var usual = unsafe bgs_usual()
        guard unsafe bgs_allocator_is_usual(core, flags, length, &usual) else { return nil }
        var extent = bgs_extent()
        let served =
            unsafe bgs_allocator_claim_window(core, usual, &extent)
            || bgs_allocator_claim_locked(core, usual, &extent) == 0
        return served ? extent.logical : nil
    }

    /// Says that many ranges are free, in any order; sorts them.
    ///
    /// - Parameter ranges: `count` structs of two words, the first byte and the length.
    /// - Returns: 0, -EINVAL or -EEXIST; `added` is how many of the sorted ones are free now.
    package func addFreeSpace(
        _ ranges: UnsafeMutableRawPointer,
        count: Int,
        added: inout Int
    ) -> CInt {
        unsafe bgs_add_many(
            core,
            ranges.assumingMemoryBound(to: bgs_byte_range.self),
            count,
            &added
        )
    }

    /// - Returns: 0, -EINVAL or -EEXIST.
    @inline(__always)
    package func giveBack(_ logical: UInt64, _ length: UInt64) -> CInt {
        let shift = unsafe UInt64(core.pointee.sector_shift)
        let sectors = length &>> shift
        guard (logical | length) & ((1 &<< shift) &- 1) == 0, length != 0 else {
            return -bgs_einval
        }
        return unsafe bgs_allocator_give_back(core, logical &>> shift, sectors)
    }
}
