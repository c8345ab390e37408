//===-- Count.swift - one deterministic workload in little output, for callgrind --------------===//
// valgrind --tool=callgrind --toggle-collect=bench_measured bgbench count w1 --operations N
//
// valgrind 3.19 gives up on the debug sections of a Swift program: run a copy without them
// (strip -g), which keeps the names of functions.
//
// The thread stays on one processor, so that per-processor state is the same in every run.

import ArgumentParser
import BenchControls

enum CountedWorkload: String, ExpressibleByArgument, CaseIterable {
    case w1, w5
}

extension Bgbench {
    struct Count: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Runs one deterministic workload once, for callgrind.",
            discussion: """
                Everything that is measured runs inside the C function bench_measured. w1: the \
                steady state after filling; w5: claim and give-back pairs on a fresh allocator.
                """
        )

        @Argument(help: "w1 or w5")
        var workload: CountedWorkload

        @Option(help: "Operations or pairs inside bench_measured.")
        var operations = 100_000

        @Option(help: "Whom to run.")
        var competitor = "blockgroups"

        @Option(help: "GiB of space, in groups of one.")
        var gibibytes: UInt64 = 64

        @Option(help: "Seed of every random choice.")
        var seed: UInt64 = 1

        @Option(help: "Take our functions from this libblockgroups.so.")
        var library: String?

        func run() throws {
            pinToOneCPU()
            if let library, let problem = useLibrary(library) { throw ValidationError(problem) }
            guard let chosen = try pickCompetitors([competitor], verify: false).first else {
                throw ExitCode.failure
            }
            let space = Space(totalBytes: gibibytes << 30)
            guard let run = Run(chosen, space, threads: 1, seed: seed) else {
                throw ValidationError("\(competitor) could not be made")
            }
            let slice: bench_slice
            switch workload {
            case .w1:
                run.fill()
                slice = run.steady(operations: operations)
            case .w5:
                slice = run.pairs(operations)
            }
            let summary = run.describe()
            print(
                "\(workload.rawValue) \(competitor) operations=\(slice.operations) "
                    + "misses=\(slice.split) free_extents=\(summary.space.free_extents) "
                    + "hash=\(hexadecimal(summary.hash))"
            )
        }
    }

    /// One measurement of W4, in a process that does nothing else.
    struct DensityCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "density",
            abstract: "One measurement of W4.",
            shouldDisplay: false
        )

        @Argument var competitor: String
        @Option var bytes: UInt64
        @Option var extents: UInt64
        @Option var spacing: UInt64
        @Option var seed: UInt64 = 1
        @Option var library: String?
        @Option var batch: UInt64 = 0
        @Flag var shuffled = false
        @Flag var allFree = false
        @Flag var verify = false

        func run() throws {
            if let library, let problem = useLibrary(library) { throw ValidationError(problem) }
            guard let chosen = try pickCompetitors([competitor], verify: verify).first else {
                throw ExitCode.failure
            }
            let space = Space(totalBytes: bytes, isAllFree: allFree)
            guard
                let density = measureDensity(
                    chosen,
                    space,
                    extents: extents,
                    spacing: spacing,
                    shuffled: shuffled,
                    batch: batch,
                    seed: seed
                )
            else { throw ExitCode.failure }
            if verifyFaults().count > 0 { throw ExitCode.failure }
            print(densityLine(density))
        }
    }
}
