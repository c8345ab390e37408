//===-- ContractStepTests.swift - find_free_extent and reserve_extent, step by step --------------===//
// One test or more for each numbered step of the contract (DESIGN.md, section 2).
// Not covered here: hooks with many threads (CachingTests, ChunkTests), magazines (MagazineTests).

import BGAllocation
import Testing

@Suite struct ContractStepTests {
    // MARK: 1. The hint's group first

    @Test func step1_theHintsGroupServesBeforeATighterOne() throws {
        let allocator = try Allocator()
        let tight = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try tight.addFreeSpace(logical: 0, length: sector)
        try allocator.addFreeGroup(MiB, MiB)
        let extent = try allocator.take(sector) { $0.hint = MiB + 64 * KiB }
        #expect(extent.logical == MiB + 64 * KiB)
    }

    @Test func step1_aHintIntoAGroupOfAnotherTypeIsNotFollowed() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB, .metadata)
        try allocator.addFreeGroup(MiB, 8 * MiB, .data)
        let extent = try allocator.take(sector) { $0.hint = 64 * KiB }
        #expect(extent.logical >= MiB)
    }

    @Test func step1_aHintIntoAGroupOfAnotherProfileIsNotFollowed() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 8 * MiB, [.data, .dup])
        try allocator.addFreeGroup(8 * MiB, 8 * MiB, [.data, .raid1])
        let extent = try allocator.take(sector, [.data, .raid1]) { $0.hint = 64 * KiB }
        #expect(extent.logical >= 8 * MiB)
    }

    @Test func step1_aHintIntoNoGroupIsNoError() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 8 * MiB)
        for hint in [8 * MiB, 1 << 40, UInt64.max] {
            #expect(try allocator.take(sector) { $0.hint = hint }.logical < 8 * MiB)
        }
    }

    @Test func step1_aHintKeepsToSearchEnd() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 8 * MiB)
        let extent = try allocator.take(MiB) {
            $0.hint = 4 * MiB
            $0.searchEnd = 4 * MiB + MiB / 2
        }
        #expect(extent.logical + extent.length <= 4 * MiB + MiB / 2)
    }

    @Test func step1_aHintIntoAReadOnlyGroupIsNotFollowed() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 8 * MiB).setReadOnly(true)
        try allocator.addFreeGroup(8 * MiB, 8 * MiB)
        #expect(try allocator.take(sector) { $0.hint = 0 }.logical >= 8 * MiB)
    }

    // MARK: 2. Every group of the space info

    @Test func step2_aRunInTheLastOfManyGroupsIsFound() throws {
        let allocator = try Allocator()
        for index in 0..<100 as Range<UInt64> {
            try allocator.addGroup(logical: index * MiB, length: MiB, flags: .data)
        }
        let last = try #require(allocator.group(at: 77 * MiB))
        try last.addFreeSpace(logical: 77 * MiB, length: 512 * KiB)
        #expect(try allocator.take(512 * KiB).logical == 77 * MiB)
        #expect(allocator.refusal(sector) == .noSpace)
    }

    @Test func step2_groupsOfEveryMatchingProfileAreSearched() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB, [.data, .raid1])
        try allocator.addFreeGroup(MiB, MiB, [.data, .dup])
        try allocator.addFreeGroup(2 * MiB, MiB, .data)
        let starts = try (0..<3).map { _ in try allocator.take(MiB).logical }
        #expect(starts.sorted() == [0, MiB, 2 * MiB])
        #expect(allocator.refusal(sector) == .noSpace)
    }

    @Test func step2_singleIsAskedForWithABitOfItsOwn() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 8 * MiB, [.data, .raid1])
        #expect(allocator.refusal(sector, [.data, .availSingle]) == .noSpace)
        try allocator.addFreeGroup(8 * MiB, 8 * MiB, .data)
        for _ in 0..<50 {
            #expect(try allocator.take(sector, [.data, .availSingle]).logical >= 8 * MiB)
            #expect(try allocator.take(sector, [.data, .raid1]).logical < 8 * MiB)
        }
    }

    @Test func step2_boundedClaimsGoInListOrder() throws {
        let allocator = try Allocator()
        for index in [5, 2, 9] as [UInt64] { try allocator.addFreeGroup(index * MiB, MiB) }
        let extent = try allocator.take(sector) { $0.searchStart = sector }
        #expect(extent.logical == 5 * MiB, "the group added first comes first")
    }

    // MARK: 3. Reference, caching, read-only

    @Test func step3_aReadOnlyGroupIsSkipped() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        group.setReadOnly(true)
        #expect(allocator.refusal(sector) == .noSpace)
        #expect(group.refusal(sector) == .readOnly)
        try allocator.addFreeGroup(MiB, MiB)
        #expect(try allocator.take(sector).logical >= MiB)
        group.setReadOnly(false)
        #expect(try allocator.take(MiB).logical == 0)
    }

    @Test func step3_aGroupIsCachedWhenAClaimFirstNeedsIt() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        #expect(source.cacheCalls.now == 0)
        #expect(!group.statistics.isCached)
        #expect(try allocator.take(MiB).logical == 0)
        #expect(source.cacheCalls.now == 1)
        #expect(group.statistics.isCached)
    }

    @Test func step3_aReadOnlyGroupIsNotCachedForAClaim() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data, readOnly: true)
        #expect(allocator.refusal(sector) == .noSpace)
        #expect(source.cacheCalls.now == 0)
    }

    @Test func step3_theReferenceIsReleasedOnEveryWayOut() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        let extent = try allocator.take(MiB) { $0.searchStart = 0 }
        #expect(allocator.refusal(sector) == .noSpace)
        #expect(allocator.refusal(sector) { $0.hint = 64 * KiB } == .noSpace)
        #expect(allocator.refusal(sector) { $0.excludeLength = 64 * KiB } == .noSpace)
        #expect(throws: AllocationError(.busy)) { try allocator.removeGroup(logical: 0) }
        try allocator.giveBack(extent)
        // A reference too many would leak the group (seen by the leak check), one too few crash here.
        try allocator.removeGroup(logical: 0)
        #expect(allocator.group(at: 0) == nil)
    }

    // MARK: 4. Claim, align, refuse, exclude

    @Test(arguments: [1, 2, 3, 5, 16, 100, 256])
    func step4_theAddressIsAMultipleOfTheAlignment(sectors: UInt64) throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 7 * sector, length: 8 * MiB, flags: .data)
        try group.addFreeSpace(logical: 8 * sector, length: 4 * MiB)
        for _ in 0..<4 {
            let extent = try allocator.take(3 * sector) { $0.alignment = sectors * sector }
            #expect(extent.logical % (sectors * sector) == 0)
        }
    }

    @Test func step4_whatPassesSearchEndIsRefusedAndGivenBack() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        #expect(allocator.refusal(64 * KiB) { $0.searchEnd = 60 * KiB } == .noSpace)
        #expect(group.runs == ["0+256"])
    }

    @Test func step4_whatPassesTheGroupsEndIsRefused() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        try allocator.addFreeGroup(MiB, MiB)
        #expect(allocator.refusal(MiB + sector) == .noSpace)
        #expect(allocator.refusal(64 * KiB) { $0.searchStart = 2 * MiB - 32 * KiB } == .noSpace)
        #expect(try allocator.take(64 * KiB) { $0.searchStart = MiB - 32 * KiB }.logical == MiB)
    }

    @Test func step4_whatPassesTheHintIsLeftToTheOtherGroups() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: 8 * MiB, flags: .data)
        try group.addFreeSpace(logical: 4 * MiB, length: 2 * MiB)
        try allocator.addFreeGroup(8 * MiB, 8 * MiB)
        // At the hint nothing is free; behind it there is, but without the slack asked for then.
        #expect(try allocator.take(MiB) { $0.hint = 2 * MiB }.logical == 8 * MiB)
    }

    @Test func step4_theSearchGoesOnBehindAnExclusionInTheSameGroup() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        try allocator.addFreeGroup(MiB, MiB)
        let extent = try allocator.take(64 * KiB) { $0.excludeLength = 512 * KiB }
        #expect(extent.logical == 512 * KiB)
    }

    @Test func step4_nothingThatTouchesAnExclusionIsClaimed() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        for start in stride(from: 0, to: MiB, by: 37 * 1024) {
            let extent = try allocator.take(128 * KiB) {
                $0.excludeStart = start
                $0.excludeLength = 100_000
            }
            #expect(extent.logical + extent.length <= start || extent.logical >= start + 100_000)
            try allocator.giveBack(extent)
        }
        #expect(group.runs == ["0+256"])
    }

    @Test func step4_theRunMustHaveTheEmptySizeToo() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 0, length: 64 * KiB)
        try group.addFreeSpace(logical: 512 * KiB, length: 128 * KiB)
        #expect(try group.take(64 * KiB) { $0.emptySize = sector }.logical == 512 * KiB)
        #expect(group.refusal(64 * KiB) { $0.emptySize = sector } == .noSpace)
        #expect(group.refusal(64 * KiB) { $0.emptySize = UInt64.max } == .noSpace)
        #expect(try group.take(64 * KiB).logical == 0)
    }

    // MARK: 5. Accepted

    @Test func step5_onlyWhatWasAskedForIsKept() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.addFreeSpace(logical: 3 * sector, length: 29 * sector)
        let extent = try allocator.take(2 * sector) { $0.alignment = 8 * sector }
        #expect(extent == Extent(logical: 8 * sector, length: 2 * sector))
        #expect(group.runs == ["3+5", "10+22"])
        #expect(group.statistics.claimedBytes == 2 * sector)
    }

    @Test func step5_emptySizeIsNotClaimed() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let extent = try allocator.take(64 * KiB) { $0.emptySize = 256 * KiB }
        #expect(extent.length == 64 * KiB)
        #expect(group.statistics.freeBytes == MiB - 64 * KiB)
    }

    // MARK: 6. Again without the hint, without slack, after a chunk

    @Test func step6_aFailedHintAsksForTwoMiBOfSlackElsewhere() throws {
        let allocator = try Allocator()
        let tight = try allocator.addGroup(logical: 0, length: 8 * MiB, flags: .data)
        try tight.addFreeSpace(logical: 0, length: MiB)
        try allocator.addFreeGroup(8 * MiB, 8 * MiB)
        #expect(try allocator.take(sector) { $0.hint = 4 * MiB }.logical == 8 * MiB)
        #expect(try allocator.take(sector).logical == 0, "without a hint the tightest run serves")
    }

    @Test func step6_slackIsGivenUpBeforeAClaimIsRefused() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        #expect(try allocator.take(MiB) { $0.emptySize = 8 * MiB }.logical == 0)
        #expect(allocator.refusal(sector) { $0.hint = 0 } == .noSpace)
    }

    @Test func step6_aChunkIsAskedForBeforeSlackIsGivenUp() throws {
        let source = TestSource()
        source.onChunk = { allocator, flags, _ in
            errorCode { () throws(AllocationError) in
                try allocator.addGroup(logical: 8 * MiB, length: 8 * MiB, flags: flags)
            }.map { AllocationError($0) }
        }
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        _ = try allocator.take(sector) { $0.emptySize = MiB }
        #expect(source.chunkCalls.now == 1)
    }

    @Test func step6_aRefusedChunkStillLeavesTheSearchWithoutSlack() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        #expect(try allocator.take(MiB) { $0.emptySize = MiB }.logical == 0)
        #expect(source.chunkCalls.now == 1)
        #expect(allocator.refusal(MiB) == .noSpace)
    }

    @Test func step6_aNewChunkServesTheClaimThatAskedForIt() throws {
        let source = TestSource()
        source.onChunk = { allocator, flags, length in
            errorCode { () throws(AllocationError) in
                try allocator.addGroup(logical: GiB, length: length, flags: flags)
            }.map { AllocationError($0) }
        }
        let allocator = try Allocator(source: source)
        #expect(try allocator.take(3 * MiB).logical == GiB)
        #expect(allocator.refusal(sector) == .noSpace)
    }

    // MARK: reserve_extent

    @Test func reserveExtentHalvesTheLengthDownToTheMinimum() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: 8 * MiB, flags: .data)
        try group.addFreeSpace(logical: 0, length: 100 * KiB)
        #expect(try allocator.take(MiB) { $0.lengthMin = sector }.length == 64 * KiB)
        #expect(try allocator.take(MiB) { $0.lengthMin = 36 * KiB }.length == 36 * KiB)
        #expect(allocator.refusal(MiB) { $0.lengthMin = sector } == .noSpace)
    }

    @Test func reserveExtentNeverGoesBelowTheMinimum() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: 8 * MiB, flags: .data)
        try group.addFreeSpace(logical: 0, length: 100 * KiB)
        #expect(allocator.refusal(MiB) { $0.lengthMin = 104 * KiB } == .noSpace)
        #expect(try allocator.take(MiB) { $0.lengthMin = 100 * KiB }.length == 100 * KiB)
    }

    @Test func reserveExtentForcesAChunkForTheSmallerLengthBeforeItGivesUp() throws {
        let source = TestSource()
        let asked = Shared<[UInt64]>([])
        source.onChunk = { allocator, flags, length in
            asked.with { $0.append(length) }
            guard length <= 256 * KiB else { return AllocationError(.noSpace) }
            return errorCode { () throws(AllocationError) in
                try allocator.addGroup(logical: 0, length: length, flags: flags)
            }.map { AllocationError($0) }
        }
        let allocator = try Allocator(source: source)
        #expect(try allocator.take(MiB) { $0.lengthMin = 64 * KiB }.length == 256 * KiB)
        #expect(asked.now == [MiB, 512 * KiB, 256 * KiB])
    }
}
