//===-- IndexModelTests.swift - random operations on an index and on a plain array -------------===//
// A model step compares add, remove, the three claims and the questions with an array of bools. Sizes: 1, 63,
// 4096, 262144, some not multiples of 64, by each code of IndexCode, across conversions the test forces.
// Replay: BG_SEED. BG_STEPS multiplies the steps, for longer runs in release builds.
// SPDX-License-Identifier: LGPL-2.1-or-later

import CShim
import Testing

#if canImport(Glibc)
    import Glibc
#endif

private struct Model {
    var free: [UInt8]
    let count: Int

    init(_ count: Int) {
        self.count = count
        free = [UInt8](repeating: 0, count: count)
    }

    /// The first place at or above `from` whose byte is `value`; `count` if there is none.
    func first(_ value: UInt8, from: Int) -> Int {
        free.withUnsafeBytes { bytes in
            guard from < count,
                let hit = memchr(bytes.baseAddress! + from, CInt(value), count - from)
            else { return count }
            return UnsafeRawPointer(hit) - bytes.baseAddress!
        }
    }

    func all(_ value: UInt8, _ start: Int, _ length: Int) -> Bool {
        first(1 - value, from: start) >= start + length
    }

    mutating func set(_ value: UInt8, _ start: Int, _ length: Int) {
        for at in start..<start + length { free[at] = value }
    }

    /// What the rules in bgs_index.h say; `best`: tightest instead of first.
    func claim(
        best: Bool,
        from: Int,
        end: Int,
        length: Int,
        need: Int,
        align: Int,
        phase: Int
    ) -> Int? {
        var at = first(1, from: 0)
        var tightest = Int.max
        var found: Int? = nil
        while at < count {
            let runEnd = first(0, from: at)
            var place = max(at, from)
            if runEnd - place >= need {
                while (place + phase) % align != 0 { place += 1 }
                if place + length <= min(runEnd, end), !best || runEnd - at < tightest {
                    if !best { return place }
                    tightest = runEnd - at
                    found = place
                }
            }
            at = first(1, from: runEnd)
        }
        return found
    }
}

extension IndexSuite {
    @Suite struct ModelRuns {
        struct Plan: Sendable, CustomTestStringConvertible {
            var sectors: Int
            var steps: Int
            var typical: Int
            var code: IndexCode
            var checkEvery: Int
            var testDescription: String { "\(sectors) sectors, \(code.testDescription)" }
        }
        static let plans = IndexCode.available.flatMap { code in
            [
                Plan(sectors: 1, steps: 2000, typical: 1, code: code, checkEvery: 1),
                Plan(sectors: 63, steps: 20000, typical: 3, code: code, checkEvery: 1),
                Plan(sectors: 1000, steps: 20000, typical: 4, code: code, checkEvery: 7),
                Plan(sectors: 4096, steps: 20000, typical: 3, code: code, checkEvery: 50),
                Plan(sectors: 65537, steps: 20000, typical: 4, code: code, checkEvery: 2000),
                Plan(sectors: 262144, steps: 6000, typical: 40, code: code, checkEvery: 2000),
            ]
        }

        @Test(arguments: plans)
        func randomOperationsAgreeWithAPlainArray(_ plan: Plan) {
            let seed = replaySeed()
            print("index model: BG_SEED=\(seed), \(plan.testDescription)")
            var random = SplitMix64(state: seed)
            let mode = IndexMode(code: plan.code)
            let fixture = IndexFixture(sectors: UInt32(plan.sectors), mode: mode)
            let factor = getenv("BG_STEPS").flatMap { Int(String(cString: $0)) } ?? 1
            var model = Model(plan.sectors)
            var giveShare = 50
            for step in 0..<plan.steps * factor {
                if step % 3000 == 0 { giveShare = .random(in: 15...85, using: &random) }
                if step % 500 == 0 {
                    bgs_index_convert(fixture.index, CInt(random.next() & 1))
                    if random.next() & 1 == 0 { bgs_index_trim(fixture.index) }
                }
                let same = agree(
                    fixture.index,
                    &model,
                    plan,
                    giveShare: giveShare,
                    random: &random
                )
                guard same else {
                    Issue.record("seed \(seed), step \(step), \(plan.testDescription)")
                    return
                }
                if step % plan.checkEvery == 0 { bgs_index_check(fixture.index) }
            }
            bgs_index_check(fixture.index)
            #expect(Int(fixture.index.pointee.free_sectors) == model.free.count { $0 == 1 })
        }

        /// One random operation on both; false when they differ.
        private func agree(
            _ index: UnsafeMutablePointer<bgs_index>,
            _ model: inout Model,
            _ plan: Plan,
            giveShare: Int,
            random: inout SplitMix64
        ) -> Bool {
            let count = plan.sectors
            let long = Int.random(in: 0..<4, using: &random) == 0
            var length = min(
                count,
                1 + .random(in: 0..<plan.typical * (long ? 8 : 1), using: &random)
            )
            var start = Int.random(in: 0...count - length, using: &random)
            let kind = Int.random(in: 0..<16, using: &random)
            if kind < 10, Int.random(in: 0..<100, using: &random) < giveShare {
                let expected: CInt = model.all(0, start, length) ? 0 : -17
                if expected == 0 { model.set(1, start, length) }
                return bgs_index_add(index, UInt32(start), UInt32(length)) == expected
            }
            if kind < 7 {
                // Mostly inside a run, so that removing usually succeeds.
                let run = model.first(1, from: start)
                if run < count, kind < 6 {
                    let runLength = model.first(0, from: run) - run
                    length = min(length, runLength)
                    start = run + .random(in: 0...runLength - length, using: &random)
                }
                let expected: CInt = model.all(1, start, length) ? 0 : -2
                if expected == 0 { model.set(0, start, length) }
                return bgs_index_remove(index, UInt32(start), UInt32(length)) == expected
            }
            if kind < 14 {
                return claimAgrees(index, &model, length: length, kind: kind, random: &random)
            }
            let first = model.first(1, from: start)
            var run: (start: UInt32, length: UInt32) = (0, 0)
            let any = bgs_index_next(index, UInt32(start), &run.start, &run.length)
            return any == (first < count)
                && (!any || max(Int(run.start), start) == first)
                && (!any
                    || Int(run.start) + Int(run.length) == model.first(0, from: first))
                && bgs_index_is_free(index, UInt32(start), UInt32(length))
                    == model.all(1, start, length)
                && bgs_index_any_free(index, UInt32(start), UInt32(length))
                    == !model.all(0, start, length)
        }

        private func claimAgrees(
            _ index: UnsafeMutablePointer<bgs_index>,
            _ model: inout Model,
            length: Int,
            kind: Int,
            random: inout SplitMix64
        ) -> Bool {
            let count = model.count
            let need = length + (random.next() % 3 == 0 ? Int(random.next() % 40) : 0)
            let align = kind >= 10 && random.next() % 2 == 0 ? 2 + Int(random.next() % 23) : 1
            let phase = Int(random.next() % 40)
            let from = kind >= 12 ? Int.random(in: 0..<count, using: &random) : 0
            let end =
                kind >= 12 && random.next() % 2 == 0
                ? from + Int.random(in: 0...count - from, using: &random) : count
            var start: UInt32 = 0
            let claimed: Bool
            if kind >= 12 {
                claimed = bgs_index_claim_from(
                    index,
                    UInt32(from),
                    UInt32(end),
                    UInt32(length),
                    UInt32(need),
                    UInt64(align),
                    UInt64(phase),
                    &start
                )
            } else {
                claimed = bgs_index_claim_best_aligned(
                    index,
                    UInt32(length),
                    UInt32(need),
                    UInt64(align),
                    UInt64(phase),
                    &start
                )
            }
            let expected = model.claim(
                best: kind < 12,
                from: from,
                end: end,
                length: length,
                need: need,
                align: align,
                phase: phase
            )
            if let expected { model.set(0, expected, length) }
            return claimed == (expected != nil) && (!claimed || Int(start) == expected)
        }
    }
}
