//===-- OneSectorTests.swift - claims of one sector through blockgroups.h ----------------------------===//
// They come out of a window lent to the processor, by code of their own (bgs_magazine_claim_one()); what is
// given back is checked there as it is under a group's lock.
// Not covered here: longer small claims and who lends what (MagazineTests, BGAllocationTests).
//===-------------------------------------------------------------------------------------------===//

import CBlockGroups
import Foundation
import Testing

@Suite struct OneSectorTests {
    @Test func badGiveBacksAreRefusedWhereAWindowIsOpenToo() throws {
        let allocator = try TestAllocator()
        try allocator.addFree(0, MiB)
        var held: [UInt64] = []
        // The first opens a window, the others come out of it.
        for _ in 0..<8 {
            let claimed = allocator.claim(claimOptions(sector))
            #expect(claimed.result == 0)
            held.append(claimed.extent.logical)
        }
        #expect(Set(held).count == 8)
        let inside = held[4]
        let bad: [(UInt64, UInt64)] = [
            (inside, 0), (inside + 512, sector), (inside, sector + 512), (inside + 1, sector - 1),
            (inside, 1 << 60), (inside | 1 << 63, sector), (inside, sector | 1 << 63),
        ]
        for (logical, length) in bad {
            #expect(allocator.giveBack(logical, length) == -EINVAL, "\(logical) \(length)")
        }
        #expect(allocator.giveBack(inside, sector) == 0)
        #expect(allocator.giveBack(inside, sector) == -EEXIST)
        #expect(allocator.claim(claimOptions(sector)).extent.logical == inside)
        for logical in held { #expect(allocator.giveBack(logical, sector) == 0) }
        #expect(try allocator.stat(0).free_bytes == MiB)
        #expect(try allocator.stat(0).run_count == 1)
    }

    /// Every thread writes down what it owns; two owners of a sector find each other's number there, and are
    /// a race to ThreadSanitizer.
    @Test(arguments: [2, 8])
    func noSectorHasTwoOwners(threads: Int) throws {
        let allocator = try TestAllocator()
        let groups = 4
        for group in 0..<groups { try allocator.addFree(UInt64(group) * MiB, MiB) }
        let count = groups * Int(MiB / sector)
        let owners = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: count)
        owners.initialize(repeating: 0)
        defer { owners.deallocate() }
        let faults = UnsafeMutableBufferPointer<Int>.allocate(capacity: threads)
        faults.initialize(repeating: 0)
        defer { faults.deallocate() }
        let pointer = allocator.pointer
        nonisolated(unsafe) let shared = (owners: owners, faults: faults, allocator: pointer)
        DispatchQueue.concurrentPerform(iterations: threads) { thread in
            let number = UInt8(thread + 1)
            var held: [bg_extent] = []
            var options = claimOptions(sector)
            func giveBack(_ extent: bg_extent) {
                let at = Int(extent.logical / sector)
                if shared.owners[at] != number { shared.faults[thread] += 1 }
                shared.owners[at] = 0
                var extent = extent
                if bg_give_back(shared.allocator, &extent) != 0 { shared.faults[thread] += 1 }
            }
            for round in 0..<20_000 {
                var extent = bg_extent()
                if bg_claim(shared.allocator, &options, &extent) == 0 {
                    let at = Int(extent.logical / sector)
                    if shared.owners[at] != 0 || extent.length != sector {
                        shared.faults[thread] += 1
                    }
                    shared.owners[at] = number
                    held.append(extent)
                } else {
                    shared.faults[thread] += 1
                }
                // Some at once, some much later, out of windows that were closed meanwhile.
                if held.count > (round % 1000 < 500 ? 1 : 40) {
                    while held.count > round % 3 { giveBack(held.removeFirst()) }
                }
            }
            for extent in held { giveBack(extent) }
        }
        #expect(faults.allSatisfy { $0 == 0 }, "\(Array(faults))")
        for group in 0..<groups {
            #expect(try allocator.stat(UInt64(group) * MiB).free_bytes == MiB)
        }
    }
}
