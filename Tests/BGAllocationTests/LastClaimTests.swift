//===-- LastClaimTests.swift - what came back right after it was claimed -------------------------===//
// Covers: a claim that is given back at once is remembered instead of put back into the index
// (CShim/src/bgs_group_locked.h, "The last claim"), and nobody can tell: refusals, statistics and
// every later address are as if it had been put back. Without magazines, which would serve these.
//
// BG_SEED=n replays the random test.

import BGAllocation
import Testing

@Suite struct LastClaimTests {
    private func withReturned(_ length: UInt64) throws -> (Allocator, BlockGroup, Extent) {
        let allocator = try Allocator(magazines: false)
        let group = try allocator.addFreeGroup(0, 64 * sector)
        let extent = try allocator.take(length)
        try allocator.giveBack(extent)
        return (allocator, group, extent)
    }

    @Test func theSameClaimGetsTheSameRange() throws {
        let (allocator, group, extent) = try withReturned(3 * sector)
        for _ in 0..<3 {
            #expect(try allocator.take(3 * sector) == extent)
            try allocator.giveBack(extent)
        }
        _ = try allocator.take(3 * sector)
        #expect(group.statistics.claimedBytes == 3 * sector)
        #expect(group.runs == ["3+61"])
    }

    @Test func itCountsAsFreeOnce() throws {
        let (_, group, _) = try withReturned(3 * sector)
        #expect(group.statistics.freeBytes == 64 * sector)
        #expect(group.statistics.claimedBytes == 0)
        #expect(group.runs == ["0+64"])
    }

    @Test func itIsNotGivenBackTwice() throws {
        for (start, length) in [(0, 3), (0, 1), (1, 2), (2, 4)] as [(UInt64, UInt64)] {
            let (allocator, group, _) = try withReturned(3 * sector)
            #expect(allocator.giveBackRefusal(start * sector, length * sector) == .exists)
            #expect(group.runs == ["0+64"])
        }
    }

    @Test func aPartThatComesBackIsOnlyAPart() throws {
        let allocator = try Allocator(magazines: false)
        let group = try allocator.addFreeGroup(0, 64 * sector)
        _ = try allocator.take(4 * sector)
        try allocator.giveBack(Extent(logical: sector, length: sector))
        #expect(group.statistics.claimedBytes == 3 * sector)
        #expect(group.runs == ["1+1", "4+60"])
    }

    @Test func everyOtherClaimSeesIt() throws {
        var (allocator, _, _) = try withReturned(3 * sector)
        #expect(try allocator.take(64 * sector).logical == 0)
        (allocator, _, _) = try withReturned(3 * sector)
        #expect(try allocator.take(sector) { $0.searchStart = 2 * sector }.logical == 2 * sector)
        (allocator, _, _) = try withReturned(3 * sector)
        #expect(try allocator.take(3 * sector) { $0.emptySize = 61 * sector }.logical == 0)
    }

    @Test func aReadOnlyGroupDoesNotServeIt() throws {
        let (allocator, group, _) = try withReturned(3 * sector)
        group.setReadOnly(true)
        #expect(allocator.refusal(3 * sector) == .noSpace)
        group.setReadOnly(false)
        #expect(try allocator.take(64 * sector).logical == 0)
    }

    @Test func whatWasOwnedDoesNotComeBackAsAClaim() throws {
        let allocator = try Allocator(magazines: false)
        let group = try allocator.addFreeGroup(0, 64 * sector)
        let extent = try allocator.take(3 * sector)
        try allocator.own(extent)
        #expect(allocator.giveBackRefusal(extent.logical, extent.length) == .invalidArgument)
        try group.addFreeSpace(logical: extent.logical, length: extent.length)
        #expect(group.runs == ["0+64"])
    }

    /// Two allocators get the same calls; of one, each call is followed by a statistic, which makes
    /// the index whole.
    @Test func nobodyCanTell() throws {
        let seed = testSeed
        var random = SeededRandom(seed)
        let pair = [try Allocator(magazines: false), try Allocator(magazines: false)]
        let groups = try pair.map { allocator in
            try [0, 4096, 9000].map { try allocator.addFreeGroup($0 * sector, 3000 * sector) }
        }
        var live: [Extent] = []
        for step in 0..<5_000 * testScale {
            let choice = UInt64.random(in: 0..<100, using: &random)
            let last = choice < 40 ? live.indices.last : live.indices.randomElement(using: &random)
            if let last, choice < 55 {
                let extent = live.remove(at: last)
                for allocator in pair { try allocator.giveBack(extent) }
            } else {
                // Often the same length again.
                let length = UInt64.random(in: 1...(choice < 90 ? 3 : 200), using: &random)
                let claims = pair.map {
                    try? $0.claim(ClaimRequest(length: length * sector, flags: .data)).commit()
                }
                #expect(claims[0] == claims[1], "seed \(seed), step \(step), \(length) sectors")
                if let claim = claims[0] { live.append(claim) }
            }
            for group in groups[1] { _ = group.statistics }
        }
        for (one, other) in zip(groups[0], groups[1]) {
            #expect(one.runs == other.runs, "seed \(seed)")
        }
    }
}
