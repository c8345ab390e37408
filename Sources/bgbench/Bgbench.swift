//===-- Bgbench.swift - the command line ------------------------------------------------------===//

import ArgumentParser

@main
struct Bgbench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bgbench",
        abstract: "Measures the allocator beside others of its kind, in the same run.",
        subcommands: [
            All.self, W1.self, W2.self, W3.self, W4.self, W5.self, Seed.self, Count.self,
            List.self, DensityCommand.self,
        ],
        defaultSubcommand: All.self
    )
}

extension Suite {
    mutating func runAllParallel() {
        for threads in settings.isQuick ? [1, 2, 4] : [1, 2, 4, 8, 16] {
            runParallel(threads: threads)
        }
    }
}

extension Bgbench {
    struct All: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "W1 to W5.")
        @OptionGroup var options: SuiteOptions
        func run() throws {
            try options.run { suite in
                suite.runDensity()
                suite.runFreshPairs()
                suite.runAged([.w1, .w3, .w5])
                if !suite.settings.isQuick { suite.runAged([.w1], terabyte: true) }
                suite.runAllParallel()
            }
        }
    }

    struct W1: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "w1",
            abstract: "The steady state at 80 %, one thread; 64 GiB and 1 TiB."
        )
        @OptionGroup var options: SuiteOptions
        func run() throws {
            try options.run { suite in
                suite.runAged([.w1])
                if !suite.settings.isQuick { suite.runAged([.w1], terabyte: true) }
            }
        }
    }

    struct W2: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "w2",
            abstract: "The steady state on one allocator by 1 to 16 threads."
        )
        @OptionGroup var options: SuiteOptions
        func run() throws { try options.run { $0.runAllParallel() } }
    }

    struct W3: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "w3",
            abstract: "After W1, how full it gets before the first miss.",
            discussion: """
                Requests of the mix, then of 1 MiB, are claimed until the first is refused. After \
                each the claims are given back, so both begin with the free space that W1 left.
                """
        )
        @OptionGroup var options: SuiteOptions
        func run() throws { try options.run { $0.runAged([.w3]) } }
    }

    struct W4: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "w4",
            abstract: "Memory and time for each free extent of a terabyte."
        )
        @OptionGroup var options: SuiteOptions
        func run() throws { try options.run { $0.runDensity() } }
    }

    struct W5: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "w5",
            abstract: "Pairs of a 4 KiB claim and a give-back, fresh and aged."
        )
        @OptionGroup var options: SuiteOptions
        func run() throws {
            try options.run { suite in
                suite.runFreshPairs()
                suite.runAged([.w5])
            }
        }
    }

    struct Seed: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The patch's story: the seed before and after at 1, 2, 4, 8 threads."
        )
        @OptionGroup var options: SuiteOptions
        func run() throws {
            try options.run(
                defaultCompetitors: ["seed-before", "seed-after"],
                text: seedStoryText
            ) { seedStory(&$0) }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Names the competitors.")
        func run() {
            for competitor in Competitor.all() {
                let pad = String(repeating: " ", count: max(1, 22 - competitor.name.count))
                let skipped = competitor.unavailable.map { " (skipped: \($0))" } ?? ""
                print(competitor.name + pad + competitor.summary + skipped)
            }
        }
    }
}
