//===-- Options.swift - what every command understands, and how a suite ends ------------------===//

import ArgumentParser
import Foundation

struct SuiteOptions: ParsableArguments {
    @Option(help: "Whom to run, separated by commas; see `bgbench list`.")
    var competitors: String?

    @Option(help: "Rounds in which the competitors take turns; figures are medians.")
    var rounds: Int?

    @Option(help: "Seed of every random choice.")
    var seed: UInt64 = 1

    @Flag(help: "Everything small: finishes in about 20 s.")
    var quick = false

    @Flag(help: "Check every claim: no two owners, in range. Timings mean nothing then.")
    var verify = false

    @Flag(help: "Take the thread's own time instead of the wall clock (W1 and W5).")
    var cpuTime = false

    @Option(help: "Take our functions from this libblockgroups.so, not from the program.")
    var library: String?

    @Option(help: "Write the results as JSON to a file, or to standard output for -.")
    var json: String?

    func validate() throws {
        if let rounds, rounds < 1 { throw ValidationError("--rounds must be at least 1") }
    }

    /// Turns the words into settings; says on standard error who is skipped and why.
    func settings(defaultCompetitors: [String]? = nil) throws -> Settings {
        var settings = Settings()
        settings.seed = seed
        settings.rounds = rounds ?? (quick ? 3 : 5)
        settings.isQuick = quick
        settings.isVerifying = verify
        settings.library = library
        if cpuTime { useCPUClock() }
        if let library, let problem = useLibrary(library) { throw ValidationError(problem) }
        let named = competitors.map { $0.split(separator: ",").map(String.init) }
        settings.areNamed = named != nil
        settings.competitors = try pickCompetitors(named ?? defaultCompetitors, verify: verify)
        return settings
    }

    /// Runs a suite, prints the table (or `text`), writes the JSON, fails when anything was wrong.
    func run(
        defaultCompetitors: [String]? = nil,
        text: (([BenchmarkResult]) -> String)? = nil,
        _ body: (inout Suite) -> Void
    ) throws {
        var suite = Suite(settings: try settings(defaultCompetitors: defaultCompetitors))
        body(&suite)
        let report = Report(measurements: suite.results)
        if json != "-" { print(text?(suite.results) ?? report.text()) }
        if let json { try report.writeJSON(to: json) }
        if verify {
            let (count, first) = verifyFaults()
            suite.progress.say("verify: \(count) faults" + (count > 0 ? ", first: " + first : ""))
            if count > 0 { suite.addFault("verify: " + first) }
        }
        if !suite.faults.isEmpty { throw ExitCode.failure }
    }
}

/// The competitors of these names, or all that run unasked; those that cannot run are left out.
func pickCompetitors(_ names: [String]?, verify: Bool) throws -> [Competitor] {
    let all = Competitor.all()
    for name in names ?? [] where !all.contains(where: { $0.name == name }) {
        throw ValidationError("no competitor is called \(name); see bgbench list")
    }
    var picked: [Competitor] = []
    for competitor in all {
        if let names, !names.contains(competitor.name) { continue }
        if names == nil && competitor.isByNameOnly { continue }
        // Its addresses belong to many at once, which is what verifying is about.
        if verify && competitor.isNull { continue }
        if let reason = competitor.unavailable {
            Progress().say("skipped: \(competitor.name): \(reason)")
            continue
        }
        guard verify else {
            picked.append(competitor)
            continue
        }
        if let checked = competitor.verified() { picked.append(checked) }
    }
    return picked
}
