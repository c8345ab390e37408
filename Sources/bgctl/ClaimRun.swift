//===-- ClaimRun.swift - threads that claim at once, and what they saw ----------------------------===//
// Each thread claims, keeps a list of what it holds, and gives some back at random; every claim passes
// the owner map before it counts. At the end the held claims are compared once more, sorted, among
// themselves and with the lists of free space from before; then all is given back, and free space must
// be what it was.
//
// Locks: a worker's own fields belong to its thread until that was joined; `Shared` is atomics and one
// mutex, taken for the first fault and the first refusal only.

import BlockGroups
import Glibc
import Synchronization

/// What the threads shall do.
struct ClaimPlan: Sendable {
    enum Hint: Equatable, Sendable {
        case none
        /// The end of the thread's last claim.
        case last
        case address(UInt64)
    }

    var threads = 4
    /// Claims to try, all threads together.
    var count = 100_000
    var sizes = SizeRange(least: 4096, most: 1 << 20)
    var flags: BlockGroupFlags = .data
    var giveBackPercent = 50
    var alignment: UInt64 = 0
    /// 0: all or nothing.
    var lengthMin: UInt64 = 0
    var hint = Hint.none
    var seed: UInt64 = 0
}

/// What one thread did.
struct ClaimTally {
    var claims: UInt64 = 0
    var claimedBytes: UInt64 = 0
    var misses: UInt64 = 0
    var givenBack: UInt64 = 0
    var claimsOfGroup: [UInt64]
    var bytesOfGroup: [UInt64]

    init(groups: Int) {
        claimsOfGroup = [UInt64](repeating: 0, count: groups)
        bytesOfGroup = claimsOfGroup
    }

    mutating func add(_ other: ClaimTally) {
        claims += other.claims
        claimedBytes += other.claimedBytes
        misses += other.misses
        givenBack += other.givenBack
        for index in claimsOfGroup.indices {
            claimsOfGroup[index] += other.claimsOfGroup[index]
            bytesOfGroup[index] += other.bytesOfGroup[index]
        }
    }
}

/// What the threads share beside the allocator.
private final class Shared: Sendable {
    let isGoing = Atomic<Bool>(false)
    let mustStop = Atomic<Bool>(false)
    let done = Atomic<Int>(0)
    let fault = Mutex<String?>(nil)
    let refusal = Mutex<(ClaimRequest, String)?>(nil)

    func fail(_ words: @autoclosure () -> String) {
        fault.withLock { first in
            if first == nil { first = words() }
        }
        mustStop.store(true, ordering: .relaxed)
    }
}

/// splitmix64.
struct RandomNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

private final class Worker: @unchecked Sendable {
    private let plan: ClaimPlan
    private let allocator: Allocator
    private let owners: OwnerMap
    private let shared: Shared
    private let tries: Int
    private var random: RandomNumbers
    private var last: UInt64?
    private(set) var tally: ClaimTally
    private(set) var held: [Extent] = []

    init(
        _ plan: ClaimPlan, _ allocator: Allocator, _ owners: OwnerMap, _ shared: Shared,
        number: Int, groups: Int
    ) {
        self.plan = plan
        self.allocator = allocator
        self.owners = owners
        self.shared = shared
        tries = plan.count / plan.threads + (number < plan.count % plan.threads ? 1 : 0)
        var seeds = RandomNumbers(seed: plan.seed &+ UInt64(number))
        random = RandomNumbers(seed: seeds.next())
        tally = ClaimTally(groups: groups)
    }

    func work() {
        while !shared.isGoing.load(ordering: .acquiring) { sched_yield() }
        for step in 0..<tries {
            if shared.mustStop.load(ordering: .relaxed) { return }
            claimOnce()
            if step % 64 == 63 { shared.done.wrappingAdd(64, ordering: .relaxed) }
        }
    }

    private func claimOnce() {
        let request = nextRequest()
        do throws(AllocationError) {
            let extent = try allocator.claim(request).commit()
            guard accept(extent, request) else { return }
            if chance() { giveBack(at: Int.random(in: 0..<held.count, using: &random)) }
        } catch {
            guard error.code == .noSpace else {
                shared.fail("a claim of \(sizeText(request.length)) failed: \(error.text)")
                return
            }
            tally.misses += 1
            last = nil
            explain(request)
            // Full: as much of what it holds goes back as of what it claims.
            for _ in 0..<held.count * plan.giveBackPercent / 100 {
                giveBack(at: Int.random(in: 0..<held.count, using: &random))
            }
        }
    }

    private func nextRequest() -> ClaimRequest {
        let least = log(Double(plan.sizes.least))
        let span = log(Double(plan.sizes.most)) - least
        let wish = UInt64(exp(least + span * Double.random(in: 0...1, using: &random)))
        let length = roundUp(min(max(wish, plan.sizes.least), plan.sizes.most))
        var request = ClaimRequest(length: length, flags: plan.flags)
        request.alignment = plan.alignment
        request.lengthMin = min(plan.lengthMin, length)
        switch plan.hint {
        case .none: break
        case .last: request.hint = last
        case .address(let logical): request.hint = logical
        }
        return request
    }

    private func roundUp(_ length: UInt64) -> UInt64 {
        (length + allocator.sectorSize - 1) & ~(allocator.sectorSize - 1)
    }

    private func chance() -> Bool {
        !held.isEmpty && Int.random(in: 0..<100, using: &random) < plan.giveBackPercent
    }

    /// Checks a claim against the request and the owners, and keeps it.
    private func accept(_ extent: Extent, _ request: ClaimRequest) -> Bool {
        guard let area = owners.area(of: extent.logical),
            owners.take(extent.logical, extent.length)
        else {
            shared.fail(
                "OVERLAP: the claim of \(extent.length) bytes at \(extent.logical) holds bytes that "
                    + "another claim owns or that were never free")
            return false
        }
        held.append(extent)
        let least = request.lengthMin == 0 ? request.length : request.lengthMin
        let isAligned = request.alignment == 0 || extent.logical % request.alignment == 0
        guard isAligned, extent.length <= request.length, extent.length >= least else {
            shared.fail(
                "a claim got \(extent.length) bytes at \(extent.logical), which is not what it "
                    + "asked for")
            return false
        }
        tally.claims += 1
        tally.claimedBytes += extent.length
        tally.claimsOfGroup[area] += 1
        tally.bytesOfGroup[area] += extent.length
        last = extent.logical + extent.length
        return true
    }

    private func giveBack(at index: Int) {
        held.swapAt(index, held.count - 1)
        let extent = held.removeLast()
        guard returnToAllocator(extent) else { return }
        tally.givenBack += 1
    }

    private func returnToAllocator(_ extent: Extent) -> Bool {
        // Nobody's before it can be claimed again.
        guard owners.release(extent.logical, extent.length) else {
            shared.fail("OVERLAP: \(extent.length) bytes at \(extent.logical) had another owner")
            return false
        }
        do throws(AllocationError) {
            try allocator.giveBack(extent)
            return true
        } catch {
            shared.fail(
                "giving back \(extent.length) bytes at \(extent.logical) failed: \(error.text)")
            return false
        }
    }

    /// Gives back all it still holds.
    func giveBackAll() {
        for extent in held where !returnToAllocator(extent) { break }
        held = []
    }

    /// Keeps the reason of the first refusal, as things are now.
    private func explain(_ request: ClaimRequest) {
        shared.refusal.withLock { first in
            guard first == nil else { return }
            first = (request, (try? allocator.explain(request)) ?? "")
        }
    }
}

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
            groups.map { ($0.logical, $0.length) }, sectorSize: allocator.sectorSize)
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
        let shared = Shared()
        let workers = (0..<plan.threads).map {
            Worker(plan, allocator, owners, shared, number: $0, groups: groups.count)
        }
        let locks = allocator.lockCounts
        let seconds = try runThreads(workers, shared)
        let locksAfter = allocator.lockCounts

        var outcome = ClaimOutcome(
            tally: ClaimTally(groups: groups.count),
            heldBytes: [UInt64](repeating: 0, count: groups.count))
        outcome.seconds = seconds
        outcome.locksTaken = locksAfter.taken &- locks.taken
        outcome.locksContended = locksAfter.contended &- locks.contended
        for worker in workers { outcome.tally.add(worker.tally) }
        let held = workers.flatMap { $0.held }.map { (logical: $0.logical, length: $0.length) }
        outcome.heldCount = held.count
        for extent in held {
            if let area = owners.area(of: extent.logical) { outcome.heldBytes[area] += extent.length }
        }
        if let refusal = shared.refusal.withLock({ $0 }) { outcome.refusal = refusal }
        outcome.fault =
            shared.fault.withLock { $0 } ?? faultAmong(held) ?? faultAfterGivingBack(workers, shared)
        return outcome
    }

    /// Starts all, lets them go at once, waits for them; returns the seconds from then to the last.
    private func runThreads(_ workers: [Worker], _ shared: Shared) throws -> Double {
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
        let isOver = Flag()
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
            return "the claim of \(outside.length) bytes at \(outside.logical) lies outside of what "
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

    private func faultAfterGivingBack(_ workers: [Worker], _ shared: Shared) -> String? {
        for worker in workers { worker.giveBackAll() }
        if let fault = shared.fault.withLock({ $0 }) { return fault }
        let after = ClaimRun.freeRuns(groups)
        for (left, right) in zip(before, after) where left != right {
            return "after giving all back, free space at \(left.logical) is \(right.length) bytes at "
                + "\(right.logical), and was \(left.length)"
        }
        guard before.count == after.count else {
            return "after giving all back there are \(after.count) free runs, not \(before.count)"
        }
        return nil
    }
}

/// A flag between two threads.
private final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

/// A thread of the system's. Joined exactly once.
private struct Thread {
    private final class Body: Sendable {
        let work: @Sendable () -> Void
        init(_ work: @escaping @Sendable () -> Void) { self.work = work }
    }

    private let handle: pthread_t

    /// Starts `work`; nil where the system has no thread left.
    init?(_ work: @escaping @Sendable () -> Void) {
        var handle = pthread_t()
        let body = unsafe Unmanaged.passRetained(Body(work))
        let failed = unsafe pthread_create(
            &handle, nil,
            { argument in
                unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().work()
                return nil
            }, body.toOpaque())
        guard failed == 0 else {
            unsafe body.release()
            return nil
        }
        self.handle = handle
    }

    func join() { pthread_join(handle, nil) }
}
