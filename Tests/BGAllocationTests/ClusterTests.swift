//===-- ClusterTests.swift - runs set aside for one kind of writer -------------------------------===//
// Covers: claims that lie side by side, what is set aside counts as free and comes back when it is
// wanted, when the group turns read-only or goes, and when the cluster goes; several clusters at once.

import BGAllocation
import Testing

@Suite struct ClusterTests {
    private func next(_ cluster: Cluster, _ length: UInt64 = sector) throws -> Extent {
        try cluster.claim(length: length).commit()
    }

    @Test func claimsOfAClusterLieSideBySide() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 8 * MiB, .metadata)
        let cluster = try Cluster(allocator: allocator, flags: .metadata, window: MiB)
        var end: UInt64?
        for _ in 0..<64 {
            let extent = try next(cluster, 4 * sector)
            if let end { #expect(extent.logical == end) }
            end = extent.logical + extent.length
            // Others claim in between and do not get in the way.
            _ = try allocator.take(sector, .metadata)
        }
    }

    @Test func whatAClusterHoldsCountsAsFree() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, 8 * MiB)
        let cluster = try Cluster(allocator: allocator, flags: .data, window: 2 * MiB)
        _ = try next(cluster)
        #expect(group.statistics.freeBytes == 8 * MiB - sector)
        #expect(group.statistics.claimedBytes == sector)
        #expect(group.statistics.runCount == 1)
        withExtendedLifetime(cluster) {}
    }

    @Test func nothingIsRefusedWhileAClusterHoldsIt() throws {
        for size in [1, 16, 255] as [UInt64] {
            let allocator = try Allocator()
            try allocator.addFreeGroup(0, MiB)
            let cluster = try Cluster(allocator: allocator, flags: .data, window: MiB)
            _ = try next(cluster)
            let extent = try allocator.take(size * sector)
            #expect(extent.logical >= sector)
            withExtendedLifetime(cluster) {}
        }
    }

    @Test func aClusterGoesOnAfterItsRunWasTakenBack() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let cluster = try Cluster(allocator: allocator, flags: .data, window: MiB)
        var taken: Set<UInt64> = []
        for _ in 0..<128 {
            taken.insert(try next(cluster).logical)
            _ = group.statistics
            taken.insert(try allocator.take(sector).logical)
        }
        #expect(taken.count == 256)
        #expect(
            errorCode { () throws(AllocationError) in
                _ = try cluster.claim(length: sector).commit()
            } == .noSpace
        )
    }

    @Test func aReadOnlyGroupTakesItsClustersBack() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        try allocator.addFreeGroup(MiB, MiB)
        let cluster = try Cluster(allocator: allocator, flags: .data, window: MiB)
        #expect(try next(cluster).logical == 0)
        group.setReadOnly(true)
        #expect(try next(cluster).logical >= MiB)
        #expect(group.statistics.freeBytes == MiB - sector)
    }

    @Test func aGroupThatACusterUsesCanGo() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        let cluster = try Cluster(allocator: allocator, flags: .data, window: MiB)
        let extent = try next(cluster)
        #expect(throws: AllocationError(.busy)) { try allocator.removeGroup(logical: 0) }
        try allocator.giveBack(extent)
        try allocator.removeGroup(logical: 0)
        #expect(
            errorCode { () throws(AllocationError) in
                _ = try cluster.claim(length: sector).commit()
            } == .noSpace
        )
        try allocator.addFreeGroup(4 * MiB, MiB)
        #expect(try next(cluster).logical == 4 * MiB)
    }

    @Test func aClusterGivesItsRestBackWhenToldAndWhenItGoes() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        var kept: [Extent] = []
        do {
            let cluster = try Cluster(allocator: allocator, flags: .data, window: MiB)
            kept.append(try next(cluster))
            cluster.returnRest()
            cluster.returnRest()
            #expect(group.runs == ["1+255"])
            kept.append(try next(cluster))
        }
        for extent in kept { try allocator.giveBack(extent) }
        #expect(group.runs == ["0+256"])
    }

    @Test func whatAClusterHasNotServedCannotBeGivenBack() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let cluster = try Cluster(allocator: allocator, flags: .data, window: MiB)
        let extent = try next(cluster, 4 * sector)
        #expect(allocator.giveBackRefusal(4 * sector, sector) == .exists)
        #expect(allocator.giveBackRefusal(3 * sector, 2 * sector) == .exists)
        #expect(allocator.giveBackRefusal(200 * sector, 8 * sector) != nil)
        try allocator.giveBack(extent)
        #expect(allocator.giveBackRefusal(extent.logical, sector) != nil)
        #expect(group.runs == ["0+256"])
        withExtendedLifetime(cluster) {}
    }

    @Test func whereAnEmptyClusterEndedIsNothingToGiveBacks() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, MiB)
        let cluster = try Cluster(allocator: allocator, flags: .data, window: 8 * sector)
        let extent = try next(cluster, 8 * sector)
        #expect(extent.logical == 0)
        try allocator.giveBack(extent)
        let whole = try allocator.take(16 * sector) { $0.searchEnd = 16 * sector }
        #expect(allocator.giveBackRefusal(whole.logical, whole.length) == nil)
        #expect(group.runs == ["0+256"])
        withExtendedLifetime(cluster) {}
    }

    @Test func aShorterRunServesWhereNoneIsAsLongAsTheWindow() throws {
        let allocator = try Allocator()
        let group = try allocator.addGroup(logical: 0, length: 8 * MiB, flags: .data)
        for index in 0..<8 as Range<UInt64> {
            try group.addFreeSpace(logical: index * MiB, length: 12 * sector)
        }
        let cluster = try Cluster(allocator: allocator, flags: .data, window: 2 * MiB)
        for _ in 0..<24 { _ = try next(cluster, 4 * sector) }
        #expect(group.statistics.freeBytes == 0)
    }

    @Test func twoClustersOfOneGroupDoNotTakeEachOthersRuns() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 16 * MiB)
        let first = try Cluster(allocator: allocator, flags: .data, window: MiB)
        let second = try Cluster(allocator: allocator, flags: .data, window: MiB)
        let firstStart = try next(first).logical
        let secondStart = try next(second).logical
        for step in 1..<100 as Range<UInt64> {
            #expect(try next(first).logical == firstStart + step * sector)
            #expect(try next(second).logical == secondStart + step * sector)
        }
    }

    @Test func clustersKeepToTheirTypeAndProfile() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB, .data)
        try allocator.addFreeGroup(MiB, MiB, [.metadata, .raid1])
        try allocator.addFreeGroup(2 * MiB, MiB, [.metadata, .dup])
        let cluster = try Cluster(allocator: allocator, flags: [.metadata, .dup], window: 64 * KiB)
        for _ in 0..<256 { #expect(try next(cluster).logical >= 2 * MiB) }
    }

    @Test func badClustersAndClaimsAreRefused() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, MiB)
        let bad: [(BlockGroupFlags, UInt64)] = [(BlockGroupFlags(), MiB), (.data, 0), (.data, 100)]
        for (flags, window) in bad {
            #expect(throws: AllocationError(.invalidArgument)) {
                _ = try Cluster(allocator: allocator, flags: flags, window: window)
            }
        }
        let cluster = try Cluster(allocator: allocator, flags: .data, window: 64 * KiB)
        for length in [0, 1, sector + 1, 64 * KiB + sector] {
            #expect(
                errorCode { () throws(AllocationError) in
                    _ = try cluster.claim(length: length).commit()
                } == .invalidArgument
            )
        }
    }

    @Test func manyThreadsOfOneClusterGetDifferentSectors() throws {
        let allocator = try Allocator()
        try allocator.addFreeGroup(0, 4 * MiB)
        let cluster = try Cluster(allocator: allocator, flags: .data, window: 64 * KiB)
        let taken = Shared<Set<UInt64>>([])
        onThreads(8) { _ in
            var mine: [UInt64] = []
            for _ in 0..<128 {
                if let extent = try? cluster.claim(length: sector).commit() {
                    mine.append(extent.logical)
                }
            }
            taken.with { $0.formUnion(mine) }
        }
        #expect(taken.now.count == 1024)
    }
}
