//===-- Allocators.swift - bg_allocator_*, claims and give-backs ---------------------------------===//
// A struct bg_allocator is the shim's allocator; the Swift object around it is retained once by
// bg_allocator_create() (or owned by a file system) and reached only off the usual path.

import BGAllocation
public import CBlockGroups

/// Throws what a hook returned; what is neither 0 nor a negative errno counts as EINVAL.
private func checkHook(_ result: CInt) throws(AllocationError) {
    guard result <= 0, result >= -4095 else { throw AllocationError(.invalidArgument) }
    try check(result)
}

/// The hooks of a C caller as a source of groups.
@safe
private final class HookSource: BlockGroupSource {
    let hooks: bg_allocator_options

    init(_ hooks: bg_allocator_options) {
        unsafe self.hooks = hooks
    }

    func cacheFreeSpace(of group: BlockGroup) throws(AllocationError) {
        guard let hook = unsafe hooks.cache_group else { return }
        try checkHook(unsafe hook(hooks.context, group.reference.opaque))
    }

    func allocateChunk(
        in allocator: Allocator,
        flags: BlockGroupFlags,
        length: UInt64
    ) throws(AllocationError) {
        guard let hook = unsafe hooks.allocate_chunk else { throw AllocationError(.noSpace) }
        let handle = AllocatorHandle(allocator)
        try checkHook(unsafe hook(hooks.context, handle.opaque, flags.rawValue, length))
    }

    func hasRoomForChunk(flags: BlockGroupFlags) -> Bool? { nil }
}

@c @implementation
public func bg_allocator_create(
    _ options: UnsafePointer<bg_allocator_options>?,
    _ allocator_out: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
    guard let out = unsafe allocator_out else { return refuseArgument("allocator_out is NULL") }
    var wanted = unsafe bg_allocator_options()
    if let options = unsafe options {
        guard unsafe Int(options.pointee.size) == MemoryLayout<bg_allocator_options>.size else {
            return refuseArgument("bg_allocator_options::size is wrong")
        }
        unsafe wanted = options.pointee
    }
    guard unsafe wanted.flags & ~UInt32(BG_ALLOCATOR_NO_MAGAZINES) == 0, unsafe wanted.reserved == 0
    else { return refuseArgument("unknown flags, or reserved bytes that are not 0") }
    return returnCode { () throws(AllocationError) in
        let hasHooks = unsafe wanted.cache_group != nil || wanted.allocate_chunk != nil
        let sectorSize = unsafe wanted.sector_size
        let allocator = try unsafe Allocator(
            sectorSize: sectorSize == 0 ? 4096 : UInt64(sectorSize),
            magazines: wanted.flags & UInt32(BG_ALLOCATOR_NO_MAGAZINES) == 0,
            source: hasHooks ? HookSource(wanted) : nil,
            cachesLazily: wanted.cache_group != nil,
            allocatesChunks: wanted.allocate_chunk != nil
        )
        _ = unsafe Unmanaged.passRetained(allocator)
        unsafe out.pointee = AllocatorHandle(allocator).opaque
    }
}

@c @implementation
public func bg_allocator_destroy(_ allocator: OpaquePointer?) {
    guard let allocator = unsafe allocator else { return }
    unsafe Unmanaged.passUnretained(AllocatorHandle(opaque: allocator).allocator).release()
}

@c @implementation
public func bg_allocator_add_group(
    _ allocator: OpaquePointer?,
    _ logical: UInt64,
    _ length: UInt64,
    _ flags: UInt64
) -> CInt {
    guard let allocator = unsafe allocator else { return refuseArgument("allocator is NULL") }
    return returnCode { () throws(AllocationError) in
        try unsafe AllocatorHandle(opaque: allocator).allocator.addGroup(
            logical: logical,
            length: length,
            flags: BlockGroupFlags(rawValue: flags)
        )
    }
}

@c @implementation
public func bg_allocator_remove_group(_ allocator: OpaquePointer?, _ logical: UInt64) -> CInt {
    guard let allocator = unsafe allocator else { return refuseArgument("allocator is NULL") }
    return returnCode { () throws(AllocationError) in
        try unsafe AllocatorHandle(opaque: allocator).allocator.removeGroup(logical: logical)
    }
}

@c @implementation
public func bg_add_free_space(
    _ allocator: OpaquePointer?,
    _ extents: UnsafeMutablePointer<bg_extent>?,
    _ count: Int,
    _ added_out: UnsafeMutablePointer<Int>?
) -> CInt {
    guard let allocator = unsafe allocator, let extents = unsafe extents,
        let out = unsafe added_out
    else { return refuseArgument("a pointer is NULL") }
    return unsafe returnCode(
        AllocatorHandle(opaque: allocator).addFreeSpace(extents, count: count, added: &out.pointee)
    )
}

@c @implementation
public func bg_claim(
    _ allocator: OpaquePointer?,
    _ options: UnsafePointer<bg_claim_options>?,
    _ extent_out: UnsafeMutablePointer<bg_extent>?
) -> CInt {
    guard let allocator = unsafe allocator else { return refuseArgument("allocator is NULL") }
    guard let options = unsafe options else { return refuseArgument("options is NULL") }
    guard let out = unsafe extent_out else { return refuseArgument("extent_out is NULL") }
    switch unsafe AllocatorHandle(opaque: allocator).claimPlain(options, extent: out) {
    case .served: return 0
    case .rest: return unsafe claimPlainRest(allocator, options, out)
    case .notPlain: return unsafe claimWithWishes(allocator, options, out)
    }
}

/// Apart, so that what is served at once saves no registers for it.
@inline(never)
private func claimPlainRest(
    _ allocator: OpaquePointer,
    _ options: UnsafePointer<bg_claim_options>,
    _ out: UnsafeMutablePointer<bg_extent>
) -> CInt {
    if unsafe AllocatorHandle(opaque: allocator).claimPlainRest(options, extent: out) { return 0 }
    return unsafe claimWithWishes(allocator, options, out)
}

/// The claims that are not the usual one, and those that the usual path could not serve.
@inline(never)
private func claimWithWishes(
    _ allocator: OpaquePointer,
    _ options: UnsafePointer<bg_claim_options>,
    _ out: UnsafeMutablePointer<bg_extent>
) -> CInt {
    guard let request = unsafe ClaimRequest(options) else { return refuseOptions() }
    let owner = unsafe AllocatorHandle(opaque: allocator).allocator
    return returnCode(owner, flags: request.flags) { () throws(AllocationError) in
        let extent = try owner.claimExtent(request)
        unsafe out.pointee = bg_extent(logical: extent.logical, length: extent.length)
    }
}

extension ClaimRequest {
    /// nil: the size is wrong, or reserved bytes are not 0.
    init?(_ options: UnsafePointer<bg_claim_options>) {
        // The size before the rest is read: a caller's struct may be a smaller one.
        guard unsafe Int(options.pointee.size) == MemoryLayout<bg_claim_options>.size else {
            return nil
        }
        let wanted = unsafe options.pointee
        guard wanted.reserved == 0 else { return nil }
        self.init(length: wanted.length, flags: BlockGroupFlags(rawValue: wanted.flags))
        lengthMin = wanted.length_min
        emptySize = wanted.empty_size
        alignment = wanted.alignment
        hint = wanted.hint == 0 ? nil : wanted.hint
        searchStart = wanted.search_start
        searchEnd = wanted.search_end
        excludeStart = wanted.exclude_start
        excludeLength = wanted.exclude_length
    }
}

@c @implementation
public func bg_give_back(
    _ allocator: OpaquePointer?,
    _ extent: UnsafePointer<bg_extent>?
) -> CInt {
    guard let allocator = unsafe allocator else { return refuseArgument("allocator is NULL") }
    guard let extent = unsafe extent else { return refuseArgument("extent is NULL") }
    return unsafe returnCode(
        AllocatorHandle(opaque: allocator).giveBack(extent.pointee.logical, extent.pointee.length)
    )
}

@c @implementation
public func bg_explain(
    _ allocator: OpaquePointer?,
    _ options: UnsafePointer<bg_claim_options>?,
    _ text: UnsafeMutablePointer<CChar>?,
    _ size: Int
) -> CInt {
    guard let allocator = unsafe allocator, let options = unsafe options,
        unsafe text != nil || size == 0, size >= 0
    else { return refuseArgument("a pointer is NULL, or the size is absurd") }
    guard let request = unsafe ClaimRequest(options) else { return refuseOptions() }
    return returnCode { () throws(AllocationError) in
        var buffer = unsafe TextBuffer(UnsafeMutableBufferPointer(start: text, count: size))
        try unsafe AllocatorHandle(opaque: allocator).allocator.explain(request, into: &buffer)
        buffer.finish()
    }
}
