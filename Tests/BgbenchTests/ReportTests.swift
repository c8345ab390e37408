//===-- ReportTests.swift - medians, the table, the JSON names --------------------------------===//

import BenchControls
import Foundation
import Testing

@testable import bgbench

@Suite struct ReportTests {
    @Test func theMedianIsTheMiddleOrTheMeanOfTheTwoInTheMiddle() {
        #expect(median([]) == 0)
        #expect(median([3]) == 3)
        #expect(median([9, 1, 5]) == 5)
        #expect(median([4, 1, 2, 100]) == 3)
    }

    @Test func jsonNamesAreTheOnesPromised() throws {
        var result = BenchmarkResult("W1-64GiB", "std-map")
        result.nsPerOp = 1
        result.missesPer1000 = 2
        result.freeExtents = 3
        result.largestRunBytes = 4
        result.firstMissPercent = 5
        result.bytesPerExtent = 6
        result.nsPerExtent = 7
        result.lockTaken = 8
        result.lockContended = 9
        result.mops = 10
        let object = try JSONSerialization.jsonObject(with: JSONEncoder().encode(result))
        let fields = try #require(object as? [String: Any])
        let promised = [
            "workload", "competitor", "threads", "ns_per_op", "mops", "misses_per_1000",
            "free_extents", "largest_run_bytes", "first_miss_percent", "bytes_per_extent",
            "ns_per_extent", "lock_taken", "lock_contended",
        ]
        for name in promised {
            #expect(fields[name] != nil, "\(name)")
        }
        #expect(fields["result_hash"] == nil, "a figure that was not taken is left out")
    }

    @Test func theRatioSaysHowManyTimesBetterTheFirstIs() {
        var ours = BenchmarkResult("W1-64GiB", "blockgroups")
        ours.nsPerOp = 100
        var control = BenchmarkResult("W1-64GiB", "std-map")
        control.nsPerOp = 650
        let text = Report(measurements: [ours, control]).text()
        #expect(text.contains("blockgroups is"))
        #expect(text.contains("6.50x"))
    }

    @Test func moreOperationsASecondAreBetterInParallel() {
        var ours = BenchmarkResult("W2", "blockgroups", threads: 2)
        ours.mops = 10
        ours.nsPerOp = 100
        var control = BenchmarkResult("W2", "std-map", threads: 2)
        control.mops = 2
        control.nsPerOp = 500
        let text = Report(measurements: [ours, control]).text()
        #expect(text.contains("W2, 2 threads"))
        #expect(text.contains("5.00x"))
    }

    @Test func aDensityLineReadsBackAsItWas() throws {
        let density = bench_density(
            extents: 1,
            nanoseconds: 2,
            resident_bytes: 3,
            free_extents: 4,
            groups: 5
        )
        let read = try #require(parseDensity(densityLine(density) + "\n"))
        #expect(read.extents == 1 && read.nanoseconds == 2 && read.resident_bytes == 3)
        #expect(read.free_extents == 4 && read.groups == 5)
        #expect(parseDensity("1 2 3") == nil)
    }

    @Test func theStoryHasALineForEachNumberOfThreads() {
        var results: [BenchmarkResult] = []
        for threads in [1, 2, 4, 8] {
            for name in ["seed-before", "seed-after"] {
                var result = BenchmarkResult("seed", name, threads: threads)
                result.mops = Double(threads)
                results.append(result)
            }
        }
        let lines = seedStoryText(results).split(separator: "\n")
        #expect(lines.filter { $0.contains("1.00") }.count == 4)
    }
}
