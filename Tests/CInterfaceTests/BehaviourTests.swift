//===-- BehaviourTests.swift - hooks, visits, explanations and error texts across the boundary ---===//

import CBlockGroups
import Foundation
import Testing

/// What the hooks below count and answer.
private final class Hooked {
    var cached = 0
    var chunks = 0
    var cacheAnswer: CInt = 0
    var chunkAnswer: CInt = 0
    var told: (flags: UInt64, length: UInt64) = (0, 0)
    var looked: [String] = []
    var context: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    static func from(_ context: UnsafeMutableRawPointer?) -> Hooked {
        Unmanaged<Hooked>.fromOpaque(context!).takeUnretainedValue()
    }

    func options() -> bg_allocator_options {
        allocatorOptions {
            $0.context = context
            $0.cache_group = { context, group in
                let hooked = Hooked.from(context)
                hooked.cached += 1
                if hooked.cacheAnswer != 0 { return hooked.cacheAnswer }
                var stat = bg_group_stat()
                let result = bg_group_stat(group, &stat)
                if result != 0 { return result }
                return bg_group_add_free_space(group, stat.logical, stat.length)
            }
            $0.allocate_chunk = { context, allocator, flags, length in
                let hooked = Hooked.from(context)
                hooked.chunks += 1
                hooked.told = (flags, length)
                if hooked.chunkAnswer != 0 { return hooked.chunkAnswer }
                return bg_allocator_add_group(
                    allocator,
                    UInt64(hooked.chunks) * 16 * MiB,
                    16 * MiB,
                    flags
                )
            }
        }
    }
}

@Suite struct BehaviourTests {
    // MARK: hooks

    @Test func hooksCacheAndAddChunks() throws {
        let hooked = Hooked()
        let allocator = try TestAllocator(hooked.options())
        let claimed = allocator.claim(claimOptions(MiB, metadata | 1 << 5))
        #expect(claimed.result == 0)
        #expect(claimed.extent.logical == 16 * MiB)
        #expect(hooked.chunks == 1 && hooked.cached == 1)
        #expect(hooked.told.flags == metadata | 1 << 5 && hooked.told.length == MiB)
        #expect(try allocator.stat(16 * MiB).flags == metadata | 1 << 5)
    }

    @Test func aHooksErrorIsTheClaimsError() throws {
        for (answer, expected) in [
            (-EIO, -EIO), (-EUCLEAN, -EUCLEAN), (-ENOMEM, -EIO), (-ENOSPC, -ENOSPC),
            (-EINVAL, -EINVAL), (-EPROTO, -EPROTO),
        ] {
            let hooked = Hooked()
            hooked.cacheAnswer = answer
            hooked.chunkAnswer = -ENOSPC
            let allocator = try TestAllocator(hooked.options())
            #expect(bg_allocator_add_group(allocator.pointer, 0, MiB, data) == 0)
            for _ in 0..<2 {
                let claimed = allocator.claim(claimOptions(sector))
                #expect(claimed.result == expected)
                #expect(claimed.extent.logical == 1 && claimed.extent.length == 2)
            }
            #expect(hooked.cached == 1)
            var options = claimOptions(sector)
            var extent = bg_extent(logical: 1, length: 2)
            #expect(bg_group_claim(try allocator.group(0), &options, &extent) == expected)
        }
    }

    @Test(arguments: [1, 28, CInt.max, CInt.min, -4096, -100_000])
    func aHooksAnswerThatIsNoErrnoIsAnInvalidArgument(answer: CInt) throws {
        let hooked = Hooked()
        hooked.cacheAnswer = answer
        hooked.chunkAnswer = answer
        let allocator = try TestAllocator(hooked.options())
        #expect(allocator.claim(claimOptions(sector)).result == -ENOSPC, "no chunk")
        #expect(bg_allocator_add_group(allocator.pointer, 0, MiB, data) == 0)
        #expect(allocator.claim(claimOptions(sector)).result == -EINVAL)
    }

    @Test func aCacheHookMayWalkItsOwnGroup() throws {
        let hooked = Hooked()
        var options = hooked.options()
        options.cache_group = { context, group in
            let hooked = Hooked.from(context)
            hooked.cached += 1
            let added = bg_group_add_free_space(group, 0, MiB)
            if added != 0 { return added }
            return bg_group_for_each_free(
                group,
                { context, logical, length in
                    Hooked.from(context).looked.append("\(logical)+\(length)")
                    return 0
                },
                context
            )
        }
        let allocator = try TestAllocator(options)
        #expect(bg_allocator_add_group(allocator.pointer, 0, MiB, data) == 0)
        #expect(allocator.claim(claimOptions(sector)).result == 0)
        #expect(hooked.looked == ["0+1048576"])
        #expect(hooked.cached == 1)
    }

    @Test func walkingTheFreeRunsCachesAGroup() throws {
        let hooked = Hooked()
        let allocator = try TestAllocator(hooked.options())
        #expect(bg_allocator_add_group(allocator.pointer, 0, MiB, data) == 0)
        let group = try allocator.group(0)
        #expect(try allocator.stat(0).cached == 0)
        #expect(
            bg_group_for_each_free(group, { _, _, length in CInt(length / sector) }, nil) == 256
        )
        #expect(try allocator.stat(0).cached == 1)
    }

    // MARK: visits

    @Test func visitsMayChangeWhatTheyVisit() throws {
        let allocator = try TestAllocator()
        let group = try allocator.addFree(0, MiB)
        for start in stride(from: 0, to: MiB, by: 2 * Int(sector)) as StrideTo<UInt64> {
            #expect(bg_group_remove_free_space(group, start, sector) == 0)
        }
        final class Visit {
            let group: OpaquePointer
            var runs = 0
            init(_ group: OpaquePointer) { self.group = group }
        }
        let visit = Visit(group)
        let context = Unmanaged.passUnretained(visit).toOpaque()
        let result = bg_group_for_each_free(
            group,
            { context, logical, length in
                let visit = Unmanaged<Visit>.fromOpaque(context!).takeUnretainedValue()
                visit.runs += 1
                return bg_group_remove_free_space(visit.group, logical, length)
            },
            context
        )
        #expect(result == 0)
        #expect(visit.runs == 128)
        #expect(try allocator.stat(0).free_bytes == 0)
    }

    @Test func aVisitMayRemoveTheGroupThatItVisits() throws {
        let allocator = try TestAllocator()
        for index in 0..<20 as Range<UInt64> {
            #expect(bg_allocator_add_group(allocator.pointer, index * MiB, MiB, data) == 0)
        }
        let context = UnsafeMutableRawPointer(allocator.pointer)
        let result = bg_for_each_group(
            allocator.pointer,
            { context, group in
                var stat = bg_group_stat()
                _ = bg_group_stat(group, &stat)
                return bg_allocator_remove_group(OpaquePointer(context), stat.logical)
            },
            context
        )
        #expect(result == 0)
        #expect(bg_for_each_group(allocator.pointer, { _, _ in 1 }, nil) == 0)
    }

    @Test(arguments: [77, -77, CInt.max, CInt.min])
    func aVisitsAnswerIsPassedOn(answer: CInt) throws {
        let allocator = try TestAllocator()
        let group = try allocator.addFree(0, MiB)
        var answer = answer
        #expect(
            withUnsafeMutablePointer(to: &answer) {
                bg_group_for_each_free(
                    group,
                    { context, _, _ in context!.load(as: CInt.self) },
                    $0
                )
            } == answer
        )
        #expect(
            withUnsafeMutablePointer(to: &answer) {
                bg_for_each_group(
                    allocator.pointer,
                    { context, _ in context!.load(as: CInt.self) },
                    $0
                )
            } == answer
        )
    }

    @Test func aStatTellsEveryField() throws {
        let allocator = try TestAllocator()
        let group = try allocator.addFree(MiB, MiB, metadata | 1 << 4)
        #expect(bg_group_remove_free_space(group, MiB + 4 * sector, 4 * sector) == 0)
        _ = allocator.claim(claimOptions(8 * sector, metadata))
        #expect(bg_group_set_read_only(group, 1) == 0)
        let stat = try allocator.stat(2 * MiB - 1)
        #expect(stat.logical == MiB && stat.length == MiB)
        #expect(stat.flags == metadata | 1 << 4)
        #expect(stat.free_bytes == MiB - 12 * sector)
        #expect(stat.claimed_bytes == 8 * sector)
        #expect(stat.largest_run == MiB - 16 * sector)
        #expect(stat.run_count == 2)
        #expect(stat.read_only == 1 && stat.cached == 1)
    }

    // MARK: bg_explain

    @Test func anExplanationIsCutToFit() throws {
        let allocator = try TestAllocator()
        try allocator.addFree(0, MiB)
        var options = claimOptions(2 * MiB)
        #expect(bg_explain(allocator.pointer, &options, nil, 0) == 0)
        var whole = [CChar](repeating: 120, count: 4096)
        #expect(bg_explain(allocator.pointer, &options, &whole, whole.count) == 0)
        let length = strlen(whole)
        #expect(length > 20)
        #expect(whole[length + 1] == 120, "what lies behind the 0 is not written")
        for size in [0, 1, 2, 7, length - 1, length, length + 1] {
            var cut = [CChar](repeating: 120, count: length + 10)
            #expect(bg_explain(allocator.pointer, &options, &cut, size) == 0)
            let written = min(size, length + 1)
            if size > 0 {
                #expect(cut[written - 1] == 0)
                #expect(Array(cut[..<(written - 1)]) == Array(whole[..<(written - 1)]))
            }
            #expect(cut[written...].allSatisfy { $0 == 120 })
        }
        #expect(bg_explain(allocator.pointer, &options, &whole, -1) == -EINVAL, "SIZE_MAX")
    }

    @Test func whatNoGroupCouldHoldIsExplainedToo() throws {
        let allocator = try TestAllocator()
        try allocator.addFree(0, MiB)
        for length in [1 << 43, 1 << 50, UInt64.max & ~(sector - 1)] {
            #expect(allocator.claim(claimOptions(length)).result == -ENOSPC)
            var options = claimOptions(length)
            var text = [CChar](repeating: 0, count: 4096)
            #expect(bg_explain(allocator.pointer, &options, &text, text.count) == 0, "\(length)")
            #expect(strlen(text) > 20, "\(length)")
        }
    }

    @Test func anExplanationClaimsNothing() throws {
        let allocator = try TestAllocator()
        try allocator.addFree(0, MiB)
        var options = claimOptions(sector)
        let text = try withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
            let text = try #require(buffer.baseAddress)
            #expect(bg_explain(allocator.pointer, &options, text, buffer.count) == 0)
            return String(cString: text)
        }
        #expect(text.contains("would find space"))
        #expect(try allocator.stat(0).free_bytes == MiB)
        #expect(try allocator.stat(0).claimed_bytes == 0)
    }

    // MARK: texts

    @Test func theVersionIsTheHeaders() {
        let header = "\(BG_VERSION_MAJOR).\(BG_VERSION_MINOR).\(BG_VERSION_PATCH)"
        #expect(String(cString: bg_version()) == header)
    }

    @Test func theLastErrorIsKeptInWordsForEachThread() throws {
        let allocator = try TestAllocator()
        let group = try allocator.addFree(0, MiB)
        #expect(allocator.claim(claimOptions(2 * MiB)).result == -ENOSPC)
        #expect(lastError().contains("no free run"))
        #expect(allocator.claim(claimOptions(sector)).result == 0)
        #expect(lastError().contains("no free run"), "a success leaves the text alone")
        #expect(bg_group_add_free_space(group, 8 * sector, sector) == -EEXIST)
        #expect(lastError().contains("free already"))
        #expect(bg_allocator_remove_group(allocator.pointer, 0) == -EBUSY)
        #expect(lastError().contains("claims are out"))
        #expect(bg_claim(allocator.pointer, nil, nil) == -EINVAL)
        #expect(lastError().contains("NULL"))
        #expect(bg_group_set_read_only(group, 1) == 0)
        var options = claimOptions(sector)
        var extent = bg_extent()
        #expect(bg_group_claim(group, &options, &extent) == -EROFS)
        #expect(lastError().contains("read-only"))
        let done = DispatchSemaphore(value: 0)
        let other = Thread {
            #expect(lastError() == "", "another thread's failures are not this one's")
            done.signal()
        }
        other.start()
        done.wait()
    }

    @Test func magazinesCanBeLeftOut() throws {
        let allocator = try TestAllocator(allocatorOptions { $0.flags = 1 })
        try allocator.addFree(0, MiB)
        var starts: [UInt64] = []
        for _ in 0..<256 { starts.append(allocator.claim(claimOptions(sector)).extent.logical) }
        #expect(starts == (0..<256).map { $0 * sector })
        #expect(allocator.claim(claimOptions(sector)).result == -ENOSPC)
    }
}
