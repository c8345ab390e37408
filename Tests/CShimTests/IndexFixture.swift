//===-- IndexFixture.swift - an index with an owner, for the tests of the free-space index -----===//
// Covers: memory and life of a bgs_index, its form, a seeded generator.
// Replay: BG_SEED=… in the environment; every model test prints the seed it used.
// SPDX-License-Identifier: LGPL-2.1-or-later

import CShim
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// The code that runs: all of it gives the same results.
enum IndexCode: CaseIterable, CustomTestStringConvertible {
    case plain
    case avx2
    case avx512

    var core: bgs_index_code {
        switch self {
        case .plain: BGS_CODE_PLAIN
        case .avx2: BGS_CODE_AVX2
        case .avx512: BGS_CODE_AVX512
        }
    }

    var isAvailable: Bool { core.rawValue <= bgs_index_best_code().rawValue }
    static let available = allCases.filter { $0.isAvailable }
    static let best = available[available.count - 1]
    var testDescription: String {
        switch self {
        case .plain: "plain C"
        case .avx2: "AVX2"
        case .avx512: "AVX-512"
        }
    }
}

/// How a case runs: as runs or as a bitmap, and by which code.
struct IndexMode: Sendable, CustomTestStringConvertible {
    var bitmap = false
    var code = IndexCode.best
    static let all = [false, true].flatMap { bitmap in
        IndexCode.available.map { IndexMode(bitmap: bitmap, code: $0) }
    }
    var testDescription: String { "\(bitmap ? "bitmap" : "runs"), \(code.testDescription)" }
}

struct FreeRun: Equatable {
    var start: UInt32
    var length: UInt32
}

final class IndexFixture {
    let index: UnsafeMutablePointer<bgs_index>
    let mode: IndexMode

    init(sectors: UInt32, mode: IndexMode = IndexMode()) {
        self.mode = mode
        let raw = UnsafeMutableRawPointer.allocate(
            byteCount: MemoryLayout<bgs_index>.size,
            alignment: 64
        )
        index = raw.bindMemory(to: bgs_index.self, capacity: 1)
        bgs_index_use_code(mode.code.core)
        precondition(bgs_index_init(index, sectors) == 0)
        apply()
    }

    deinit {
        // Allocators that are made meanwhile, or later, take the best.
        bgs_index_use_code(IndexCode.best.core)
        bgs_index_destroy(index)
        UnsafeMutableRawPointer(index).deallocate()
    }

    /// Small bitmaps turn into runs by themselves: cases ask for their form again before each step.
    func apply() {
        bgs_index_convert(index, mode.bitmap ? 1 : 0)
        bgs_index_check(index)
    }

    func add(_ start: UInt32, _ length: UInt32) -> CInt {
        apply()
        defer { bgs_index_check(index) }
        return bgs_index_add(index, start, length)
    }

    func remove(_ start: UInt32, _ length: UInt32) -> CInt {
        apply()
        defer { bgs_index_check(index) }
        return bgs_index_remove(index, start, length)
    }

    func claimBest(_ length: UInt32, need: UInt32 = 0, align: UInt64 = 1, phase: UInt64 = 0)
        -> UInt32?
    {
        apply()
        var start: UInt32 = 0
        let claimed =
            align > 1
            ? bgs_index_claim_best_aligned(index, length, need, align, phase, &start)
            : bgs_index_claim_best(index, length, need, &start)
        bgs_index_check(index)
        return claimed ? start : nil
    }

    func claimFrom(
        _ from: UInt32,
        end: UInt32 = .max,
        _ length: UInt32,
        need: UInt32 = 0,
        align: UInt64 = 1,
        phase: UInt64 = 0
    ) -> UInt32? {
        apply()
        var start: UInt32 = 0
        let claimed = bgs_index_claim_from(index, from, end, length, need, align, phase, &start)
        bgs_index_check(index)
        return claimed ? start : nil
    }

    func next(_ from: UInt32) -> FreeRun? {
        var run = FreeRun(start: 0, length: 0)
        return bgs_index_next(index, from, &run.start, &run.length) ? run : nil
    }

    var runs: [FreeRun] {
        var found: [FreeRun] = []
        var from: UInt32 = 0
        while let run = next(from) {
            found.append(run)
            from = run.start + run.length
        }
        return found
    }
}

struct SplitMix64: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

func replaySeed() -> UInt64 {
    guard let text = getenv("BG_SEED") else { return UInt64.random(in: 0...UInt64.max) }
    return UInt64(String(cString: text)) ?? 1
}
