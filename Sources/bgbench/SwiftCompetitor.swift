//===-- SwiftCompetitor.swift - our library through its Swift API -----------------------------===//
// Shows what the C boundary costs: the same allocator, called without it.
//
// The table below is complete except for the six bodies marked ADAPT, which wait for
// BlockGroups.Allocator. Until then `unavailable` says so, and the suite skips it.
//
// To finish: let `SwiftState` hold the allocator (and its groups by index, for addFree);
// fill in the bodies; return nil from `unavailable`.
// Locks: the allocator's own. The bodies may run on any thread.

import BenchControls

/// What `create` makes and every other function gets back.
private final class SwiftState {
    // ADAPT: let allocator: BlockGroups.Allocator; var groups: [BlockGroup]
}

private let notYet: StaticString = "the Swift API is not there yet"

@safe private func state(_ opaque: UnsafeMutableRawPointer?) -> SwiftState? {
    guard let opaque = unsafe opaque else { return nil }
    return unsafe Unmanaged<SwiftState>.fromOpaque(opaque).takeUnretainedValue()
}

/// Makes the table; it lives as long as the program.
func swiftCompetitor() -> Competitor {
    let table = UnsafeMutablePointer<bench_competitor>.allocate(capacity: 1)
    unsafe table.initialize(to: bench_competitor())
    let name: StaticString = "blockgroups-swift"
    let summary: StaticString = "this library through its Swift API"
    unsafe table.pointee.name = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(
        to: CChar.self
    )
    unsafe table.pointee.summary = UnsafeRawPointer(summary.utf8Start).assumingMemoryBound(
        to: CChar.self
    )
    unsafe table.pointee.work_divisor = 1
    unsafe table.pointee.unavailable = { _ in
        unsafe UnsafeRawPointer(notYet.utf8Start).assumingMemoryBound(to: CChar.self)
    }
    unsafe table.pointee.create = { _, space in
        // ADAPT: make the allocator with space.total_bytes / space.group_bytes data groups, all
        // free where space.all_free; Unmanaged.passRetained(SwiftState(…)).toOpaque().
        nil
    }
    unsafe table.pointee.destroy = { opaque in
        guard let opaque = unsafe opaque else { return }
        unsafe Unmanaged<SwiftState>.fromOpaque(opaque).release()
    }
    unsafe table.pointee.claim = { opaque, bytes, address in
        // ADAPT: claim `bytes`, commit the claim, put its logical address at `address`; 0 or -1.
        state(opaque) == nil ? -1 : -1
    }
    unsafe table.pointee.give_back = { opaque, address, bytes in
        // ADAPT: give the range back; 0 or -1.
        state(opaque) == nil ? -1 : -1
    }
    unsafe table.pointee.add_free = { opaque, group, address, bytes in
        // ADAPT: groups[group].addFreeSpace(address, bytes); 0 or -1.
        state(opaque) == nil ? -1 : -1
    }
    unsafe table.pointee.describe = { opaque, out in
        // ADAPT: sum free extents and bytes over the groups, and take the largest run.
        unsafe out?.initialize(to: bench_free_space())
    }
    return unsafe Competitor(table: UnsafePointer(table))
}
