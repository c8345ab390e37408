//===-- Groups.swift - bg_group_* ----------------------------------------------------------------===//
// A struct bg_group is the shim's group; bg_group_get() takes a reference, bg_group_put() ends it.

import BGAllocation
public import CBlockGroups

@c @implementation
public func bg_group_get(_ allocator: OpaquePointer?, _ logical: UInt64) -> OpaquePointer? {
    guard let allocator = unsafe allocator,
        let group = unsafe AllocatorHandle(opaque: allocator).group(at: logical)
    else { return nil }
    return unsafe group.opaque
}

@c @implementation
public func bg_group_put(_ group: OpaquePointer?) {
    guard let group = unsafe group else { return }
    unsafe GroupReference(opaque: group).put()
}

@c @implementation
public func bg_group_add_free_space(
    _ group: OpaquePointer?,
    _ logical: UInt64,
    _ length: UInt64
) -> CInt {
    guard let group = unsafe group else { return refuseArgument("group is NULL") }
    if unsafe GroupReference(opaque: group).addFreeSpaceAlone(logical, length) { return 0 }
    return unsafe addFreeSpaceRest(group, logical, length)
}

/// Apart, so that the usual one saves no registers for it.
@inline(never)
private func addFreeSpaceRest(
    _ group: OpaquePointer,
    _ logical: UInt64,
    _ length: UInt64
) -> CInt {
    unsafe returnCode(GroupReference(opaque: group).addFreeSpace(logical, length))
}

@c @implementation
public func bg_group_remove_free_space(
    _ group: OpaquePointer?,
    _ logical: UInt64,
    _ length: UInt64
) -> CInt {
    guard let group = unsafe group else { return refuseArgument("group is NULL") }
    return unsafe returnCode(GroupReference(opaque: group).removeFreeSpace(logical, length))
}

@c @implementation
public func bg_group_claim(
    _ group: OpaquePointer?,
    _ options: UnsafePointer<bg_claim_options>?,
    _ extent_out: UnsafeMutablePointer<bg_extent>?
) -> CInt {
    guard let group = unsafe group, let options = unsafe options, let out = unsafe extent_out else {
        return refuseNull()
    }
    guard let request = unsafe ClaimRequest(options) else { return refuseOptions() }
    let reference = unsafe GroupReference(opaque: group)
    return returnCode(reference.allocator, reference) { () throws(AllocationError) in
        let extent = try reference.allocator.claim(request, in: reference)
        unsafe out.pointee = bg_extent(logical: extent.logical, length: extent.length)
    }
}

@c @implementation
public func bg_group_set_read_only(_ group: OpaquePointer?, _ read_only: CInt) -> CInt {
    guard let group = unsafe group else { return refuseArgument("group is NULL") }
    unsafe GroupReference(opaque: group).setReadOnly(read_only != 0)
    return 0
}

@c @implementation
public func bg_group_stat(
    _ group: OpaquePointer?,
    _ stat_out: UnsafeMutablePointer<bg_group_stat>?
) -> CInt {
    guard let group = unsafe group, let out = unsafe stat_out else {
        return refuseNull()
    }
    let statistics = unsafe GroupReference(opaque: group).statistics
    unsafe out.pointee = bg_group_stat(
        logical: statistics.logical,
        length: statistics.length,
        flags: statistics.flags.rawValue,
        free_bytes: statistics.freeBytes,
        claimed_bytes: statistics.claimedBytes,
        largest_run: statistics.largestRun,
        run_count: statistics.runCount,
        read_only: statistics.isReadOnly ? 1 : 0,
        cached: statistics.isCached ? 1 : 0
    )
    return 0
}

@c @implementation
public func bg_group_for_each_free(
    _ group: OpaquePointer?,
    _ visit: (@convention(c) (UnsafeMutableRawPointer?, UInt64, UInt64) -> CInt)?,
    _ context: UnsafeMutableRawPointer?
) -> CInt {
    guard let group = unsafe group, let visit = unsafe visit else {
        return refuseNull()
    }
    let reference = unsafe GroupReference(opaque: group)
    let allocator = reference.allocator
    let cached = returnCode(allocator, reference) { () throws(AllocationError) in
        try check(allocator.cacheFreeSpace(of: reference))
    }
    if cached != 0 { return cached }
    var logical = reference.logical
    // Ends: every run ends above the one before.
    while let run = reference.nextFree(endingAbove: logical) {
        let result = unsafe visit(context, run.logical, run.length)
        if result != 0 { return result }
        logical = run.logical + run.length
    }
    return 0
}

@c @implementation
public func bg_for_each_group(
    _ allocator: OpaquePointer?,
    _ visit: (@convention(c) (UnsafeMutableRawPointer?, OpaquePointer?) -> CInt)?,
    _ context: UnsafeMutableRawPointer?
) -> CInt {
    guard let allocator = unsafe allocator, let visit = unsafe visit else {
        return refuseNull()
    }
    let owner = unsafe AllocatorHandle(opaque: allocator).allocator
    var logical: UInt64 = 0
    // Ends: every group begins above the one before.
    while let group = owner.reference(endingAbove: logical) {
        defer { group.put() }
        logical = group.logical + group.length
        let result = unsafe visit(context, group.opaque)
        if result != 0 { return result }
    }
    return 0
}
