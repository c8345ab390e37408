//===-- AllocatorStressTests.swift - many threads, every byte with one owner at most -------------===//
// Threads claim, give back, add and remove groups, set them read-only, walk and count at once. Each
// sector has an atomic owner: a claim must find nobody there, a give-back itself. At the end free space
// is what it was. Bounded by counts, not by time; run with --sanitize=thread too:
//   swift test --sanitize=thread --disable-xctest -Xcc -DBGS_TSAN=1 --scratch-path .build-tsan
//
// The order of operations of one thread is fixed by BG_SEED, how threads interleave is not.

import BGAllocation
import CShim
import Foundation
import Synchronization
import Testing

/// Who owns each sector.
private final class Owners: Sendable {
    private let cells: [Cell]
    let faults = Shared<[String]>([])

    final class Cell: Sendable {
        let owner = Atomic<UInt8>(0)
    }

    init(sectors: Int) { cells = (0..<sectors).map { _ in Cell() } }

    func change(_ extent: Extent, from: UInt8, to: UInt8) {
        let first = Int(extent.logical / sector)
        for index in first..<first + Int(extent.length / sector) {
            guard index < cells.count else {
                faults.with { $0.append("sector \(index) is in no group") }
                return
            }
            let found = cells[index].owner.exchange(to, ordering: .acquiringAndReleasing)
            if found != from {
                faults.with { $0.append("sector \(index): owner \(found), not \(from), for \(to)") }
            }
        }
    }
}

private struct Mix {
    var groups: UInt64 = 8
    var groupSectors: UInt64 = 512
    var types: [BlockGroupFlags] = [.data]
    var magazines = true
    var wishes = true
    var groupsComeAndGo = true
    var steps: Int
}

/// What one thread does.
private struct Worker {
    let allocator: Allocator
    let owners: Owners
    let name: UInt8
    let mix: Mix
    var random: SeededRandom
    var held: [Extent] = []
    let clusters: [Cluster]

    mutating func below(_ limit: UInt64) -> UInt64 { UInt64.random(in: 0..<limit, using: &random) }

    mutating func request() -> ClaimRequest {
        let flags = mix.types[Int(below(UInt64(mix.types.count)))]
        let sectors = below(4) == 0 ? 1 + below(100) : 1 + below(16)
        var request = ClaimRequest(length: sectors * sector, flags: flags)
        guard mix.wishes, below(4) == 0 else { return request }
        let all = mix.groups * mix.groupSectors
        switch below(6) {
        case 0: request.hint = below(all) * sector
        case 1: request.alignment = (1 + below(8)) * sector
        case 2: request.lengthMin = sector
        case 3:
            request.searchStart = below(all) * sector
            request.searchEnd = request.searchStart + 200 * sector
        case 4:
            request.excludeStart = below(all) * sector
            request.excludeLength = 300 * sector
        default: request.emptySize = below(200) * sector
        }
        return request
    }

    mutating func claim() {
        let request = request()
        do throws(AllocationError) {
            let extent: Extent
            if !clusters.isEmpty, below(4) == 0 {
                let cluster = clusters[Int(below(UInt64(clusters.count)))]
                extent = try cluster.claim(length: (1 + below(8)) * sector).commit()
            } else {
                extent = try allocator.claim(request).commit()
            }
            owners.change(extent, from: 0, to: name)
            held.append(extent)
        } catch {
            if error.code != .noSpace { owners.faults.with { $0.append("claim: \(error)") } }
            if !held.isEmpty { giveBack() }
        }
    }

    mutating func giveBack() {
        let index = Int(below(UInt64(held.count)))
        held.swapAt(index, held.count - 1)
        var extent = held.removeLast()
        let sectors = extent.length / sector
        if sectors > 1, below(4) == 0 {
            let kept = 1 + below(sectors - 1)
            held.append(Extent(logical: extent.logical, length: kept * sector))
            extent.logical += kept * sector
            extent.length -= kept * sector
        }
        owners.change(extent, from: name, to: 0)
        if let refusal = allocator.giveBackRefusal(extent.logical, extent.length) {
            owners.faults.with { $0.append("give back \(extent): \(refusal)") }
        }
    }

    mutating func disturb() {
        let slot = below(mix.groups)
        let logical = slot * mix.groupSectors * sector
        let flags = mix.types[Int(slot) % mix.types.count]
        guard let group = allocator.group(at: logical) else {
            if mix.groupsComeAndGo { add(logical, flags) }
            return
        }
        switch below(8) {
        case 0: group.setReadOnly(true)
        case 1, 2, 3: group.setReadOnly(false)
        case 4: _ = group.statistics
        case 5: check(group)
        case 6:
            var end: UInt64 = 0
            allocator.forEachGroup {
                if $0.logical < end { owners.faults.with { $0.append("groups out of order") } }
                end = $0.logical + $0.length
                return true
            }
        default:
            guard mix.groupsComeAndGo else { return }
            let refusal = errorCode { () throws(AllocationError) in
                try allocator.removeGroup(logical: logical)
            }
            if let refusal, refusal != .busy, refusal != .notFound {
                owners.faults.with { $0.append("remove: \(refusal)") }
            }
        }
    }

    func add(_ logical: UInt64, _ flags: BlockGroupFlags) {
        do throws(AllocationError) {
            let group = try allocator.addGroup(
                logical: logical,
                length: mix.groupSectors * sector,
                flags: flags
            )
            try group.addFreeSpace(logical: logical, length: group.length)
        } catch {
            if error.code != .exists && error.code != .notFound {
                owners.faults.with { $0.append("add: \(error)") }
            }
        }
    }

    func check(_ group: BlockGroup) {
        var end = group.logical
        while let run = group.nextFree(endingAbove: end) {
            if run.logical < group.logical || run.length == 0
                || run.logical + run.length > group.logical + group.length
                || run.logical + run.length <= end
            {
                owners.faults.with { $0.append("run \(run)") }
                return
            }
            end = run.logical + run.length
        }
    }

    mutating func work() {
        for _ in 0..<mix.steps {
            let turn = below(100)
            if turn < 2 {
                disturb()
            } else if held.isEmpty || (held.count < 40 && turn < 52) {
                claim()
            } else {
                giveBack()
            }
        }
        while !held.isEmpty { giveBack() }
    }
}

@Suite(.serialized) struct AllocatorStressTests {
    private func play(_ mix: Mix, threads: Int, clusters: Int = 0) throws {
        print("AllocatorStressTests: BG_SEED=\(testSeed)")
        let allocator = try Allocator(magazines: mix.magazines)
        let owners = Owners(sectors: Int(mix.groups * mix.groupSectors))
        for slot in 0..<mix.groups {
            try allocator.addFreeGroup(
                slot * mix.groupSectors * sector,
                mix.groupSectors * sector,
                mix.types[Int(slot) % mix.types.count]
            )
        }
        let shared = try (0..<clusters).map { _ in
            try Cluster(allocator: allocator, flags: mix.types[0], window: 64 * sector)
        }
        onThreads(threads) { index in
            var worker = Worker(
                allocator: allocator,
                owners: owners,
                name: UInt8(index + 1),
                mix: mix,
                random: SeededRandom(testSeed &+ UInt64(index)),
                clusters: shared
            )
            worker.work()
        }
        let faults = owners.faults.now
        #expect(faults.isEmpty, "\(faults.count) faults, seed \(testSeed): \(faults.prefix(5))")
        allocator.forEachGroup { group in
            group.setReadOnly(false)
            let statistics = group.statistics
            #expect(statistics.claimedBytes == 0)
            #expect(statistics.freeBytes == group.length)
            #expect(group.runs == ["0+\(mix.groupSectors)"])
            return true
        }
        // The directories and the windows agree with the indexes: all of it can be claimed.
        allocator.forEachGroup { group in
            #expect((try? allocator.take(group.length, group.flags)) != nil)
            return true
        }
        #expect(allocator.refusal(sector, mix.types[0]) == .noSpace)
    }

    @Test(arguments: [4, 16])
    func noSectorHasTwoOwnersWhileGroupsComeAndGo(threads: Int) throws {
        try play(Mix(steps: 60_000 * testScale / threads), threads: threads)
    }

    @Test(arguments: [4, 16])
    func noSectorHasTwoOwnersWithoutMagazines(threads: Int) throws {
        try play(Mix(magazines: false, steps: 40_000 * testScale / threads), threads: threads)
    }

    @Test(arguments: [4, 16])
    func noSectorHasTwoOwnersInOneSmallGroup(threads: Int) throws {
        let mix = Mix(
            groups: 1,
            groupSectors: 100,
            groupsComeAndGo: false,
            steps: 40_000 * testScale / threads
        )
        try play(mix, threads: threads)
    }

    @Test(arguments: [4, 16])
    func noSectorHasTwoOwnersInManyTypesAndGroups(threads: Int) throws {
        let mix = Mix(
            groups: 48,
            groupSectors: 75,
            types: [.data, .metadata, .system, [.data, .metadata]],
            steps: 60_000 * testScale / threads
        )
        try play(mix, threads: threads)
    }

    @Test(arguments: [4, 16])
    func noSectorHasTwoOwnersWithClusters(threads: Int) throws {
        try play(Mix(groups: 4, steps: 40_000 * testScale / threads), threads: threads, clusters: 3)
    }

    @Test func smallClaimsOfManyThreadsKeepToTheirOwners() throws {
        let mix = Mix(
            groups: 2,
            groupSectors: 400,
            wishes: false,
            groupsComeAndGo: false,
            steps: 20_000 * testScale
        )
        try play(mix, threads: 4)
    }
}

@Suite struct LockTests {
    /// Locks are taken from C, where debug builds keep count of them; the inline functions as Swift
    /// sees them do not, so these take the waiting side's way in and count for themselves.
    private final class Counted: @unchecked Sendable {
        let lock = UnsafeMutablePointer<bgs_spin>.allocate(capacity: 1)
        var value = 0

        init() { bgs_spin_init(lock, BGS_SPIN_FREE_SPACE) }
        deinit { lock.deallocate() }

        func take() { bgs_spin_lock_slow(lock) }

        func drop() {
            #if DEBUG
                bgs_lock_check_drop(lock.pointee.lock_class)
            #endif
            bgs_spin_unlock(lock)
        }
    }

    /// A lock whose waiters keep the processor does not end this: see bgs_lock.h.
    @Test(arguments: [2, 4, 16])
    func aSpinLockGetsOnWithMoreThreadsThanProcessors(threads: Int) {
        let counted = Counted()
        let turns = 240_000 * testScale / threads
        let line = StartLine(threads)
        onThreads(threads) { _ in
            line.wait()
            for _ in 0..<turns {
                counted.take()
                counted.value += 1
                counted.drop()
            }
        }
        #expect(counted.value == turns * threads)
        #expect(counted.lock.pointee.taken == UInt64(turns * threads))
        #expect(counted.lock.pointee.word == 0)
    }

    @Test func aHeldSpinLockIsNotTaken() {
        let counted = Counted()
        counted.take()
        #expect(!bgs_spin_trylock(counted.lock))
        counted.drop()
        counted.take()
        counted.drop()
        #expect(counted.lock.pointee.taken == 2)
    }
}
