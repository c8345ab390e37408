//===-- AllocatorHandle.swift - the paths that every claim and give-back takes -------------------===//
// What a C caller holds is a pointer to the shim's allocator, so that the usual claim and the usual
// give-back reach it without touching a Swift object. Whatever is not usual goes to Allocator.

internal import CShim

/// What came of a claim that may be of the usual kind.
package enum PlainClaim {
    case served
    /// It is for `claimPlainRest`.
    case rest
    /// Left to whoever checks it.
    case notPlain
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

    /// Serves, without a lock or a call, the claim of one sector that a `struct bg_claim_options` of any
    /// size asks for.
    ///
    /// - Parameter extent: a `struct bg_extent`, set only where the claim was served.
    @inline(__always)
    package func claimPlain<Options, Claimed>(
        _ options: UnsafePointer<Options>,
        extent: UnsafeMutablePointer<Claimed>
    ) -> PlainClaim {
        let result = unsafe bgs_allocator_claim_plain(
            core,
            UnsafeRawPointer(options).assumingMemoryBound(to: UInt64.self),
            UnsafeMutableRawPointer(extent).assumingMemoryBound(to: bgs_extent.self)
        )
        switch result {
        case BGS_PLAIN_SERVED: return .served
        case BGS_PLAIN_REST: return .rest
        default: return .notPlain
        }
    }

    /// The others without a wish, through a window or a group's lock. false: the whole search must decide.
    @inline(__always)
    package func claimPlainRest<Options, Claimed>(
        _ options: UnsafePointer<Options>,
        extent: UnsafeMutablePointer<Claimed>
    ) -> Bool {
        unsafe bgs_allocator_claim_plain_rest(
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
        let usual = unsafe bgs_allocator_usual(core, flags, length)
        guard unsafe usual.space != nil else { return nil }
        var extent = bgs_extent()
        let result = unsafe bgs_allocator_claim_usual(core, usual, &extent)
        return result == 0 ? extent.logical : nil
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
        unsafe bgs_allocator_give_back(core, logical, length)
    }
}
