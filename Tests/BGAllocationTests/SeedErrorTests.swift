//===-- SeedErrorTests.swift - what the seed gets wrong, and we must not -------------------------===//
// One test or more for each error that the contract names (DESIGN.md, section 2).

import BGAllocation
import Testing

@Suite struct SeedErrorTests {
    // MARK: 0 is an address

    @Test(arguments: [true, false])
    func seedError_aGroupAtAddressZeroIsUsable(magazines: Bool) throws {
        let allocator = try Allocator(magazines: magazines)
        let group = try allocator.addFreeGroup(0, 64 * KiB)
        var sectors: Set<UInt64> = []
        for _ in 0..<16 { sectors.insert(try allocator.take(sector).logical) }
        #expect(sectors.contains(0))
        #expect(sectors.count == 16)
        #expect(allocator.refusal(sector) == .noSpace)
        try allocator.giveBack(Extent(logical: 0, length: 64 * KiB))
        #expect(group.runs == ["0+16"])
    }

    @Test func seedError_addressZeroCanBeHintedAt() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        try group.removeFreeSpace(logical: 8 * sector, length: sector)
        #expect(try allocator.take(sector) { $0.hint = 0 }.logical == 0)
    }

    // MARK: the tail behind an aligned claim

    @Test func seedError_theTailBehindAnAlignedClaimIsNotLost() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: sector, length: 40 * sector)
        let extent = try allocator.take(8 * sector) { $0.alignment = 16 * sector }
        #expect(extent.logical == 16 * sector)
        #expect(group.runs == ["1+15", "24+17"])
        try allocator.giveBack(extent)
        #expect(group.runs == ["1+40"])
    }

    @Test func seedError_theTailOfAnAlignedClaimHasOneOwner() throws {
        // The seed claims [1, 9) and returns [4, 12) here, so that [9, 12) can be claimed again.
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: sector, length: 11 * sector)
        let extent = try allocator.take(8 * sector) { $0.alignment = 4 * sector }
        #expect(extent.logical == 4 * sector)
        for _ in 0..<3 { #expect(try allocator.take(sector).logical < 4 * sector) }
        #expect(allocator.refusal(sector) == .noSpace)
    }

    @Test func seedError_aRunTooShortOnceAlignedIsNotClaimed() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: sector, length: 10 * sector)
        #expect(allocator.refusal(8 * sector) { $0.alignment = 4 * sector } == .noSpace)
        #expect(group.runs == ["1+10"])
    }

    // MARK: an exact fit

    @Test func seedError_anExactFitBelowSearchEndIsAccepted() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        let extent = try allocator.take(MiB) { $0.searchEnd = MiB }
        #expect(extent == Extent(logical: 0, length: MiB))
    }

    @Test func seedError_anExactFitBetweenBothBoundsIsAccepted() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let extent = try allocator.take(2 * sector) {
            $0.searchStart = 7 * sector
            $0.searchEnd = 9 * sector
        }
        #expect(extent.logical == 7 * sector)
        #expect(group.runs == ["0+7", "9+247"])
    }

    @Test func seedError_anExactFitAtTheHintIsAccepted() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        let extent = try allocator.take(64 * KiB) {
            $0.hint = 512 * KiB
            $0.searchEnd = 576 * KiB
        }
        #expect(extent.logical == 512 * KiB)
    }

    @Test func boundsInsideASectorRoundInwards() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        #expect(
            allocator.refusal(sector) {
                $0.searchStart = 1
                $0.searchEnd = 2 * sector - 1
            } == .noSpace
        )
        let extent = try allocator.take(sector) {
            $0.searchStart = 1
            $0.searchEnd = 2 * sector
        }
        #expect(extent.logical == sector)
        #expect(allocator.refusal(sector) { $0.searchEnd = 100 } == .noSpace)
    }

    // MARK: at or above the hint

    @Test func seedError_theOffsetSearchStartsAtTheHintOrAbove() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        // The one entry begins below; the seed returns it whole.
        #expect(try group.take(sector) { $0.searchStart = 300 * KiB }.logical == 300 * KiB)
        #expect(group.runs == ["0+75", "76+180"])
        #expect(try group.take(sector) { $0.searchStart = 300 * KiB }.logical == 304 * KiB)
    }

    @Test func seedError_whatLiesBelowTheStartDoesNotCountAsRoom() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 0, length: 64 * KiB)
        try group.addFreeSpace(logical: 128 * KiB, length: 32 * KiB)
        #expect(try group.take(32 * KiB) { $0.searchStart = 48 * KiB }.logical == 128 * KiB)
        #expect(group.refusal(32 * KiB) { $0.searchStart = 48 * KiB } == .noSpace)
        #expect(
            group.refusal(16 * KiB) {
                $0.searchStart = 48 * KiB
                $0.emptySize = sector
            } == .noSpace
        )
        #expect(try group.take(16 * KiB) { $0.searchStart = 48 * KiB }.logical == 48 * KiB)
    }

    @Test func seedError_theSearchFromAnAddressTakesTheFirstRunNotTheTightest() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 64 * KiB, length: 64 * KiB)
        try group.addFreeSpace(logical: 512 * KiB, length: sector)
        #expect(try group.take(sector) { $0.searchStart = sector }.logical == 64 * KiB)
        #expect(try group.take(sector).logical == 512 * KiB)
    }

    @Test func theSearchFromAnAddressSeesWhatAMagazineHolds() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let opened = try allocator.take(sector)
        #expect(opened.logical == 0)
        // The rest of the region now stands in this processor's magazine.
        #expect(try group.take(sector) { $0.searchStart = 2 * sector }.logical == 2 * sector)
    }

    @Test func theTightestRunIsFoundThoughAMagazineHoldsPartOfIt() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 0, length: 80 * sector)
        try group.addFreeSpace(logical: 128 * sector, length: 100 * sector)
        #expect(try allocator.take(sector).logical == 0)
        #expect(try group.take(32 * sector).logical == sector)
    }

    // MARK: exclusions end

    @Test func seedError_anExclusionCannotLoop() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        // One low entry that reaches into the exclusion: the seed finds it again and again.
        try group.addFreeSpace(logical: 0, length: 64 * KiB)
        #expect(
            allocator.refusal(64 * KiB) {
                $0.excludeStart = 32 * KiB
                $0.excludeLength = 64 * KiB
            } == .noSpace
        )
        #expect(group.runs == ["0+16"])
    }

    @Test func seedError_anExclusionOfEverythingEnds() throws {
        let allocator = try Allocator()
        for index in 0..<20 as Range<UInt64> { try allocator.addFreeGroup(index * MiB, MiB) }
        #expect(allocator.refusal(sector) { $0.excludeLength = UInt64.max } == .noSpace)
        #expect(
            allocator.refusal(sector) {
                $0.excludeStart = sector
                $0.excludeLength = 20 * MiB - 2 * sector
                $0.searchStart = sector
                $0.searchEnd = 20 * MiB - sector
            } == .noSpace
        )
    }

    @Test func anExclusionThatOverflowsIsRefused() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        #expect(
            allocator.refusal(sector) {
                $0.excludeStart = 2
                $0.excludeLength = UInt64.max
            } == .invalidArgument
        )
    }

    // MARK: removing free space

    @Test func seedError_removingFreeSpaceSpansRunsOrChangesNothing() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 0, length: 16 * sector)
        try group.addFreeSpace(logical: 16 * sector, length: 16 * sector)
        try group.removeFreeSpace(logical: 8 * sector, length: 16 * sector)
        #expect(group.runs == ["0+8", "24+8"])
        // Some of it is not free: all of it stays.
        for (start, length) in [(0, 32), (7, 2), (23, 2), (8, 1), (31, 2)] as [(UInt64, UInt64)] {
            #expect(throws: AllocationError(.notFound)) {
                try group.removeFreeSpace(logical: start * sector, length: length * sector)
            }
        }
        #expect(group.runs == ["0+8", "24+8"])
        #expect(group.statistics.freeBytes == 16 * sector)
        #expect(group.statistics.claimedBytes == 0)
    }

    @Test func removingFreeSpaceReachesIntoMagazines() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let extent = try allocator.take(sector)
        try group.removeFreeSpace(logical: sector, length: MiB - sector)
        #expect(group.statistics.freeBytes == 0)
        #expect(allocator.refusal(sector) == .noSpace)
        try allocator.giveBack(extent)
        #expect(group.runs == ["0+1"])
    }
}
