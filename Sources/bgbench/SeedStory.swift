//===-- SeedStory.swift - the patch in four lines: before and after, by number of threads -----===//

/// Runs W2 for the two seed controls (and whoever was named) and tells what it shows.
func seedStory(_ suite: inout Suite) {
    for threads in [1, 2, 4, 8] {
        suite.runParallel(threads: threads, workload: "seed")
    }
}

/// The table of the story and how to read it.
func seedStoryText(_ results: [BenchmarkResult]) -> String {
    var lines = [
        "The patch \"Btrfs: kill the block group alloc mutex\", million operations a second",
        "  threads    before     after   after/before   found the lock held: before   after",
    ]
    func pad(_ words: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - words.count)) + words
    }
    func contended(_ m: BenchmarkResult) -> String {
        decimal(100 * Double(m.lockContended ?? 0) / Double(max(m.lockTaken ?? 1, 1)), 2) + " %"
    }
    for threads in [1, 2, 4, 8] {
        let row = results.filter { $0.threads == threads }
        guard let before = row.first(where: { $0.competitor.hasPrefix("seed-before") }),
            let after = row.first(where: { $0.competitor.hasPrefix("seed-after") }),
            let old = before.mops, let new = after.mops
        else { continue }
        lines.append(
            pad("\(threads)", 9) + pad(decimal(old, 3), 10) + pad(decimal(new, 3), 10)
                + pad(decimal(new / max(old, 1e-9), 2), 15) + pad(contended(before), 29)
                + pad(contended(after), 8)
        )
    }
    lines += [
        "",
        "How to read it: before, a thread sleeps behind another one's whole search of a group;",
        "after, it spins only for as long as the trees are touched. While every thread has a",
        "processor, the shorter hold wins. With more threads than processors, one that is",
        "preempted while it holds a spin lock leaves the others spinning for a whole time slice.",
        "The kernel rules that out and user space cannot, so the library's lock gives the",
        "processor up instead.",
    ]
    return lines.joined(separator: "\n") + "\n"
}
