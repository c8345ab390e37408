//===-- IndexTests.swift - claims about the free-space index of one group ----------------------===//
// Every case runs as runs and as a bitmap, by each code that the processor can run; every step checks all
// invariants.
// Not here: random operations (IndexModelTests.swift), speed (measured outside the tests).
// SPDX-License-Identifier: LGPL-2.1-or-later

import CShim
import Testing

@Suite("free-space index", .serialized)
enum IndexSuite {}

extension IndexSuite {
    @Suite struct Cases {
        @Test func classesAreExactUpTo15AndThenEightAnOctave() {
            for length: UInt32 in 1...15 { #expect(bgs_class_of(length) == length - 1) }
            #expect(bgs_class_of(16) == 15 && bgs_class_of(17) == 15 && bgs_class_of(18) == 16)
            #expect(bgs_class_of(131071) == 118 && bgs_class_of(131072) == 119)
            #expect(bgs_class_of(.max) == 119)
            for length: UInt32 in 1...300_000 {
                let fit = bgs_class_fit(length)
                if fit < 128 {
                    #expect(fit == bgs_class_of(length) || fit == bgs_class_of(length) + 1)
                    if fit > 0 { #expect(bgs_class_of(length - (length > 1 ? 1 : 0)) < fit) }
                } else {
                    #expect(length > 262144)
                }
            }
        }

        @Test(.enabled(if: IndexCode.avx2.isAvailable, "this processor has no AVX2"))
        func codeForAVX2IsTriedHere() {
            #expect(IndexMode.all.contains { $0.code == .avx2 })
        }

        @Test(.enabled(if: IndexCode.avx512.isAvailable, "this processor has no AVX-512 VBMI2"))
        func codeForAVX512IsTriedHere() {
            #expect(IndexMode.all.contains { $0.code == .avx512 })
        }

        @Test func sizesOutsideOneToTwoToThe31AreRefused() {
            var index = bgs_index()
            #expect(bgs_index_init(&index, 0) == -22)
            #expect(bgs_index_init(&index, 0x8000_0000) == -22)
        }

        @Test func anIdleGroupIsUnderOneKibibyte() {
            let fixture = IndexFixture(sectors: 262144)
            #expect(fixture.add(0, 262144) == 0)
            #expect(MemoryLayout<bgs_index>.size <= 496)
            #expect(bgs_index_bytes(fixture.index) < 1024)
        }

        @Test(arguments: IndexMode.all)
        func givingBackMergesBothNeighbours(_ mode: IndexMode) {
            let fixture = IndexFixture(sectors: 262144, mode: mode)
            #expect(fixture.add(100, 10) == 0 && fixture.add(120, 10) == 0)
            #expect(fixture.index.pointee.run_count == 2)
            #expect(fixture.add(110, 10) == 0)
            #expect(fixture.runs == [FreeRun(start: 100, length: 30)])
            #expect(fixture.index.pointee.free_sectors == 30)
        }

        @Test(arguments: IndexMode.all)
        func givingBackWhatIsFreeIsRefusedAndChangesNothing(_ mode: IndexMode) {
            let fixture = IndexFixture(sectors: 1000, mode: mode)
            #expect(fixture.add(100, 10) == 0)
            for (start, length): (UInt32, UInt32) in [
                (100, 10), (95, 6), (109, 5), (0, 1000), (104, 1),
            ] {
                #expect(fixture.add(start, length) == -17)
            }
            #expect(fixture.add(990, 11) == -22 && fixture.add(5, 0) == -22)
            #expect(fixture.runs == [FreeRun(start: 100, length: 10)])
        }

        @Test(arguments: IndexMode.all)
        func removingWhatIsNotWhollyFreeIsRefusedAndChangesNothing(_ mode: IndexMode) {
            let fixture = IndexFixture(sectors: 1000, mode: mode)
            #expect(fixture.add(100, 10) == 0 && fixture.add(111, 10) == 0)
            for (start, length): (UInt32, UInt32) in [
                (99, 2), (109, 2), (105, 10), (0, 1), (115, 7),
            ] {
                #expect(fixture.remove(start, length) == -2)
            }
            #expect(fixture.runs.count == 2)
            #expect(fixture.remove(103, 4) == 0)
            #expect(
                fixture.runs == [
                    FreeRun(start: 100, length: 3), FreeRun(start: 107, length: 3),
                    FreeRun(start: 111, length: 10),
                ]
            )
        }

        @Test(arguments: IndexMode.all)
        func theTightestRunIsClaimedAndTheLowestAmongEquals(_ mode: IndexMode) {
            let fixture = IndexFixture(sectors: 262144, mode: mode)
            for (start, length): (UInt32, UInt32) in [
                (0, 100), (5000, 20), (9000, 21), (40000, 20), (60000, 19), (250000, 8),
            ] {
                #expect(fixture.add(start, length) == 0)
            }
            #expect(fixture.claimBest(20) == 5000)
            #expect(fixture.claimBest(20) == 40000)
            #expect(fixture.claimBest(20) == 9000)
            #expect(fixture.claimBest(4, need: 22) == 0)
            #expect(fixture.claimBest(8) == 250000)
            #expect(fixture.claimBest(97) == nil)
            #expect(fixture.claimBest(96) == 4)
        }

        @Test(arguments: IndexMode.all)
        func aClaimFromAnAddressNeverStartsBelowItAndEndsBelowTheEnd(_ mode: IndexMode) {
            let fixture = IndexFixture(sectors: 262144, mode: mode)
            #expect(fixture.add(100, 50) == 0 && fixture.add(1000, 50) == 0)
            #expect(fixture.claimFrom(120, 10) == 120)
            #expect(fixture.claimFrom(120, end: 1010, 11) == 130)
            #expect(fixture.claimFrom(142, end: 1009, 10) == nil)
            #expect(fixture.claimFrom(142, end: 1010, 10) == 1000)
            #expect(fixture.claimFrom(1011, 5, need: 40) == nil)
            #expect(fixture.claimFrom(1011, 5, need: 39) == 1011)
        }

        @Test(arguments: IndexMode.all)
        func alignmentMayBeAnyMultipleWithAPhase(_ mode: IndexMode) {
            let fixture = IndexFixture(sectors: 262144, mode: mode)
            #expect(fixture.add(100, 30) == 0 && fixture.add(1000, 48) == 0)
            // (a + 5) % 48 == 0 first at 139, then at 1003.
            #expect(fixture.claimFrom(0, 10, align: 48, phase: 5) == 1003)
            // The first run has no multiple of 48 with 12 sectors behind it.
            #expect(fixture.claimBest(12, align: 48, phase: 0) == nil)
            #expect(fixture.claimBest(12, align: 47, phase: 0) == 1034)
            #expect(fixture.claimBest(12, align: 7, phase: 1) == 1014)
            #expect(fixture.claimBest(1, align: UInt64.max, phase: UInt64.max - 110) == 110)
            #expect(fixture.claimBest(1, align: UInt64.max, phase: UInt64.max - 120) == 120)
        }

        @Test(arguments: IndexMode.all)
        func questionsAboutRangesAgreeWithTheRuns(_ mode: IndexMode) {
            let fixture = IndexFixture(sectors: 20000, mode: mode)
            #expect(bgs_index_largest(fixture.index) == 0 && fixture.next(0) == nil)
            #expect(fixture.add(4090, 12) == 0 && fixture.add(19990, 10) == 0)
            #expect(bgs_index_largest(fixture.index) == 12)
            #expect(fixture.next(4095) == FreeRun(start: 4090, length: 12))
            #expect(fixture.next(4102) == FreeRun(start: 19990, length: 10))
            #expect(fixture.next(20000) == nil)
            #expect(bgs_index_is_free(fixture.index, 4091, 11))
            #expect(!bgs_index_is_free(fixture.index, 4091, 12))
            #expect(bgs_index_any_free(fixture.index, 4101, 100))
            #expect(!bgs_index_any_free(fixture.index, 4102, 100))
            #expect(!bgs_index_is_free(fixture.index, 19990, .max))
        }

        @Test(arguments: IndexCode.available)
        func aShatteredGroupBecomesABitmapAndComesBack(_ code: IndexCode) {
            let mode = IndexMode(code: code)
            let fixture = IndexFixture(sectors: 262144, mode: mode)
            let index = fixture.index
            for start in stride(from: UInt32(0), to: 262144, by: 26) {
                #expect(bgs_index_add(index, start, 1) == 0)
            }
            bgs_index_check(index)
            #expect(index.pointee.form == 1)
            #expect(index.pointee.trim_wanted != 0)
            bgs_index_trim(index)
            #expect(index.pointee.trim_wanted == 0)
            #expect(bgs_index_bytes(index) < 48 * 1024)
            for start in stride(from: UInt32(0), to: 262144, by: 26) where start % 260 != 0 {
                #expect(bgs_index_remove(index, start, 1) == 0)
            }
            bgs_index_check(index)
            #expect(index.pointee.form == 0)
            #expect(index.pointee.run_count == 262144 / 260 + 1)
            bgs_index_trim(index)
            #expect(bgs_index_bytes(index) < 24 * 1024)
        }

        @Test(arguments: IndexCode.available)
        func denseAddsInOrderBecomeABitmapEarlyAndSparseOnesStayRuns(_ code: IndexCode) {
            let mode = IndexMode(code: code)
            for (spacing, form): (UInt32, UInt8) in [(26, 1), (59, 1), (130, 0)] {
                let fixture = IndexFixture(sectors: 262144, mode: mode)
                let index = fixture.index
                for step in 0..<UInt32(500) {
                    #expect(bgs_index_add(index, step * spacing, 1) == 0)
                    #expect(bgs_index_add(index, step * spacing, 1) == -17)
                }
                bgs_index_check(index)
                #expect(index.pointee.form == form && index.pointee.run_count == 500)
                // Leaves again once most of its runs have gone.
                for step in 0..<UInt32(490) {
                    #expect(bgs_index_remove(index, step * spacing, 1) == 0)
                }
                bgs_index_check(index)
                #expect(index.pointee.form == 0 && index.pointee.run_count == 10)
            }
        }

        @Test(arguments: IndexCode.available)
        func aBitmapThatCameTooEarlyBecomesRunsAgain(_ code: IndexCode) {
            let mode = IndexMode(code: code)
            let fixture = IndexFixture(sectors: 262144, mode: mode)
            let index = fixture.index
            for step in 0..<UInt32(200) { #expect(bgs_index_add(index, step * 10, 1) == 0) }
            #expect(index.pointee.form == 1)
            for step in 1..<UInt32(60) { #expect(bgs_index_add(index, step * 4096, 64) == 0) }
            bgs_index_check(index)
            #expect(index.pointee.form == 0 && index.pointee.run_count == 259)
            for step in 0..<UInt32(200) { #expect(bgs_index_remove(index, step * 10, 1) == 0) }
            bgs_index_check(index)
            #expect(index.pointee.run_count == 59 && index.pointee.free_sectors == 59 * 64)
        }

        /// Every way an add can meet its neighbours, and a claim its run, at every place of leaves and nodes.
        @Test(arguments: IndexCode.available)
        func addsAndClaimsAgreeAtEveryPlaceOfATreeOfOneAndTwoLevels(_ code: IndexCode) {
            let mode = IndexMode(code: code)
            for runs: UInt32 in [2, 16, 17, 33, 300, 700] {
                let fixture = IndexFixture(sectors: 262144, mode: mode)
                let index = fixture.index
                let pitch: UInt32 = 300
                for step in 0..<runs {
                    #expect(bgs_index_add(index, step * pitch, 7 + step % 40) == 0)
                }
                #expect(index.pointee.height == (runs <= 16 ? 0 : runs <= 512 ? 1 : 2))
                for step in 0..<runs {
                    let start = step * pitch, length = 7 + step % 40
                    // Alone, then joined from both sides, then refused.
                    #expect(bgs_index_add(index, start + 100, 3) == 0)
                    #expect(bgs_index_add(index, start + 103, 2) == 0)
                    #expect(bgs_index_add(index, start + 98, 2) == 0)
                    #expect(bgs_index_add(index, start + 102, 1) == -17)
                    #expect(bgs_index_add(index, start + 97, 9) == -17)
                    #expect(bgs_index_add(index, start + length, 98 - length) == 0)
                    bgs_index_check(index)
                    #expect(fixture.next(start) == FreeRun(start: start, length: 105))
                    // Cut from its start, then whole; it is the only one so long.
                    var claimed: UInt32 = 0
                    #expect(bgs_index_claim_best(index, 5, 105, &claimed) && claimed == start)
                    var run: UInt32 = 0
                    #expect(!bgs_index_claim_within(index, 96, 96, 99, &claimed, &run))
                    #expect(bgs_index_may_have(index, 100, 100))
                    #expect(bgs_index_claim_within(index, 100, 100, 103, &claimed, &run))
                    #expect(claimed == start + 5 && run == 100)
                    #expect(!bgs_index_may_have(index, 100, 103))
                    bgs_index_check(index)
                    #expect(bgs_index_add(index, start, length) == 0)
                    bgs_index_check(index)
                }
                #expect(index.pointee.run_count == runs)
            }
        }

        @Test(arguments: IndexCode.available)
        func aGroupThatBecomesWholeAgainNeedsTheStructAlone(_ code: IndexCode) {
            let mode = IndexMode(code: code)
            let fixture = IndexFixture(sectors: 262144, mode: mode)
            let index = fixture.index
            for parity: UInt32 in [0, 1] {
                for slot in stride(from: parity, to: 4096, by: 2) {
                    #expect(bgs_index_add(index, slot * 64, 64) == 0)
                }
            }
            bgs_index_check(index)
            #expect(index.pointee.run_count == 1 && index.pointee.height == 0)
            bgs_index_trim(index)
            #expect(bgs_index_bytes(index) == MemoryLayout<bgs_index>.size)
        }

        @Test func anAreaUnderTrimIsLeftAloneByBothConversions() {
            let fixture = IndexFixture(sectors: 262144)
            let index = fixture.index
            for start in stride(from: UInt32(0), to: 262144, by: 300) {
                #expect(bgs_index_add(index, start, 7) == 0)
            }
            bgs_index_convert(index, 1)
            var trim = bgs_index_trim()
            for _ in 0..<4 {
                #expect(bgs_index_trim_begin(index, &trim))
                var second = bgs_index_trim()
                #expect(!bgs_index_trim_begin(index, &second))
                bgs_index_convert(index, 0)
                bgs_index_check(index)
                bgs_index_trim_run(&trim)
                bgs_index_check(index)
                bgs_index_convert(index, 1)
                bgs_index_trim_end(index, &trim)
                bgs_index_check(index)
            }
            #expect(index.pointee.run_count == 874)
        }

        @Test(arguments: IndexCode.available)
        func theLargestGroupWorksAndItsClassesStayExact(_ code: IndexCode) {
            let sectors: UInt32 = 0x7fff_ffff
            let mode = IndexMode(code: code)
            let fixture = IndexFixture(sectors: sectors, mode: mode)
            #expect(fixture.add(0, sectors) == 0)
            #expect(fixture.claimBest(1) == 0)
            #expect(fixture.claimFrom(sectors - 1, 1) == sectors - 1)
            #expect(fixture.claimBest(sectors - 2) == 1)
            let index = fixture.index
            for step in 0..<UInt32(50_000) {
                #expect(bgs_index_add(index, step &* 42_000 + step % 7, 1 + step % 9000) == 0)
            }
            bgs_index_check(index)
            #expect(index.pointee.height >= 3)
            for step in 0..<UInt32(50_000) {
                #expect(bgs_index_remove(index, step &* 42_000 + step % 7, 1 + step % 9000) == 0)
            }
            bgs_index_check(index)
            #expect(index.pointee.run_count == 0 && index.pointee.height == 0)
        }
    }
}
