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

    /// A claim whose only wishes are type, profile and slack.
    ///
    /// - Parameters:
    ///   - flags: valid for a claim.
    ///   - length: bytes, checked here.
    /// - Returns: 0 with `logical` set; -EINVAL, or -ENOSPC: the whole search must decide.
    @inline(__always)
    package func claimAnywhere(
        flags: UInt64,
        length: UInt64,
        logical: inout UInt64
    ) -> CInt {
        let shift = unsafe UInt64(core.pointee.sector_shift)
        let sectors = length &>> shift
        guard sectors &<< shift == length, length != 0, sectors <= UInt64(Int32.max) else {
            return -bgs_einval
        }
        var sector: UInt64 = 0
        let count = UInt32(truncatingIfNeeded: sectors)
        let result = unsafe bgs_allocator_claim(core, flags, count, count, &sector)
        if result == 0 { logical = sector &<< shift }
        return result
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
