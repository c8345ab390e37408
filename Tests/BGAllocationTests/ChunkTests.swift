//===-- ChunkTests.swift - getting more groups when they run out ---------------------------------===//
// Covers: one thread asks while others wait and search again, refused and useless chunks, lengths that
// are halved. See ContractStepTests for the order of steps.

import BGAllocation
import Foundation
import Testing

@Suite struct ChunkTests {
    /// Adds groups side by side, of `length` or of what is asked for, up to `limit`.
    private func growing(_ source: TestSource, length: UInt64? = nil, limit: Int = Int.max) {
        let next = Shared<(start: UInt64, count: Int)>((0, 0))
        source.onChunk = { allocator, flags, wanted in
            let size = length ?? wanted
            let start: UInt64? = next.with {
                guard $0.count < limit else { return nil }
                $0.count += 1
                $0.start += size
                return $0.start - size
            }
            guard let start else { return AllocationError(.noSpace) }
            return errorCode { () throws(AllocationError) in
                try allocator.addGroup(logical: start, length: size, flags: flags)
            }.map { AllocationError($0) }
        }
    }

    @Test func oneThreadAsksForAChunkWhileTheOthersWaitAndSearchAgain() throws {
        for _ in 0..<10 * testScale {
            let source = TestSource()
            growing(source, length: MiB)
            let inside = Shared(0)
            let most = Shared(0)
            let add = source.onChunk
            source.onChunk = { allocator, flags, length in
                let now = inside.with {
                    $0 += 1
                    return $0
                }
                most.with { $0 = max($0, now) }
                for _ in 0..<20 { sched_yield() }
                defer { inside.with { $0 -= 1 } }
                return add(allocator, flags, length)
            }
            let allocator = try Allocator(source: source)
            let line = StartLine(16)
            let failures = Shared(0)
            onThreads(16) { _ in
                line.wait()
                if (try? allocator.take(64 * KiB)) == nil { failures.with { $0 += 1 } }
            }
            #expect(failures.now == 0)
            #expect(most.now == 1, "two threads asked for a chunk at once")
            #expect(
                source.chunkCalls.now == 1,
                "sixteen claims of 64 KiB fit in one chunk of 1 MiB"
            )
        }
    }

    @Test func nobodyIsRefusedWhileChunksCome() throws {
        // Each chunk serves one claim, so fifteen threads lose each of them.
        for _ in 0..<5 * testScale {
            let source = TestSource()
            growing(source)
            let allocator = try Allocator(source: source)
            let line = StartLine(16)
            let taken = Shared<[UInt64]>([])
            onThreads(16) { _ in
                line.wait()
                for _ in 0..<4 {
                    guard let extent = try? allocator.take(MiB) else { continue }
                    taken.with { $0.append(extent.logical) }
                }
            }
            #expect(taken.now.count == 64)
            #expect(Set(taken.now).count == 64)
        }
    }

    @Test func chunksOfDifferentTypesAreAskedForAtTheSameTime() throws {
        let source = TestSource()
        let both = StartLine(2)
        growing(source, length: MiB)
        let add = source.onChunk
        source.onChunk = { allocator, flags, length in
            both.wait()
            return add(allocator, flags, length)
        }
        let allocator = try Allocator(source: source)
        let failures = Shared(0)
        onThreads(2) { index in
            // Each waits for the other inside its hook.
            if (try? allocator.take(sector, index == 0 ? .data : .metadata)) == nil {
                failures.with { $0 += 1 }
            }
        }
        #expect(failures.now == 0)
    }

    @Test func aRefusedChunkIsNoSpaceWhateverTheHookSaid() throws {
        let source = TestSource()
        for code in [.noSpace, .io, .system(5000)] as [AllocationError.Code] {
            source.onChunk = { _, _, _ in AllocationError(code) }
            let allocator = try Allocator(source: source)
            try allocator.addGroup(logical: 0, length: MiB, flags: .data)
            _ = try allocator.take(MiB)
            #expect(allocator.refusal(sector) == .noSpace)
        }
        #expect(source.chunkCalls.now == 3)
    }

    @Test func aRefusalToALongRequestIsNotTheAnswerToAShortOne() throws {
        // The long request is inside the hook when the short one runs dry.
        let source = TestSource()
        let waiting = StartLine(2)
        source.onChunk = { allocator, flags, length in
            if length > MiB {
                waiting.wait()
                for _ in 0..<200 { usleep(100) }
                return AllocationError(.noSpace)
            }
            return errorCode { () throws(AllocationError) in
                try allocator.addGroup(logical: 0, length: length, flags: flags)
            }.map { AllocationError($0) }
        }
        let allocator = try Allocator(source: source)
        let results = Shared<[Int: AllocationError.Code?]>([:])
        onThreads(2) { index in
            if index == 1 { waiting.wait() }
            let refusal = allocator.refusal(index == 0 ? 8 * MiB : sector)
            results.with { $0[index] = refusal }
        }
        #expect(results.now[0] == .some(.some(.noSpace)))
        #expect(results.now[1] == .some(.none))
    }

    @Test func aRefusalOfOneProfileIsNotTheAnswerToAnother() throws {
        let source = TestSource()
        let waiting = StartLine(2)
        source.onChunk = { allocator, flags, length in
            if flags.contains(.raid1) {
                waiting.wait()
                for _ in 0..<200 { usleep(100) }
                return AllocationError(.noSpace)
            }
            return errorCode { () throws(AllocationError) in
                try allocator.addGroup(logical: 0, length: length, flags: flags)
            }.map { AllocationError($0) }
        }
        let allocator = try Allocator(source: source)
        let results = Shared<[Int: AllocationError.Code?]>([:])
        onThreads(2) { index in
            if index == 1 { waiting.wait() }
            let refusal = allocator.refusal(sector, index == 0 ? [.data, .raid1] : [.data, .dup])
            results.with { $0[index] = refusal }
        }
        #expect(results.now[0] == .some(.some(.noSpace)))
        #expect(results.now[1] == .some(.none))
    }

    @Test func chunksThatAreTooSmallEndTheSearch() throws {
        let source = TestSource()
        growing(source, length: sector)
        let allocator = try Allocator(source: source)
        #expect(allocator.refusal(MiB) == .noSpace)
        #expect((1...64).contains(source.chunkCalls.now))
        #expect(try allocator.take(sector).length == sector)
    }

    @Test func aHookThatAddsNothingEndsTheSearch() throws {
        let source = TestSource()
        source.onChunk = { _, _, _ in nil }
        let allocator = try Allocator(source: source)
        #expect(allocator.refusal(MiB) == .noSpace)
        #expect((1...64).contains(source.chunkCalls.now))
    }

    @Test func usefulAndUselessChunksEndForManyThreads() throws {
        let source = TestSource()
        growing(source, length: 2 * sector, limit: 40)
        let allocator = try Allocator(source: source)
        let taken = Shared(0)
        onThreads(16) { index in
            while (try? allocator.take(index % 2 == 0 ? sector : MiB)) != nil {
                taken.with { $0 += 1 }
            }
        }
        #expect(taken.now == 80)
    }

    @Test func aChunkIsNotAskedForAgainAndAgainForABoundThatItCannotMeet() throws {
        let source = TestSource()
        growing(source, length: MiB)
        let allocator = try Allocator(source: source)
        try allocator.addGroup(logical: 1 << 40, length: MiB, flags: .data)
        #expect(
            allocator.refusal(2 * MiB) {
                $0.searchStart = 1 << 40
                $0.searchEnd = (1 << 40) + 4 * MiB
            } == .noSpace
        )
        #expect(source.chunkCalls.now == 1)
    }

    @Test func aHalvedLengthStillEndsInAChunk() throws {
        let source = TestSource()
        growing(source, length: 64 * KiB, limit: 20)
        let allocator = try Allocator(source: source)
        let extent = try allocator.take(MiB) { $0.lengthMin = 64 * KiB }
        #expect(extent.length == 64 * KiB)
    }

    @Test func noChunkIsAskedForWhereNoneIsAllowed() throws {
        let source = TestSource()
        growing(source)
        let allocator = try Allocator(source: source, allocatesChunks: false)
        #expect(allocator.refusal(sector) == .noSpace)
        #expect(source.chunkCalls.now == 0)
    }

    @Test func theHookIsToldTypeProfileAndLength() throws {
        let source = TestSource()
        let told = Shared<[(BlockGroupFlags, UInt64)]>([])
        source.onChunk = { _, flags, length in
            told.with { $0.append((flags, length)) }
            return AllocationError(.noSpace)
        }
        let allocator = try Allocator(source: source)
        #expect(allocator.refusal(3 * MiB, [.metadata, .dup]) == .noSpace)
        #expect(told.now.count == 1)
        #expect(told.now.first?.0 == [.metadata, .dup])
        #expect(told.now.first?.1 == 3 * MiB)
    }
}
