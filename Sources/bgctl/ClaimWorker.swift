//===-- ClaimWorker.swift - one thread that claims and gives back ---------------------------------===//
// Keeps a list of what it holds; every claim passes the owner map before it counts, and leaves it before
// it is given back.
//
// Locks: a worker's own fields belong to its thread until that was joined. `ClaimShared` is atomics and
// two mutexes, which only the first fault and refusals take.

import BlockGroups
import Glibc
import Synchronization

/// What the threads share beside the allocator.
final class ClaimShared: Sendable {
    let isGoing = Atomic<Bool>(false)
    let mustStop = Atomic<Bool>(false)
    let done = Atomic<Int>(0)
    let isExplained = Atomic<Bool>(false)
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

/// One thread's work.
final class ClaimWorker: @unchecked Sendable {
    private let plan: ClaimPlan
    private let allocator: Allocator
    private let owners: OwnerMap
    private let shared: ClaimShared
    private let tries: Int
    private var random: RandomNumbers
    private var last: UInt64?
    private(set) var tally: ClaimTally
    private(set) var held: [Extent] = []

    init(
        _ plan: ClaimPlan,
        _ allocator: Allocator,
        _ owners: OwnerMap,
        _ shared: ClaimShared,
        number: Int,
        groups: Int
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
                    + "another claim owns or that were never free"
            )
            return false
        }
        held.append(extent)
        let least = request.lengthMin == 0 ? request.length : request.lengthMin
        let isAligned = request.alignment == 0 || extent.logical % request.alignment == 0
        guard isAligned, extent.length <= request.length, extent.length >= least else {
            shared.fail(
                "a claim got \(extent.length) bytes at \(extent.logical), which is not what it "
                    + "asked for"
            )
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
                "giving back \(extent.length) bytes at \(extent.logical) failed: \(error.text)"
            )
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
        guard !shared.isExplained.load(ordering: .relaxed) else { return }
        shared.isExplained.store(true, ordering: .relaxed)
        shared.refusal.withLock { first in
            guard first == nil else { return }
            first = (request, (try? allocator.explain(request)) ?? "")
        }
    }
}
