//===-- ClaimRun.swift - threads that claim at once, and whether it went well ---------------------===//
// While they run, the owner map judges every claim. At the end the held claims are compared once more,
// sorted, among themselves and with the lists of free space from before; then all is given back, and
// free space must be what it was.

import BlockGroups
import Glibc
import Synchronization

/// What came of a run.
struct ClaimOutcome {
    var tally: ClaimTally
    var seconds = 0.0
    var locksTaken: UInt64 = 0
    var locksContended: UInt64 = 0
    /// Held when the threads ended, by group, bytes.
    var heldBytes: [UInt64]
    var heldCount = 0
    var refusal: (request: ClaimRequest, words: String)?
    /// What must never happen, if it did.
    var fault: String?
}

/// Runs a plan on groups whose free space was learnt.
struct ClaimRun {
    private let plan: ClaimPlan
    private let allocator: Allocator
    private let groups: [ImageGroup]
    private let before: [(logical: UInt64, length: UInt64)]
    private let owners: OwnerMap

    init(_ plan: ClaimPlan, _ allocator: Allocator, _ groups: [ImageGroup]) throws {
        self.plan = plan
        self.allocator = allocator
        self.groups = groups
        before = ClaimRun.freeRuns(groups)
        owners = try OwnerMap(
            groups.map { ($0.logical, $0.length) },
            sectorSize: allocator.sectorSize
        )
        for run in before where !owners.release(run.logical, run.length) {
            throw Failure("free space at \(run.logical) was listed twice, or outside its group")
        }
    }

    private static func freeRuns(
        _ groups: [ImageGroup]
    ) -> [(logical: UInt64, length: UInt64)] {
        var runs: [(logical: UInt64, length: UInt64)] = []
        for group in groups { group.forEachFree { runs.append(($0, $1)) } }
        return runs
    }

    func run() throws -> ClaimOutcome {
        let shared = ClaimShared()
        let workers = (0..<plan.threads).map {
            ClaimWorker(plan, allocator, owners, shared, number: $0, groups: groups.count)
        }
        let locks = allocator.lockCounts
        let seconds = try runThreads(workers, shared)
        let locksAfter = allocator.lockCounts

        var outcome = ClaimOutcome(
            tally: ClaimTally(groups: groups.count),
            heldBytes: [UInt64](repeating: 0, count: groups.count)
        )
        outcome.seconds = seconds
        outcome.locksTaken = locksAfter.taken &- locks.taken
        outcome.locksContended = locksAfter.contended &- locks.contended
        for worker in workers { outcome.tally.add(worker.tally) }
        let held = workers.flatMap { $0.held }.map { (logical: $0.logical, length: $0.length) }
        outcome.heldCount = held.count
        for extent in held {
            if let area = owners.area(of: extent.logical) {
                outcome.heldBytes[area] += extent.length
            }
        }
        if let refusal = shared.refusal.withLock({ $0 }) { outcome.refusal = refusal }
        outcome.fault =
            shared.fault.withLock { $0 } ?? faultAmong(held)
            ?? faultAfterGivingBack(workers, shared)
        return outcome
    }

    /// Starts all, lets them go at once, waits for them; returns the seconds from then to the last.
    private func runThreads(_ workers: [ClaimWorker], _ shared: ClaimShared) throws -> Double {
        var threads: [Thread] = []
        for worker in workers {
            guard let thread = Thread({ worker.work() }) else {
                shared.mustStop.store(true, ordering: .relaxed)
                shared.isGoing.store(true, ordering: .releasing)
                for thread in threads { thread.join() }
                throw Failure("only \(threads.count) of \(workers.count) threads could be started")
            }
            threads.append(thread)
        }
        var watcher: Thread?
        let isOver = StopSign()
        let count = plan.count
        let began = ContinuousClock.now
        shared.isGoing.store(true, ordering: .releasing)
        watcher = Thread {
            var progress = Progress("claims")
            while !isOver.isSet {
                usleep(20_000)
                progress.report(min(shared.done.load(ordering: .relaxed), count), of: count)
            }
            progress.end()
        }
        for thread in threads { thread.join() }
        let duration = ContinuousClock.now - began
        isOver.set()
        watcher?.join()
        let parts = duration.components
        return Double(parts.seconds) + Double(parts.attoseconds) * 1e-18
    }

    /// The claims that are held, once more and by another way than the owner map's.
    private func faultAmong(_ held: [(logical: UInt64, length: UInt64)]) -> String? {
        if let (first, second) = firstOverlap(held) {
            return "OVERLAP: claims of \(first.length) bytes at \(first.logical) and "
                + "\(second.length) at \(second.logical)"
        }
        if let outside = firstOutside(held, before) {
            return
                "the claim of \(outside.length) bytes at \(outside.logical) lies outside of what "
                + "was free"
        }
        let free = before.reduce(0) { $0 + $1.length }
        let left = groups.reduce(0) { $0 + $1.group.statistics.freeBytes }
        let bytes = held.reduce(0) { $0 + $1.length }
        guard free == left + bytes else {
            return "\(free) bytes were free, but \(left) are and \(bytes) are claimed"
        }
        return nil
    }

    private func faultAfterGivingBack(_ workers: [ClaimWorker], _ shared: ClaimShared) -> String? {
        for worker in workers { worker.giveBackAll() }
        if let fault = shared.fault.withLock({ $0 }) { return fault }
        let after = ClaimRun.freeRuns(groups)
        for (left, right) in zip(before, after) where left != right {
            return
                "after giving all back, free space at \(left.logical) is \(right.length) bytes at "
                + "\(right.logical), and was \(left.length)"
        }
        guard before.count == after.count else {
            return "after giving all back there are \(after.count) free runs, not \(before.count)"
        }
        return nil
    }
}
