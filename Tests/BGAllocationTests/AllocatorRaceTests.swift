//===-- AllocatorRaceTests.swift - moments in which one thread sees half of another's work -------===//
// Each of these was a fault once, or is a place where one would be: groups that appear while they are
// looked up, claimed from or shared out. Bounded by counts; see AllocatorStressTests for the rest.

import BGAllocation
import Foundation
import Testing

@Suite struct AllocatorRaceTests {
    @Test func anAddressAboveAGroupIsNotInItThoughItWasJustAppended() throws {
        let allocator = try Allocator()
        let running = Shared(true)
        let wrong = Shared(0)
        let count: UInt64 = 400 * UInt64(testScale)
        onThreads(3) { index in
            if index == 0 {
                for number in 0..<count {
                    _ = try? allocator.addGroup(
                        logical: number * sector,
                        length: sector,
                        flags: .data
                    )
                }
                running.with { $0 = false }
                return
            }
            while running.now {
                if allocator.group(at: (count + 7) * sector) != nil { wrong.with { $0 += 1 } }
                if index == 1 {
                    var end: UInt64 = 0
                    allocator.forEachGroup {
                        if $0.logical != end { wrong.with { $0 += 1 } }
                        end = $0.logical + $0.length
                        return true
                    }
                }
            }
        }
        #expect(wrong.now == 0)
        #expect(allocator.group(at: (count - 1) * sector) != nil)
    }

    @Test func whatIsClaimedFromANewGroupCanBeGivenBackAtOnce() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        let running = Shared(true)
        let wrong = Shared<[String]>([])
        let served = Shared(0)
        onThreads(4) { index in
            if index == 0 {
                // Out of order, so that every group makes a new table.
                for number in (0..<400 * UInt64(testScale)).reversed() {
                    _ = try? allocator.addGroup(
                        logical: number * 16 * sector,
                        length: 16 * sector,
                        flags: .data
                    )
                }
                // On a busy machine the others may not have begun.
                while served.now == 0 { usleep(1000) }
                running.with { $0 = false }
                return
            }
            while running.now {
                guard let extent = try? allocator.take(16 * sector) else { continue }
                served.with { $0 += 1 }
                if let refusal = allocator.giveBackRefusal(extent.logical, extent.length) {
                    wrong.with { $0.append("\(extent): \(refusal)") }
                }
                if served.now % 3 == 0 { _ = try? allocator.take(16 * sector) }
            }
        }
        #expect(wrong.now.isEmpty, "\(wrong.now.prefix(3))")
    }

    @Test func manyThreadsMayWaitForTheFirstGroupOfAKind() throws {
        for _ in 0..<40 * testScale {
            let allocator = try Allocator()
            let line = StartLine(9)
            let served = Shared(0)
            onThreads(9) { index in
                line.wait()
                if index == 0 {
                    for number in 0..<3 as Range<UInt64> {
                        _ = try? allocator.addFreeGroup(number * MiB, MiB)
                    }
                    return
                }
                for _ in 0..<30 {
                    while (try? allocator.take(sector)) == nil { sched_yield() }
                }
                served.with { $0 += 30 }
            }
            #expect(served.now == 240)
        }
    }

    @Test func aGroupTurnedReadOnlyServesNobodyFromThenOn() throws {
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, 4 * MiB)
        let stop = Shared(false)
        let wrong = Shared(0)
        onThreads(5) { index in
            if index == 0 {
                for _ in 0..<300 * testScale {
                    group.setReadOnly(true)
                    // Claims under way may still come through, and then come back; later ones may not.
                    if group.refusal(sector) != .readOnly { wrong.with { $0 += 1 } }
                    if allocator.refusal(sector) != .noSpace { wrong.with { $0 += 1 } }
                    group.setReadOnly(false)
                    sched_yield()
                }
                stop.with { $0 = true }
                return
            }
            while !stop.now {
                if let extent = try? allocator.take(UInt64(index) * sector),
                    allocator.giveBackRefusal(extent.logical, extent.length) != nil
                {
                    wrong.with { $0 += 1 }
                }
            }
        }
        #expect(wrong.now == 0)
        #expect(group.statistics.freeBytes == 4 * MiB)
    }

    @Test func aRefusedDoubleGiveBackNeverTakesFromAnother() throws {
        // Each thread gives its own sector back twice; the second time must be refused, or hit a moment
        // in which nobody else could have claimed it: there is one sector each.
        let allocator = try Allocator()
        let group = try allocator.addFreeGroup(0, 8 * sector)
        let wrong = Shared(0)
        onThreads(8) { index in
            let mine = UInt64(index) * sector
            for _ in 0..<500 * testScale {
                let extent = try? allocator.take(sector) {
                    $0.searchStart = mine
                    $0.searchEnd = mine + sector
                }
                if extent?.logical != mine { wrong.with { $0 += 1 } }
                if allocator.giveBackRefusal(mine, sector) != nil { wrong.with { $0 += 1 } }
                if allocator.giveBackRefusal(mine, sector) == nil { wrong.with { $0 += 1 } }
            }
        }
        #expect(wrong.now == 0)
        #expect(group.runs == ["0+8"])
    }
}
