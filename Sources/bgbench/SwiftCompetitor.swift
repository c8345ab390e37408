//===-- SwiftCompetitor.swift - our library through its Swift API -----------------------------===//
// Shows what the C boundary costs: the same allocator, called without it.
//
// Locks: the allocator's own. The bodies may run on any thread.

import BlockGroups
import BenchControls

/// What `create` makes and every other function gets back.
private final class SwiftState {
    let allocator: Allocator
    /// In address order: the driver names a group by address / group bytes.
    var groups: [BlockGroup] = []

    init?(_ space: bench_space) {
        guard let allocator = try? Allocator() else { return nil }
        self.allocator = allocator
        for logical in stride(from: 0, to: space.total_bytes, by: Int(space.group_bytes)) {
            guard
                let group = try? allocator.addGroup(
                    logical: logical,
                    length: space.group_bytes,
                    flags: .data
                )
            else { return nil }
            if space.all_free != 0 {
                guard
                    (try? group.addFreeSpace(logical: logical, length: space.group_bytes)) != nil
                else { return nil }
            }
            groups.append(group)
        }
    }
}

@safe private func state(_ opaque: UnsafeMutableRawPointer?) -> SwiftState? {
    guard let opaque = unsafe opaque else { return nil }
    return unsafe Unmanaged<SwiftState>.fromOpaque(opaque).takeUnretainedValue()
}

/// Calls `body` with the allocator, counting no reference: a thread that claims in a loop holds its
/// allocator once, outside of the loop, while here every call begins with a bare pointer.
@safe @inline(__always)
private func withAllocator(
    _ opaque: UnsafeMutableRawPointer?,
    _ body: (Allocator) -> CInt
) -> CInt {
    guard let opaque = unsafe opaque else { return -1 }
    return unsafe Unmanaged<SwiftState>.fromOpaque(opaque)._withUnsafeGuaranteedRef {
        body($0.allocator)
    }
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
    unsafe table.pointee.unavailable = { _ in nil }
    unsafe table.pointee.create = { _, space in
        guard let space = unsafe space, let state = unsafe SwiftState(space.pointee) else {
            return nil
        }
        return unsafe Unmanaged.passRetained(state).toOpaque()
    }
    unsafe table.pointee.destroy = { opaque in
        guard let opaque = unsafe opaque else { return }
        unsafe Unmanaged<SwiftState>.fromOpaque(opaque).release()
    }
    unsafe table.pointee.claim = { opaque, bytes, address in
        withAllocator(opaque) { allocator in
            do {
                let claim = try allocator.claim(ClaimRequest(length: bytes, flags: .data))
                unsafe address?.pointee = claim.commit().logical
                return 0
            } catch {
                return -1
            }
        }
    }
    unsafe table.pointee.give_back = { opaque, address, bytes in
        withAllocator(opaque) { allocator in
            do {
                try allocator.giveBack(Extent(logical: address, length: bytes))
                return 0
            } catch {
                return -1
            }
        }
    }
    unsafe table.pointee.add_free = { opaque, group, address, bytes in
        guard let state = state(opaque) else { return -1 }
        do {
            try state.groups[group].addFreeSpace(logical: address, length: bytes)
            return 0
        } catch {
            return -1
        }
    }
    unsafe table.pointee.describe = { opaque, out in
        guard let state = state(opaque), let out = unsafe out else { return }
        var sum = bench_free_space()
        for group in state.groups {
            let statistics = group.statistics
            sum.free_extents += statistics.runCount
            sum.free_bytes += statistics.freeBytes
            sum.largest_run_bytes = max(sum.largest_run_bytes, statistics.largestRun)
        }
        let counts = state.allocator.lockCounts
        sum.counts_locks = 1
        sum.lock_taken = counts.taken
        sum.lock_contended = counts.contended
        unsafe out.pointee = sum
    }
    return unsafe Competitor(table: UnsafePointer(table))
}
