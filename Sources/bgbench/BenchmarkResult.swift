//===-- BenchmarkResult.swift - one result: one workload, one competitor ----------------------===//
// Also the JSON form: an array of these, figures that a workload does not have left out.
//
// Invariant: every figure is the median of the rounds, or a fact about the final state.

import Foundation

struct BenchmarkResult: Encodable {
    var workload: String
    var competitor: String
    var threads = 1
    var operations: Int?
    var rounds = 1
    var nsPerOp: Double?
    /// Slowest and fastest round.
    var nsPerOpMin: Double?
    var nsPerOpMax: Double?
    var mops: Double?
    var missesPer1000: Double?
    /// Refusals; one missed request is refused once or more.
    var refusalsPer1000: Double?
    var freeExtents: UInt64?
    var largestRunBytes: UInt64?
    var firstMissPercent: Double?
    var bytesPerExtent: Double?
    var nsPerExtent: Double?
    var bytesPerGroup: Double?
    /// During the measured rounds.
    var lockTaken: UInt64?
    var lockContended: UInt64?
    /// Of a deterministic run: the same for the same seed, build and competitor.
    var resultHash: String?

    enum CodingKeys: String, CodingKey {
        case workload, competitor, threads, operations, rounds, mops
        case nsPerOp = "ns_per_op"
        case nsPerOpMin = "ns_per_op_min"
        case nsPerOpMax = "ns_per_op_max"
        case missesPer1000 = "misses_per_1000"
        case refusalsPer1000 = "refusals_per_1000"
        case freeExtents = "free_extents"
        case largestRunBytes = "largest_run_bytes"
        case firstMissPercent = "first_miss_percent"
        case bytesPerExtent = "bytes_per_extent"
        case nsPerExtent = "ns_per_extent"
        case bytesPerGroup = "bytes_per_group"
        case lockTaken = "lock_taken"
        case lockContended = "lock_contended"
        case resultHash = "result_hash"
    }

    init(_ workload: String, _ competitor: String, threads: Int = 1) {
        self.workload = workload
        self.competitor = competitor
        self.threads = threads
    }
}

/// The middle value; of an even count the mean of the two in the middle. Empty: 0.
func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return 0 }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/// What a run is asked to be.
struct Settings {
    var seed: UInt64 = 1
    var rounds = 5
    var isQuick = false
    var isVerifying = false
    var library: String?
    var competitors: [Competitor] = []
    /// Named by the user: then even what is slow runs everywhere.
    var areNamed = false
}

/// Lines on standard error, so that a long run shows where it is.
struct Progress {
    func say(_ words: String) {
        FileHandle.standardError.write(Data((words + "\n").utf8))
    }
}
