// The free-space tree as runs, as bitmaps, and changing from one to the other, by transactions that
// record and drop data extents.
//
// Not covered here: free space in memory (BGAllocationTests), reading (BlockGroupsTests).

import BGDiskFormat
import BGTestSupport
import Testing

@testable import BGTrees

/// How a group's free space is stored when a case begins.
enum FreeSpaceForm: CaseIterable, Sendable {
    case runs, bitmaps
    /// As bitmaps, and then as runs again.
    case converted
}

private let sector: UInt64 = 4096

/// A group of data in which chosen sectors are in use.
private struct Ground {
    let fixture: Fixture
    let group: GroupRecord
    /// More free runs than these make bitmaps, fewer than those make runs.
    let thresholds: FreeSpaceThresholds
    private var references: [UInt64: DataReference] = [:]

    init(_ form: FreeSpaceForm) throws {
        // Enough bitmaps for a threshold to go back below, the last one not a whole one.
        fixture = try Fixture(metadataBytes: 16 << 20, dataBytes: 84 << 20)
        try fixture.store.commit()
        group = try #require(fixture.host.groupRecords.last)
        thresholds = FreeSpaceThresholds(
            FreeSpaceInfo(
                logical: group.logical,
                length: group.length,
                extentCount: 0,
                usesBitmaps: false
            ),
            sectorBytes: sector
        )
        if form == .runs { return }
        try shatter()
        if form == .converted {
            for index in references.keys.sorted() { try drop(index) }
            try check(usesBitmaps: false)
        }
    }

    /// Takes every other sector of the last part of the group, until bitmaps hold the rest.
    mutating func shatter() throws {
        let last = group.length / sector - 1
        for number in 0...UInt64(thresholds.high) { try record(last - 1 - 2 * number) }
        try check(usesBitmaps: true)
    }

    mutating func record(_ first: UInt64, _ count: UInt64 = 1) throws {
        let reference = DataReference(
            logical: group.logical + first * sector,
            length: count * sector,
            root: 5,
            inode: 300,
            offset: first * sector
        )
        let part = ModelPart(extent: reference.logical, length: reference.length)
        let key = Key(300, .extentData, first * sector)
        fixture.host.claimExactly(reference.logical, reference.length)
        try fixture.store.change { transaction throws(FilesystemError) in
            try transaction.recordExtent(reference)
            try transaction.tree(Fixture.tree).insert(key, Fixture.fileExtent(part))
        }
        fixture.parts[key] = part
        references[first] = reference
    }

    mutating func drop(_ first: UInt64) throws {
        try fixture.remove(Key(300, .extentData, first * sector))
        references[first] = nil
    }

    func check(usesBitmaps: Bool) throws {
        try fixture.commitAndCheck()
        let facts = try FileSystemFacts(fixture.host.disk)
        let info = try #require(facts.infos.first { $0.logical == group.logical })
        #expect(info.usesBitmaps == usesBitmaps)
    }
}

@Suite struct FreeSpaceTransactionTests {
    @Test(arguments: FreeSpaceForm.allCases)
    func takingAndGivingBackMergesWithNeighbours(_ form: FreeSpaceForm) throws {
        var ground = try Ground(form)
        let isBitmap = form == .bitmaps
        // The start of the group, its middle, across the bound of two bitmaps.
        for (first, count) in [(0, 1), (1, 1), (100, 4), (104, 2), (2040, 20)] as [(UInt64, UInt64)]
        {
            try ground.record(first, count)
            try ground.check(usesBitmaps: isBitmap)
        }
        // With a free neighbour on one side, on the other, on both and on none.
        for first in [104, 0, 2040, 1, 100] as [UInt64] {
            try ground.drop(first)
            try ground.check(usesBitmaps: isBitmap)
        }
    }

    @Test(arguments: FreeSpaceForm.allCases)
    func severalChangesInOneTransactionCountRight(_ form: FreeSpaceForm) throws {
        var ground = try Ground(form)
        for first in 0..<20 as Range<UInt64> { try ground.record(first * 3, 2) }
        try ground.check(usesBitmaps: form == .bitmaps)
        for first in 0..<20 as Range<UInt64> where first % 3 != 1 { try ground.drop(first * 3) }
        for first in 30..<40 as Range<UInt64> { try ground.record(first * 3, 2) }
        try ground.check(usesBitmaps: form == .bitmaps)
    }

    @Test(arguments: FreeSpaceForm.allCases)
    func aFullGroupHasNoRun(_ form: FreeSpaceForm) throws {
        var ground = try Ground(form)
        let group = ground.group
        var free: [FreeRun] = []
        for run in try FileSystemFacts(ground.fixture.host.disk).freeRuns
        where run.logical >= group.logical { free.append(run) }
        for run in free {
            try ground.record((run.logical - group.logical) / sector, run.length / sector)
        }
        // Without a run, the group is below the threshold.
        try ground.check(usesBitmaps: false)
        let facts = try FileSystemFacts(ground.fixture.host.disk)
        #expect(facts.infos.last?.extentCount == 0)
    }

    @Test func theFormChangesAtTheThresholds() throws {
        var ground = try Ground(.runs)
        let high = UInt64(ground.thresholds.high)
        let low = UInt64(ground.thresholds.low)
        #expect(high == 11 * 281 / 25 && low == high - 100)
        // Sector 0 stays free: each extent makes one run more.
        for number in 1..<high { try ground.record(2 * number - 1) }
        try ground.check(usesBitmaps: false)
        try ground.record(2 * high - 1)
        try ground.check(usesBitmaps: true)
        for number in (low..<high).reversed() { try ground.drop(2 * number + 1) }
        try ground.check(usesBitmaps: true)
        try ground.drop(2 * low - 1)
        try ground.drop(2 * low - 3)
        try ground.check(usesBitmaps: false)
    }

    @Test func bitmapsBecomeRunsWithAMargin() throws {
        let info = FreeSpaceInfo(
            logical: 0,
            length: 1 << 30,
            extentCount: 0,
            usesBitmaps: false
        )
        let thresholds = FreeSpaceThresholds(info, sectorBytes: sector)
        #expect(thresholds.high == 128 * 281 / 25)
        #expect(thresholds.low == thresholds.high - 100)
    }
}
