//===-- GroupTableTests.swift - groups by address and in order -----------------------------------===//
// Covers the lookup by address over small, many and far apart groups, the order of visits, and adding
// and removing. Lookups while groups come and go are in AllocatorStressTests.

import BGAllocation
import Testing

@Suite struct GroupTableTests {
    private func listed(_ allocator: Allocator) -> [UInt64] {
        var found: [UInt64] = []
        allocator.forEachGroup {
            found.append($0.logical)
            return true
        }
        return found
    }

    @Test func groupsAreListedInAddressOrderHoweverTheyWereAdded() throws {
        var random = SeededRandom(testSeed)
        let allocator = try Allocator()
        let starts = (0..<200 as Range<UInt64>).map { $0 * 3 * MiB }
        for start in starts.shuffled(using: &random) {
            try allocator.addGroup(logical: start, length: MiB, flags: .data)
        }
        #expect(listed(allocator) == starts, "seed \(testSeed)")
    }

    @Test func aGroupKeepsItsAllocator() throws {
        weak var allocator: Allocator?
        let group = try {
            let made = try Allocator()
            allocator = made
            return try made.addGroup(logical: 0, length: MiB, flags: .data)
        }()
        try group.addFreeSpace(logical: 0, length: MiB)
        withExtendedLifetime(group) { #expect(allocator != nil) }
        #expect(group.statistics.freeBytes == MiB)
    }

    @Test func aVisitEndsWhenItsBodySaysSo() throws {
        let allocator = try Allocator()
        for index in 0..<5 as Range<UInt64> {
            try allocator.addGroup(logical: index * MiB, length: MiB, flags: .data)
        }
        var seen = 0
        allocator.forEachGroup { _ in
            seen += 1
            return seen < 3
        }
        #expect(seen == 3)
    }

    @Test func anAddressLeadsToTheGroupThatHoldsItAndToNoOther() throws {
        var random = SeededRandom(testSeed)
        let allocator = try Allocator()
        var groups: [(start: UInt64, length: UInt64)] = []
        var start: UInt64 = 0
        for _ in 0..<300 {
            start += UInt64.random(in: 0...3, using: &random) * 16 * sector
            let length = UInt64.random(in: 1...400, using: &random) * sector
            groups.append((start, length))
            start += length
        }
        for group in groups.shuffled(using: &random) {
            try allocator.addGroup(logical: group.start, length: group.length, flags: .data)
        }
        for (index, group) in groups.enumerated() {
            for address in [
                group.start, group.start + group.length / 2, group.start + group.length - 1,
            ] {
                #expect(allocator.group(at: address)?.logical == group.start, "seed \(testSeed)")
            }
            let end = group.start + group.length
            let next = index + 1 < groups.count ? groups[index + 1].start : UInt64.max
            if end < next { #expect(allocator.group(at: end) == nil, "seed \(testSeed)") }
        }
    }

    @Test func groupsAtBothEndsOfTheAddressSpaceAreFound() throws {
        let top = UInt64.max - 64 * MiB + 1
        let starts = [0, 5 * MiB, 1 << 40, 1 << 62, top, top + MiB, top + 9 * MiB]
        for first in 0..<starts.count {
            let allocator = try Allocator()
            for index in 0..<starts.count {
                let start = starts[(first + index) % starts.count]
                try allocator.addFreeGroup(start, MiB)
            }
            #expect(listed(allocator) == starts)
            for start in starts {
                #expect(allocator.group(at: start)?.logical == start)
                #expect(allocator.group(at: start + MiB - 1)?.logical == start)
            }
            let extent = try allocator.take(MiB) { $0.searchStart = top + 2 * MiB }
            #expect(extent.logical == top + 9 * MiB)
            try allocator.giveBack(extent)
            #expect(allocator.giveBackRefusal(top + 30 * MiB, sector) == .invalidArgument)
        }
    }

    @Test func aGroupThatOverlapsAnotherIsRefused() throws {
        let allocator = try Allocator()
        try allocator.addGroup(logical: 4 * MiB, length: 4 * MiB, flags: .data)
        let overlaps: [(UInt64, UInt64)] = [
            (4, 4), (3, 2), (7, 2), (5, 1), (0, 16), (4, 1), (7, 1), (0, 5),
        ]
        for (start, length) in overlaps {
            #expect(throws: AllocationError(.exists)) {
                try allocator.addGroup(logical: start * MiB, length: length * MiB, flags: .metadata)
            }
        }
        try allocator.addGroup(logical: 0, length: 4 * MiB, flags: .data)
        try allocator.addGroup(logical: 8 * MiB, length: sector, flags: .data)
        #expect(listed(allocator) == [0, 4 * MiB, 8 * MiB])
    }

    @Test func badGroupsAreRefused() throws {
        let allocator = try Allocator()
        let bad: [(UInt64, UInt64, BlockGroupFlags)] = [
            (0, 0, .data), (1, sector, .data), (0, sector + 1, .data), (0, sector, []),
            (0, sector, [.data, .system]), (0, sector, [.data, .raid0, .raid1]),
            (0, sector, [.data, .availSingle]), (0, sector, BlockGroupFlags(rawValue: 1 | 1 << 20)),
            (0, (1 << 31) * sector, .data), (UInt64.max - sector + 1, sector, .data),
            (UInt64.max - sector + 1, 2 * sector, .data),
        ]
        for (start, length, flags) in bad {
            #expect(throws: AllocationError(.invalidArgument)) {
                try allocator.addGroup(logical: start, length: length, flags: flags)
            }
        }
        #expect(listed(allocator) == [])
    }

    @Test(arguments: [512, 1024, 4096, 16384, 65536] as [UInt64])
    func everySectorSizeThatBtrfsHasIsServed(size: UInt64) throws {
        let allocator = try Allocator(sectorSize: size)
        try allocator.addFreeGroup(0, 64 * size)
        #expect(try allocator.take(size).length == size)
        #expect(allocator.refusal(size / 2) == .invalidArgument)
        #expect(allocator.refusal(64 * size) == .noSpace)
    }

    @Test(arguments: [0, 1, 256, 513, 4095, 131072] as [UInt64])
    func otherSectorSizesAreRefused(size: UInt64) {
        #expect(throws: AllocationError(.invalidArgument)) {
            _ = try Allocator(sectorSize: size)
        }
    }

    @Test func removedGroupsLeaveTheOthersReachable() throws {
        let allocator = try Allocator()
        for index in 0..<64 as Range<UInt64> { try allocator.addFreeGroup(index * MiB, MiB) }
        for index in stride(from: 0, to: 64, by: 2) as StrideTo<UInt64> {
            try allocator.removeGroup(logical: index * MiB)
            #expect(allocator.group(at: index * MiB) == nil)
            #expect(allocator.group(at: (index + 1) * MiB)?.logical == (index + 1) * MiB)
        }
        var taken: Set<UInt64> = []
        for _ in 0..<32 { taken.insert(try allocator.take(MiB).logical / MiB) }
        #expect(taken == Set(stride(from: 1, to: 64, by: 2)))
        #expect(allocator.refusal(sector) == .noSpace)
    }

    @Test func anAllocatorWithoutItsLastGroupTakesNewOnes() throws {
        let allocator = try Allocator()
        for round in 0..<5 as Range<UInt64> {
            try allocator.addFreeGroup(round * MiB, MiB)
            try allocator.giveBack(try allocator.take(MiB))
            try allocator.removeGroup(logical: round * MiB)
            #expect(listed(allocator) == [])
            #expect(allocator.refusal(sector) == .noSpace)
        }
    }

    @Test func onlyAGroupsFirstByteRemovesIt() throws {
        let allocator = try Allocator()
        try allocator.addGroup(logical: MiB, length: MiB, flags: .data)
        for address in [0, MiB + sector, 2 * MiB - 1, 2 * MiB, UInt64.max] {
            #expect(throws: AllocationError(.notFound)) {
                try allocator.removeGroup(logical: address)
            }
        }
        #expect(listed(allocator) == [MiB])
    }

    @Test func aRemovedGroupStaysUsableWhileSomebodyRefersToIt() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        try allocator.removeGroup(logical: 0)
        #expect(group.statistics.freeBytes == MiB)
        #expect(group.refusal(sector) == .noSpace)
        try allocator.addFreeGroup(0, 2 * MiB)
        #expect(allocator.group(at: 0)?.length == 2 * MiB)
    }
}
