//===-- MagazineTests.swift - windows lent to processors -----------------------------------------===//
// Covers: nothing is refused or hidden while a window holds it, double and foreign give-backs, windows
// that go back because of a removal, a read-only group, a statistic; from other threads too.
// That a window is open is not visible from outside; small claims out of a long run open one.

import BGAllocation
import CShim
import Foundation
import Testing

@Suite struct MagazineTests {
    /// An allocator of one group, with a window open on this thread's processor.
    private func withWindow(_ length: UInt64 = MiB) throws -> (Allocator, BlockGroup, Extent) {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, length)
        return (allocator, group, try allocator.take(sector))
    }

    @Test func smallClaimsLieTogether() throws {
        let (allocator, _, first) = try withWindow()
        var starts = [first.logical]
        for _ in 0..<8 { starts.append(try allocator.take(sector).logical) }
        #expect(Set(starts).count == 9)
        #expect(starts.max()! < 32 * sector * 4)
    }

    @Test func nothingIsRefusedWhileAMagazineHoldsIt() throws {
        for size in [1, 2, 5, 16, 31] as [UInt64] {
            let (allocator, group, _) = try withWindow(32 * sector)
            #expect(group.statistics.freeBytes == 31 * sector)
            _ = try allocator.take(size * sector)
        }
        let (allocator, _, first) = try withWindow(32 * sector)
        #expect(allocator.refusal(32 * sector) == .noSpace)
        try allocator.giveBack(first)
        #expect(try allocator.take(32 * sector).logical == 0)
    }

    @Test func everySectorOfAGroupCanBeClaimedOneByOne() throws {
        for length in [1, 31, 33, 64, 100, 257] as [UInt64] {
            for first in [0, 3, 32, 63] as [UInt64] {
                let allocator = try Allocator()
                let group = try allocator.addFreeGroup(first * sector, length * sector)
                var taken: Set<UInt64> = []
                for _ in 0..<length { taken.insert(try allocator.take(sector).logical / sector) }
                #expect(taken == Set(first..<first + length))
                #expect(allocator.refusal(sector) == .noSpace)
                for start in taken.shuffled() {
                    try allocator.giveBack(Extent(logical: start * sector, length: sector))
                }
                #expect(group.runs == ["0+\(length)"])
                #expect(group.statistics.claimedBytes == 0)
            }
        }
    }

    @Test func aDoubleGiveBackIsRefusedByTheWindowToo() throws {
        let (allocator, group, first) = try withWindow()
        let second = try allocator.take(3 * sector)
        try allocator.giveBack(second)
        for _ in 0..<3 {
            #expect(allocator.giveBackRefusal(second.logical, second.length) == .exists)
            #expect(allocator.giveBackRefusal(second.logical + sector, sector) == .exists)
        }
        #expect(group.statistics.claimedBytes == sector)
        try allocator.giveBack(first)
        #expect(allocator.giveBackRefusal(first.logical, first.length) != nil)
        #expect(group.runs == ["0+256"])
    }

    @Test func whatIsFreeInAWindowIsToldFromWhatWasNeverFree() throws {
        let (allocator, group, first) = try withWindow()
        try allocator.giveBack(first)
        // The first 32 sectors stand in the window, all free; a window serves 16 at most.
        for length in [1, 16, 17, 32, 40] as [UInt64] {
            #expect(allocator.giveBackRefusal(0, length * sector) == .exists)
            _ = try allocator.take(sector) { $0.searchEnd = sector }
            #expect(allocator.giveBackRefusal(sector, length * sector) == .exists)
            try allocator.giveBack(Extent(logical: 0, length: sector))
            try allocator.giveBack(
                Extent(logical: try allocator.take(sector).logical, length: sector)
            )
        }
        #expect(group.runs == ["0+256"])
    }

    @Test func aGiveBackThatOverlapsWhatIsFreeChangesNothing() throws {
        let (allocator, group, _) = try withWindow()
        let extent = try allocator.take(4 * sector)
        let before = group.statistics
        #expect(allocator.giveBackRefusal(extent.logical + sector, 4 * sector) == .exists)
        #expect(allocator.giveBackRefusal(extent.logical, 16 * sector) != nil)
        #expect(group.statistics.freeBytes == before.freeBytes)
        #expect(group.statistics.claimedBytes == before.claimedBytes)
        try allocator.giveBack(extent)
    }

    @Test func whatWasNeverFreeIsRefusedByTheWindowToo() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        // Sectors 8 to 15 of the region that will be lent belong to somebody else.
        try group.addFreeSpace(logical: 0, length: 8 * sector)
        try group.addFreeSpace(logical: 16 * sector, length: 200 * sector)
        let first = try allocator.take(sector) { $0.searchEnd = sector }
        _ = try allocator.take(sector)
        try allocator.giveBack(first)
        try allocator.giveBack(Extent(logical: try allocator.take(sector).logical, length: sector))
        let held = group.statistics.claimedBytes
        #expect(held == sector)
        #expect(allocator.giveBackRefusal(8 * sector, 2 * sector) == .invalidArgument)
        #expect(allocator.giveBackRefusal(7 * sector, 2 * sector) != nil)
        #expect(group.statistics.claimedBytes == held)
    }

    @Test func aReadOnlyGroupTakesItsWindowsBack() throws {
        let (allocator, group, first) = try withWindow()
        group.setReadOnly(true)
        #expect(allocator.refusal(sector) == .noSpace)
        try allocator.giveBack(first)
        #expect(group.statistics.freeBytes == MiB)
        group.setReadOnly(false)
        #expect(try allocator.take(MiB).logical == 0)
    }

    @Test func aGroupWithAnOpenWindowCanGo() throws {
        let (allocator, _, first) = try withWindow()
        #expect(throws: AllocationError(.busy)) { try allocator.removeGroup(logical: 0) }
        try allocator.giveBack(first)
        try allocator.removeGroup(logical: 0)
        #expect(allocator.refusal(sector) == .noSpace)
        #expect(allocator.giveBackRefusal(first.logical, first.length) == .invalidArgument)
        // The window that was open there serves another group now.
        try allocator.addFreeGroup(8 * MiB, MiB)
        let other = try allocator.take(sector)
        #expect(other.logical >= 8 * MiB)
        try allocator.giveBack(other)
    }

    @Test func aRefusedRemovalLeavesTheGroupAsItWas() throws {
        let (allocator, group, _) = try withWindow()
        for _ in 0..<10 {
            #expect(throws: AllocationError(.busy)) { try allocator.removeGroup(logical: 0) }
            _ = try allocator.take(sector)
        }
        #expect(group.statistics.claimedBytes == 11 * sector)
    }

    @Test func aWindowTakesWhatAnotherThreadGivesBack() throws {
        let (allocator, group, first) = try withWindow()
        let more = Shared<[Extent]>([first])
        for _ in 0..<20 {
            let extent = try allocator.take(sector)
            more.with { $0.append(extent) }
        }
        let refused = Shared(0)
        onThreads(4) { _ in
            while let extent = more.with({ $0.popLast() }) {
                if allocator.giveBackRefusal(extent.logical, extent.length) != nil {
                    refused.with { $0 += 1 }
                }
                if allocator.giveBackRefusal(extent.logical, extent.length) == nil {
                    refused.with { $0 += 1 }
                }
            }
        }
        #expect(refused.now == 0)
        #expect(group.runs == ["0+256"])
    }

    @Test func aRegionThatTwoGroupsShareBelongsToBoth() throws {
        // The border lies in the middle of a region of 32 sectors.
        let allocator = try Allocator()
        let low = try allocator.addFreeGroup(0, 80 * sector)
        let high = try allocator.addFreeGroup(80 * sector, 80 * sector)
        var taken: [UInt64] = []
        for _ in 0..<160 { taken.append(try allocator.take(sector).logical) }
        #expect(Set(taken).count == 160)
        #expect(allocator.giveBackRefusal(79 * sector, 2 * sector) == .invalidArgument)
        for start in taken.shuffled() {
            try allocator.giveBack(Extent(logical: start, length: sector))
        }
        #expect(low.runs == ["0+80"])
        #expect(high.runs == ["0+80"])
    }

    @Test func windowsOfDifferentTypesDoNotMix() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB, .data)
        try allocator.addFreeGroup(MiB, MiB, .metadata)
        try allocator.addFreeGroup(2 * MiB, MiB, .system)
        try allocator.addFreeGroup(3 * MiB, MiB, [.data, .metadata, .raid1])
        for _ in 0..<200 {
            #expect([0, 3].contains(try allocator.take(sector, .data).logical / MiB))
            #expect([1, 3].contains(try allocator.take(sector, .metadata).logical / MiB))
            #expect(try allocator.take(sector, .system).logical / MiB == 2)
        }
    }

    @Test func windowsKeepToTheProfileAskedFor() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB, [.data, .raid1])
        try allocator.addFreeGroup(MiB, MiB, [.data, .dup])
        for _ in 0..<100 {
            #expect(try allocator.take(sector, [.data, .raid1]).logical < MiB)
            _ = try allocator.take(sector, .data)
            #expect(try allocator.take(sector, [.data, .dup]).logical >= MiB)
        }
    }

    @Test func freeRunsAreListedWholeThoughWindowsHoldParts() throws {
        let (allocator, group, first) = try withWindow()
        #expect(group.runs == ["1+255"])
        try allocator.giveBack(first)
        #expect(group.statistics.runCount == 1)
        #expect(group.statistics.largestRun == MiB)
    }
}
