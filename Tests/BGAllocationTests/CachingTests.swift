//===-- CachingTests.swift - when and how often a group's free space is learnt -------------------===//
// Covers: lazily, once however many arrive, errors kept, reported and passed by, hooks that look at
// their own group, groups that go while they are needed. The hooks count; nothing here is timed.

import BGAllocation
import Foundation
import Testing

@Suite struct CachingTests {
    @Test func aGroupIsCachedOnceHoweverManyThreadsArrive() throws {
        for _ in 0..<10 * testScale {
            let source = TestSource()
            let line = StartLine(16)
            let plain = source.onCache
            source.onCache = { group in
                for _ in 0..<20 { sched_yield() }
                return plain(group)
            }
            let allocator = try Allocator(source: source)
            try allocator.addGroup(logical: 0, length: MiB, flags: .data)
            let failures = Shared(0)
            onThreads(16) { _ in
                line.wait()
                if (try? allocator.take(sector)) == nil { failures.with { $0 += 1 } }
            }
            #expect(failures.now == 0, "a thread did not wait until the group was cached")
            #expect(source.cacheCalls.now == 1)
        }
    }

    @Test func manyGroupsAreCachedOnceEachByManyThreads() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        for index in 0..<40 as Range<UInt64> {
            try allocator.addGroup(logical: index * MiB, length: MiB, flags: .data)
        }
        onThreads(16) { _ in
            while (try? allocator.take(256 * KiB)) != nil {}
        }
        #expect(source.cacheCalls.now == 40)
        var free: UInt64 = 0
        allocator.forEachGroup {
            free += $0.statistics.freeBytes
            return true
        }
        #expect(free == 0)
    }

    @Test func onlyGroupsOfTheTypeThatIsClaimedAreCached() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .metadata)
        let data = try allocator.addGroup(logical: MiB, length: MiB, flags: .data)
        _ = try allocator.take(sector)
        #expect(source.cacheCalls.now == 1)
        #expect(data.statistics.isCached)
    }

    @Test func groupsAreNotCachedWhileACachedOneServes() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        for index in 0..<8 as Range<UInt64> {
            try allocator.addGroup(logical: index * MiB, length: MiB, flags: .data)
        }
        for _ in 0..<256 { _ = try allocator.take(sector) }
        #expect(source.cacheCalls.now == 1)
        _ = try allocator.take(sector)
        #expect(source.cacheCalls.now == 2)
    }

    @Test func aCacheErrorIsKeptReportedAndNotAskedForAgain() throws {
        let source = TestSource()
        source.onCache = { _ in AllocationError(.io) }
        let allocator = try Allocator(source: source)
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        for _ in 0..<3 {
            #expect(allocator.refusal(sector) == .io)
            #expect(group.refusal(sector) == .io)
            #expect(throws: AllocationError(.io)) { try group.cache() }
        }
        #expect(source.cacheCalls.now == 1)
        #expect(!group.statistics.isCached)
    }

    @Test func aGroupThatCannotBeCachedIsPassedBy() throws {
        let source = TestSource()
        let plain = source.onCache
        source.onCache = { $0.logical == 0 ? AllocationError(.corrupt) : plain($0) }
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try allocator.addGroup(logical: MiB, length: MiB, flags: .data)
        #expect(try allocator.take(MiB).logical == MiB)
        #expect(allocator.refusal(sector) == .corrupt, "the group might have served")
        #expect(allocator.refusal(sector, .metadata) == .noSpace)
    }

    @Test func aCacheErrorDoesNotKeepAClaimFromBeingHalved() throws {
        let source = TestSource()
        let plain = source.onCache
        source.onCache = { $0.logical == 0 ? AllocationError(.io) : plain($0) }
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try allocator.addGroup(logical: MiB, length: 256 * KiB, flags: .data)
        #expect(try allocator.take(MiB) { $0.lengthMin = sector }.length == 256 * KiB)
    }

    @Test func everyThreadThatWaitedSeesTheError() throws {
        let source = TestSource()
        source.onCache = { _ in
            for _ in 0..<20 { sched_yield() }
            return AllocationError(.system(71))
        }
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        let line = StartLine(16)
        let errors = Shared<[AllocationError.Code]>([])
        onThreads(16) { _ in
            line.wait()
            let error = allocator.refusal(sector)
            errors.with { $0.append(error ?? .busy) }
        }
        #expect(errors.now == Array(repeating: .system(71), count: 16))
        #expect(source.cacheCalls.now == 1)
    }

    @Test func nothingIsClaimedFromAGroupBeforeAllOfItIsKnown() throws {
        let source = TestSource()
        let halfway = StartLine(2)
        let goOn = StartLine(2)
        source.onCache = { group in
            let error = errorCode { () throws(AllocationError) in
                try group.addFreeSpace(logical: group.logical, length: 512 * KiB)
            }
            halfway.wait()
            goOn.wait()
            return error.map { AllocationError($0) }
        }
        let allocator = try Allocator(source: source)
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        let other = Thread { _ = try? allocator.take(sector) }
        other.start()
        halfway.wait()
        #expect(group.statistics.freeBytes == 512 * KiB)
        #expect(!group.statistics.isCached)
        #expect(throws: AllocationError(.busy)) { try allocator.removeGroup(logical: 0) }
        goOn.wait()
        try group.cache()
        #expect(group.statistics.isCached)
        while group.statistics.claimedBytes == 0 { sched_yield() }
    }

    @Test func aHookMayLookAtItsOwnGroup() throws {
        let source = TestSource()
        let seen = Shared<[String]>([])
        source.onCache = { group in
            errorCode { () throws(AllocationError) in
                try group.addFreeSpace(logical: group.logical, length: 64 * KiB)
                try group.cache()
                seen.with { $0 = group.runs }
                try group.removeFreeSpace(logical: group.logical, length: sector)
            }.map { AllocationError($0) }
        }
        let allocator = try Allocator(source: source)
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try group.cache()
        #expect(seen.now == ["0+16"])
        #expect(group.runs == ["1+15"])
        #expect(source.cacheCalls.now == 1)
    }

    @Test func aGroupAskedForByNameIsCached() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        let second = try allocator.addGroup(logical: MiB, length: MiB, flags: .data)
        #expect(try group.take(MiB).logical == 0)
        #expect(try allocator.take(MiB) { $0.hint = MiB }.logical == MiB)
        #expect(source.cacheCalls.now == 2)
        #expect(second.statistics.isCached)
    }

    @Test func aGroupThatWasNeverCachedCanGo() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data)
        try allocator.removeGroup(logical: 0)
        #expect(source.cacheCalls.now == 0)
        #expect(allocator.refusal(sector) == .noSpace)
        #expect(throws: AllocationError(.notFound)) { try group.cache() }
        #expect(source.cacheCalls.now == 0)
    }

    @Test func aReadOnlyGroupCanBeCachedAndBecomeWritable() throws {
        let source = TestSource()
        let allocator = try Allocator(source: source)
        let group = try allocator.addGroup(logical: 0, length: MiB, flags: .data, readOnly: true)
        try group.cache()
        #expect(allocator.refusal(sector) == .noSpace)
        group.setReadOnly(false)
        #expect(try allocator.take(MiB).logical == 0)
    }

    @Test func whatAClaimSeesIsNoSpaceThoughUncachedGroupsGoMeanwhile() throws {
        // Groups come and go uncached while claims pass; a group that is gone must not make a
        // claim fail with anything but no space.
        let source = TestSource()
        source.onCache = { _ in
            sched_yield()
            return nil
        }
        let allocator = try Allocator(source: source)
        let odd = Shared<Set<String>>([])
        let running = Shared(true)
        onThreads(4) { index in
            if index == 0 {
                for round in 0..<300 * UInt64(testScale) {
                    for slot in 0..<4 as Range<UInt64> {
                        _ = try? allocator.addGroup(
                            logical: (round % 2 * 4 + slot) * MiB,
                            length: MiB,
                            flags: .data
                        )
                    }
                    for slot in 0..<8 as Range<UInt64> {
                        try? allocator.removeGroup(logical: slot * MiB)
                    }
                }
                running.with { $0 = false }
                return
            }
            while running.now {
                let refusal = allocator.refusal(sector)
                if refusal != .noSpace {
                    odd.with { _ = $0.insert("\(String(describing: refusal))") }
                }
            }
        }
        #expect(odd.now.isEmpty)
    }
}
