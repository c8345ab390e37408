//===-- Driver.swift - the C driver and its competitors, as Swift values ----------------------===//
// The only file of bgbench that touches the pointers of BenchControls.
//
// Invariant: a Competitor's table lives as long as the program.
// Not here: what is measured in which order (Suite.swift), the timed loops (BenchControls).

import BenchControls

/// One allocator under test: a table of C functions.
@safe struct Competitor {
    let table: UnsafePointer<bench_competitor>

    var name: String { unsafe String(cString: table.pointee.name) }
    var summary: String { unsafe String(cString: table.pointee.summary) }
    var isNull: Bool { hasTrait(UInt32(1) << 0) }
    var isSmallOnly: Bool { hasTrait(UInt32(1) << 1) }
    var isByNameOnly: Bool { hasTrait(UInt32(1) << 3) }
    var hasTreesOfOther: Bool { hasTrait(UInt32(1) << 4) }
    var isNodePerExtent: Bool { hasTrait(UInt32(1) << 5) }
    /// Takes the free space of many ranges in one call.
    var addsMany: Bool { unsafe table.pointee.add_free_many != nil }
    /// A counted workload runs its operations divided by this.
    var workDivisor: Int { unsafe Int(table.pointee.work_divisor) }

    /// Why it cannot run, or nil when it can.
    var unavailable: String? {
        guard let ask = unsafe table.pointee.unavailable, let words = unsafe ask(table) else {
            return nil
        }
        return unsafe String(cString: words)
    }

    private func hasTrait(_ bit: UInt32) -> Bool { unsafe table.pointee.traits & bit != 0 }

    /// Every competitor, in the order of the table.
    static func all() -> [Competitor] {
        var result: [Competitor] = []
        while let table = unsafe bench_competitor_at(result.count) {
            unsafe result.append(Competitor(table: table))
        }
        // Ours stand together: the Swift API comes behind the two ways through C.
        result.insert(swiftCompetitor(), at: min(2, result.count))
        return result
    }

    /// The same competitor with every claim checked; nil when memory is lacking.
    func verified() -> Competitor? {
        guard let table = unsafe bench_verified(table) else { return nil }
        return unsafe Competitor(table: UnsafePointer(table))
    }
}

/// The space an allocator is made over.
struct Space {
    var totalBytes: UInt64
    var groupBytes: UInt64 = 1 << 30
    var isAllFree = true

    var inC: bench_space {
        bench_space(
            total_bytes: totalBytes,
            group_bytes: groupBytes,
            all_free: isAllFree ? 1 : 0,
            reserved: 0
        )
    }
}

/// One allocator with its threads and live extents.
@safe final class Run {
    private let handle: OpaquePointer
    let competitor: Competitor

    init?(_ competitor: Competitor, _ space: Space, threads: Int, seed: UInt64) {
        var space = space.inC
        guard
            let handle = unsafe bench_run_create(competitor.table, &space, UInt32(threads), seed)
        else { return nil }
        unsafe self.handle = handle
        self.competitor = competitor
    }

    deinit { unsafe bench_run_destroy(handle) }

    func fill() { unsafe bench_run_fill(handle) }

    func steady(operations: Int) -> bench_slice {
        var slice = bench_slice()
        unsafe bench_run_steady(handle, UInt64(operations), &slice)
        return slice
    }

    func parallel(seconds: Double, operations: Int = Int.max / 2) -> bench_slice {
        var slice = bench_slice()
        unsafe bench_run_parallel(handle, UInt64(seconds * 1e9), UInt64(operations), &slice)
        return slice
    }

    func pairs(_ count: Int) -> bench_slice {
        var slice = bench_slice()
        unsafe bench_run_pairs(handle, UInt64(count), &slice)
        return slice
    }

    /// Percent in use at the first refusal; `bytes` 0 means the size mix.
    func fillOn(bytes: UInt64) -> Double { unsafe bench_run_fill_on(handle, bytes) }

    func describe() -> bench_summary {
        var summary = bench_summary()
        unsafe bench_run_describe(handle, &summary)
        return summary
    }
}

extension bench_slice {
    var nanosecondsPerOperation: Double { Double(nanoseconds) / Double(max(operations, 1)) }
    var millionPerSecond: Double { Double(operations) * 1e3 / Double(max(nanoseconds, 1)) }
}

/// Adds free extents to a fresh allocator; nil when the allocator refused or could not be made.
func measureDensity(
    _ competitor: Competitor,
    _ space: Space,
    extents: UInt64,
    spacing: UInt64,
    shuffled: Bool,
    batch: UInt64 = 0,
    seed: UInt64
) -> bench_density? {
    var space = space.inC
    var density = bench_density()
    let result = unsafe bench_measure_density(
        competitor.table,
        &space,
        extents,
        spacing,
        shuffled ? 1 : 0,
        batch,
        seed,
        &density
    )
    return result == 0 ? density : nil
}

func useCPUClock() { bench_use_cpu_clock(1) }

func pinToOneCPU() { _ = bench_pin_to_one_cpu() }

/// Takes our functions from a shared library; returns what went wrong.
func useLibrary(_ path: String) -> String? {
    guard let words = unsafe bench_use_library(path) else { return nil }
    return unsafe String(cString: words)
}

/// How many faults the checks of `--verify` found, and words for the first.
func verifyFaults() -> (count: UInt64, first: String) {
    (bench_verify_faults(), unsafe String(cString: bench_verify_first_fault()))
}
