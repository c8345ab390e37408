//===-- Support.swift - what the tests of the allocator share ------------------------------------===//
// Seeds are printed by the tests that use them; BG_SEED=n replays, BG_TEST_SCALE=n multiplies the work.

import BGAllocation
import Foundation
import Testing

let KiB: UInt64 = 1 << 10
let MiB: UInt64 = 1 << 20
let GiB: UInt64 = 1 << 30
let sector: UInt64 = 4096

func environmentNumber(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
}

let testSeed = environmentNumber("BG_SEED") ?? UInt64.random(in: 1...1_000_000)
let testScale = Int(environmentNumber("BG_TEST_SCALE") ?? 1)

/// splitmix64.
struct SeededRandom: RandomNumberGenerator {
    var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// Runs `body` on this many threads of their own, and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let done = DispatchGroup()
    for index in 0..<count {
        done.enter()
        let thread = Thread {
            body(index)
            done.leave()
        }
        thread.stackSize = 1 << 20
        thread.start()
    }
    done.wait()
}

/// Holds threads back until all of them are there.
final class StartLine: @unchecked Sendable {
    private let condition = NSCondition()
    private var missing: Int

    init(_ count: Int) { missing = count }

    func wait() {
        condition.lock()
        missing -= 1
        condition.broadcast()
        while missing > 0 { condition.wait() }
        condition.unlock()
    }
}

/// A value that threads share.
final class Shared<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func with<Result>(_ body: (inout Value) -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body(&value)
    }

    var now: Value { with { $0 } }
}

/// Hooks made of closures, and how often they were called.
final class TestSource: BlockGroupSource, @unchecked Sendable {
    let cacheCalls = Shared(0)
    let chunkCalls = Shared(0)
    var onCache: (BlockGroup) -> AllocationError? = { group in
        do throws(AllocationError) {
            try group.addFreeSpace(logical: group.logical, length: group.length)
            return nil
        } catch { return error }
    }
    var onChunk: (Allocator, BlockGroupFlags, UInt64) -> AllocationError? = { _, _, _ in
        AllocationError(.noSpace)
    }
    var room: Bool?

    func cacheFreeSpace(of group: BlockGroup) throws(AllocationError) {
        cacheCalls.with { $0 += 1 }
        if let error = onCache(group) { throw error }
    }

    func allocateChunk(
        in allocator: Allocator,
        flags: BlockGroupFlags,
        length: UInt64
    ) throws(AllocationError) {
        chunkCalls.with { $0 += 1 }
        if let error = onChunk(allocator, flags, length) { throw error }
    }

    func hasRoomForChunk(flags: BlockGroupFlags) -> Bool? { room }
}

extension Allocator {
    /// A group all of which is free.
    @discardableResult
    func addFreeGroup(
        _ logical: UInt64,
        _ length: UInt64,
        _ flags: BlockGroupFlags = .data
    ) throws -> BlockGroup {
        let group = try addGroup(logical: logical, length: length, flags: flags)
        try group.addFreeSpace(logical: logical, length: length)
        return group
    }

    func take(
        _ length: UInt64,
        _ flags: BlockGroupFlags = .data,
        _ adjust: (inout ClaimRequest) -> Void = { _ in }
    ) throws(AllocationError) -> Extent {
        var request = ClaimRequest(length: length, flags: flags)
        adjust(&request)
        return try claim(request).commit()
    }

    /// The error of a claim; nil when it succeeded (and was given back).
    func refusal(
        _ length: UInt64,
        _ flags: BlockGroupFlags = .data,
        _ adjust: (inout ClaimRequest) -> Void = { _ in }
    ) -> AllocationError.Code? {
        do throws(AllocationError) {
            try giveBack(try take(length, flags, adjust))
            return nil
        } catch { return error.code }
    }

    /// The error of a give-back; nil when it succeeded.
    func giveBackRefusal(_ logical: UInt64, _ length: UInt64) -> AllocationError.Code? {
        do throws(AllocationError) {
            try giveBack(Extent(logical: logical, length: length))
            return nil
        } catch { return error.code }
    }
}

extension BlockGroup {
    func take(
        _ length: UInt64,
        _ adjust: (inout ClaimRequest) -> Void = { _ in }
    ) throws(AllocationError) -> Extent {
        var request = ClaimRequest(length: length, flags: flags)
        adjust(&request)
        return try claim(request).commit()
    }

    func refusal(
        _ length: UInt64,
        _ adjust: (inout ClaimRequest) -> Void = { _ in }
    ) -> AllocationError.Code? {
        do throws(AllocationError) {
            let extent = try take(length, adjust)
            try reference.allocator.giveBack(extent)
            return nil
        } catch { return error.code }
    }

    /// Every free run, as "start+length" in sectors from the group's start.
    var runs: [String] {
        var found: [String] = []
        var logical = self.logical
        while let run = nextFree(endingAbove: logical) {
            found.append("\((run.logical - self.logical) / sector)+\(run.length / sector)")
            logical = run.logical + run.length
        }
        return found
    }
}

func errorCode(_ body: () throws(AllocationError) -> Void) -> AllocationError.Code? {
    do throws(AllocationError) {
        try body()
        return nil
    } catch { return error.code }
}
