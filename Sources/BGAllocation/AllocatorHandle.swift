//===-- AllocatorHandle.swift - the paths that every claim and give-back takes -------------------===//
// What a C caller holds is a pointer to the shim's allocator, so that the usual claim and the usual
// give-back reach it without touching a Swift object. Whatever is not usual goes to Allocator.

internal import CShim

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

    /// The usual claim, if that is what the options ask for, and if it is served.
    ///
    /// - Parameters:
    ///   - options: a `struct bg_claim_options` of any size; what is not as usual is left to
    ///     whoever checks it.
    ///   - extent: a `struct bg_extent`, set only where the claim was served.
    /// - Returns: whether it was.
    @inline(__always)
    package func claimPlain<Options, Claimed>(
        _ options: UnsafePointer<Options>,
        extent: UnsafeMutablePointer<Claimed>
    ) -> Bool {
        unsafe bgs_allocator_claim_plain(
            core,
            UnsafeRawPointer(options).assumingMemoryBound(to: UInt64.self),
            UnsafeMutableRawPointer(extent).assumingMemoryBound(to: bgs_extent.self)
        ) == 0
    }

    /// A claim whose only wishes are type and profile, for a length that the caller checked.
    ///
    /// - Returns: where it lies; nil: the whole search must decide.
    @inline(__always)
    package func claimAnywhere(flags: UInt64, length: UInt64) -> UInt64? {
        var extent = bgs_extent()
        return unsafe bgs_allocator_claim_bytes(core, flags, length, &extent) == 0
            ? extent.logical : nil
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
