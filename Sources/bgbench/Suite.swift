//===-- Suite.swift - which workload runs whom, how often and in which order ------------------===//
// The allocators of one workload live side by side and take turns: each round gives every
// competitor one slice of the work, so that a noisy stretch hits all of them.
//
// Invariants:
//   1. W1, the aged half of W5 and W3 share one aged allocator per competitor, in this order;
//      W5 and W3 leave its free space as they found it.
//   2. free bytes + live bytes = all bytes after every workload; otherwise `faults` grows.
// Not here: W4's process per measurement (Density.swift), the seed's story (SeedStory.swift).

import BenchControls

struct Suite {
    let settings: Settings
    let progress = Progress()
    private(set) var results: [BenchmarkResult] = []
    /// Sentences; any makes the program fail.
    private(set) var faults: [String] = []

    init(settings: Settings) {
        self.settings = settings
    }

    mutating func add(_ measurement: BenchmarkResult) { results.append(measurement) }
    mutating func addFault(_ words: String) {
        faults.append(words)
        progress.say("fault: " + words)
    }

    // MARK: W1, W3, W5 aged

    enum Part { case w1, w3, w5 }

    /// Ages an allocator per competitor with W1 and reports the parts asked for.
    mutating func runAged(_ parts: Set<Part>, terabyte: Bool = false) {
        let label = terabyte ? "1TiB" : "64GiB"
        let space = Space(totalBytes: terabyte ? 1 << 40 : 64 << 30)
        let who = settings.competitors.filter {
            !terabyte || settings.areNamed || !$0.isSmallOnly
        }
        let operations = settings.isQuick ? 300_000 : 5_000_000
        var runs: [Run] = []
        for competitor in who {
            progress.say("W1-\(label): filling \(competitor.name)")
            guard let run = Run(competitor, space, threads: 1, seed: settings.seed) else {
                addFault("\(competitor.name) could not be made")
                continue
            }
            run.fill()
            runs.append(run)
        }
        let before = runs.map { $0.describe() }
        var slices = [[bench_slice]](repeating: [], count: runs.count)
        for round in 0..<settings.rounds {
            for (i, run) in runs.enumerated() {
                progress.say(
                    "W1-\(label): round \(round + 1) of \(settings.rounds), \(run.competitor.name)"
                )
                let count = operations / settings.rounds / run.competitor.workDivisor
                slices[i].append(run.steady(operations: max(count, 1)))
            }
        }
        for (i, run) in runs.enumerated() {
            let summary = check(run, space)
            if parts.contains(.w1) {
                add(steadyResult("W1-" + label, run, slices[i], before[i], summary))
            }
        }
        if parts.contains(.w5) { runPairs("W5-aged", runs, space) }
        if parts.contains(.w3) { runFillOn(runs, space) }
    }

    private func steadyResult(
        _ workload: String,
        _ run: Run,
        _ slices: [bench_slice],
        _ before: bench_summary,
        _ after: bench_summary
    ) -> BenchmarkResult {
        var result = BenchmarkResult(workload, run.competitor.name)
        let operations = slices.reduce(0) { $0 + $1.operations }
        let times = slices.map { $0.nanosecondsPerOperation }
        result.operations = Int(operations)
        result.rounds = slices.count
        result.nsPerOp = median(times)
        result.nsPerOpMin = times.min()
        result.nsPerOpMax = times.max()
        result.mops = median(slices.map { $0.millionPerSecond })
        let thousands = Double(max(operations, 1)) / 1000
        guard !run.competitor.isNull else { return result }
        result.missesPer1000 = Double(slices.reduce(0) { $0 + $1.split }) / thousands
        result.refusalsPer1000 = Double(slices.reduce(0) { $0 + $1.refused }) / thousands
        result.freeExtents = after.space.free_extents
        result.largestRunBytes = after.space.largest_run_bytes
        result.setLocks(before.space, after.space)
        result.resultHash = hexadecimal(after.hash)
        return result
    }

    private mutating func runFillOn(_ runs: [Run], _ space: Space) {
        for run in runs where !run.competitor.isNull {
            for (name, bytes) in [("W3-mix", UInt64(0)), ("W3-1MiB", UInt64(1) << 20)] {
                progress.say("\(name): \(run.competitor.name)")
                var result = BenchmarkResult(name, run.competitor.name)
                result.firstMissPercent = run.fillOn(bytes: bytes)
                add(result)
            }
            _ = check(run, space)
        }
    }

    // MARK: W5

    mutating func runFreshPairs() {
        let space = Space(totalBytes: 64 << 30)
        let runs = settings.competitors.compactMap {
            Run($0, space, threads: 1, seed: settings.seed)
        }
        runPairs("W5-fresh", runs, space)
    }

    private mutating func runPairs(_ workload: String, _ runs: [Run], _ space: Space) {
        let pairs = settings.isQuick ? 100_000 : 1_000_000
        var slices = [[bench_slice]](repeating: [], count: runs.count)
        progress.say("\(workload): \(settings.rounds) rounds")
        // One round more than is kept: the first warms the caches.
        for round in 0...settings.rounds {
            for (i, run) in runs.enumerated() {
                let slice = run.pairs(pairs / run.competitor.workDivisor)
                if round > 0 { slices[i].append(slice) }
            }
        }
        for (i, run) in runs.enumerated() {
            var result = BenchmarkResult(workload, run.competitor.name)
            let times = slices[i].map { $0.nanosecondsPerOperation }
            result.operations = Int(slices[i].reduce(0) { $0 + $1.operations })
            result.rounds = times.count
            result.nsPerOp = median(times)
            result.nsPerOpMin = times.min()
            result.nsPerOpMax = times.max()
            add(result)
            if slices[i].contains(where: { $0.refused > 0 }) {
                addFault("\(workload), \(run.competitor.name): a pair was refused")
            }
            _ = check(run, space)
        }
    }

    // MARK: W2

    /// One steady state by several threads on one allocator.
    mutating func runParallel(threads: Int, workload: String = "W2") {
        let space = Space(totalBytes: 64 << 30)
        var runs: [Run] = []
        for competitor in settings.competitors {
            progress.say("\(workload): \(threads) threads, aging \(competitor.name)")
            guard let run = Run(competitor, space, threads: threads, seed: settings.seed) else {
                addFault("\(competitor.name) could not be made")
                continue
            }
            run.fill()
            _ = run.parallel(
                seconds: settings.isQuick ? 0.1 : 2,
                operations: (settings.isQuick ? 50_000 : 500_000) / competitor.workDivisor
            )
            runs.append(run)
        }
        let before = runs.map { $0.describe() }
        var slices = [[bench_slice]](repeating: [], count: runs.count)
        progress.say("\(workload): \(threads) threads, \(settings.rounds) rounds")
        for _ in 0..<settings.rounds {
            for (i, run) in runs.enumerated() {
                slices[i].append(run.parallel(seconds: settings.isQuick ? 0.05 : 0.4))
            }
        }
        for (i, run) in runs.enumerated() {
            let after = check(run, space)
            var result = steadyResult(workload, run, slices[i], before[i], after)
            result.threads = threads
            // What the threads did depends on their timing.
            result.resultHash = nil
            add(result)
        }
    }

    // MARK: checks

    /// Describes a run; notes a fault when bytes were lost or appeared.
    private mutating func check(_ run: Run, _ space: Space) -> bench_summary {
        let summary = run.describe()
        if !run.competitor.isNull
            && summary.space.free_bytes + summary.live_bytes
                != space.totalBytes
        {
            addFault(
                "\(run.competitor.name): \(summary.space.free_bytes) free + "
                    + "\(summary.live_bytes) live is not \(space.totalBytes)"
            )
        }
        return summary
    }
}

extension BenchmarkResult {
    mutating func setLocks(_ before: bench_free_space, _ after: bench_free_space) {
        guard after.counts_locks != 0 else { return }
        lockTaken = after.lock_taken - before.lock_taken
        lockContended = after.lock_contended - before.lock_contended
    }
}

func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
