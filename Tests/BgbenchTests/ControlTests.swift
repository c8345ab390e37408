//===-- ControlTests.swift - every competitor under the driver, tiny, with every claim checked ===//
// Covered: no two owners, in range, nothing lost, the same run for the same seed, the checks
// themselves. Not covered: figures of any kind.
//
// Competitors that cannot run here (a library that is not installed, ours before it is linked in)
// are left out; std-map and the seed controls always run.
// The count of faults is the program's, so these tests take turns. Replay with BG_SEED=….

import BenchControls
import Foundation
import Testing

@testable import bgbench

private let seed = UInt64(ProcessInfo.processInfo.environment["BG_SEED"] ?? "") ?? 20081

private let runnable: [String] = Competitor.all()
    .filter { !$0.isNull && $0.unavailable == nil }.map { $0.name }

private func competitor(_ name: String) throws -> Competitor {
    try #require(Competitor.all().first { $0.name == name })
}

private let smallSpace = Space(totalBytes: 256 << 20, groupBytes: 32 << 20)

@Suite(.serialized) struct ControlTests {
    @Test func controlsThatNeedNothingAlwaysRun() {
        for name in ["std-map", "seed-before", "seed-after"] {
            #expect(runnable.contains(name))
        }
    }

    @Test(arguments: runnable)
    func noSectorHasTwoOwnersInAnyWorkload(name: String) throws {
        let checked = try #require(try competitor(name).verified())
        let run = try #require(Run(checked, smallSpace, threads: 1, seed: seed))
        let before = verifyFaults().count
        run.fill()
        let slice = run.steady(operations: 4000)
        #expect(slice.operations == 4000, "seed \(seed)")
        #expect(run.pairs(100).refused == 0)
        let full = run.fillOn(bytes: 0)
        #expect(full > 50 && full <= 100)
        _ = run.fillOn(bytes: 1 << 20)
        #expect(verifyFaults().count == before, "\(verifyFaults().first), seed \(seed)")
    }

    @Test(arguments: runnable)
    func freeAndLiveBytesMakeTheWhole(name: String) throws {
        let run = try #require(Run(try competitor(name), smallSpace, threads: 1, seed: seed))
        run.fill()
        for step in 0..<20 {
            _ = run.steady(operations: 100)
            let summary = run.describe()
            #expect(
                summary.space.free_bytes + summary.live_bytes == smallSpace.totalBytes,
                "seed \(seed), step \(step)"
            )
        }
    }

    @Test(arguments: runnable)
    func fillingOnLeavesTheFreeSpaceAsItWas(name: String) throws {
        let run = try #require(Run(try competitor(name), smallSpace, threads: 1, seed: seed))
        run.fill()
        _ = run.steady(operations: 2000)
        let before = run.describe()
        _ = run.fillOn(bytes: 0)
        let after = run.describe()
        #expect(after.space.free_extents == before.space.free_extents, "seed \(seed)")
        #expect(after.space.largest_run_bytes == before.space.largest_run_bytes, "seed \(seed)")
        #expect(after.hash == before.hash)
    }

    @Test(arguments: runnable)
    func threadsNeverShareASector(name: String) throws {
        let checked = try #require(try competitor(name).verified())
        let run = try #require(Run(checked, smallSpace, threads: 4, seed: seed))
        let before = verifyFaults().count
        run.fill()
        let slice = run.parallel(seconds: 20, operations: 4000)
        #expect(slice.operations > 0)
        let summary = run.describe()
        #expect(summary.space.free_bytes + summary.live_bytes == smallSpace.totalBytes)
        #expect(verifyFaults().count == before, "\(verifyFaults().first), seed \(seed)")
    }

    // Ours keeps state per processor, so its placement may follow the scheduler.
    @Test(arguments: runnable.filter { !$0.hasPrefix("blockgroups") })
    func aSeedDecidesTheResult(name: String) throws {
        func hash(_ seed: UInt64) throws -> UInt64 {
            let run = try #require(Run(try competitor(name), smallSpace, threads: 1, seed: seed))
            run.fill()
            _ = run.steady(operations: 1000)
            return run.describe().hash
        }
        #expect(try hash(seed) == hash(seed))
        #expect(try hash(seed) != hash(seed + 1))
    }

    @Test(arguments: runnable, [false, true])
    func everyExtentAddedIsCountedOnce(name: String, shuffled: Bool) throws {
        let space = Space(totalBytes: 256 << 20, groupBytes: 32 << 20, isAllFree: false)
        let checked = try #require(try competitor(name).verified())
        let before = verifyFaults().count
        let density = try #require(
            measureDensity(
                checked,
                space,
                extents: 2500,
                spacing: 26,
                shuffled: shuffled,
                seed: seed
            )
        )
        #expect(density.free_extents == 2500)
        #expect(verifyFaults().count == before, "\(verifyFaults().first), seed \(seed)")
    }

    @Test func extentsThatDoNotFitAreRefused() throws {
        let space = Space(totalBytes: 64 << 20, groupBytes: 32 << 20, isAllFree: false)
        let density = measureDensity(
            try competitor("std-map"),
            space,
            extents: 1000,
            spacing: 26,
            shuffled: false,
            seed: seed
        )
        #expect(density == nil)
    }

    @Test func theChecksCatchAnAllocatorThatHandsOutTwice() throws {
        // null's addresses come from a counter that starts over.
        let checked = try #require(try competitor("null").verified())
        let run = try #require(Run(checked, smallSpace, threads: 1, seed: seed))
        let before = verifyFaults().count
        run.fill()
        _ = run.steady(operations: 2000)
        #expect(verifyFaults().count > before)
        #expect(!verifyFaults().first.isEmpty)
    }
}
