//===-- JudgeTests.swift - the judge can be trusted -------------------------------------------------===//
// Runs Tests/Judge/self-test: the judge passes a sound image, and fails planted faults for the right reason.
// Here a few of them; BG_JUDGE=full plants all (as does Tests/Judge/self-test itself). What our own images come to
// is for the tests that make them (`judge(_:)` below).
//
// Without btrfs-progs or python3 it is skipped; without root or loop mounts the judge skips the kernel's steps,
// counts them, and a test says so.
//===-------------------------------------------------------------------------------------------===//

import BGTestSupport
import Foundation
import Testing

enum Judge {
    /// Why nothing can be judged here; nil when it can.
    static let whyNot: String? = {
        for tool in ["python3", "mkfs.btrfs", "btrfs"] where Machine.tool(tool) == nil {
            return "\(tool) is not installed"
        }
        return nil
    }()

    /// Runs one of the judge's scripts; standard output and error together.
    static func run(_ script: String, _ arguments: [String]) throws -> Outcome {
        let python = Machine.tool("python3") ?? "python3"
        return try execute(python, [testScript("Judge/" + script)] + arguments, joined: true)
    }
}

/// Expects the judge to pass an image.
///
/// - Parameter words: such as `--tree` and a folder.
func judge(_ paths: [String], _ words: [String] = []) throws {
    let outcome = try Judge.run("judge", words + paths)
    #expect(outcome.status == 0, "\(outcome.output)")
}

@Suite(.enabled(if: Judge.whyNot == nil, Comment(rawValue: Judge.whyNot ?? "")), .serialized)
struct JudgeTests {
    @Test(.timeLimit(.minutes(10)))
    func plantedFaultsAreFoundByTheStepsThatMustFindThem() throws {
        let all = ProcessInfo.processInfo.environment["BG_JUDGE"] == "full"
        let some = "reference too many|not marked as written|sector short|checksum fits"
        let outcome = try Judge.run("self-test", all ? [] : ["--only", some])
        #expect(outcome.status == 0, "\(outcome.output)")
        #expect(
            outcome.output.contains("ok    one reference too many to a data extent: check original")
        )
    }

    @Test(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"))
    func theKernelIsAskedWhereItCanBe() throws {
        let image = try MkfsImage(sizes: [256 << 20, 300 << 20], ["-d", "raid1", "-m", "raid1"])
        let outcome = try Judge.run("judge", image.paths)
        #expect(
            outcome.output.contains("PASS  10 steps passed, 0 failed, 0 skipped"),
            "\(outcome.output)"
        )
    }

    @Test func withoutTheKernelItsStepsAreCountedAsSkipped() throws {
        let image = try MkfsImage(sizes: [256 << 20], [], files: 20)
        let outcome = try Judge.run("judge", ["--no-kernel", image.path])
        #expect(outcome.output.contains("ok    restored: 20 files"), "\(outcome.output)")
        #expect(outcome.output.hasSuffix("0 failed, 4 skipped\n"), "\(outcome.output)")
    }

    /// Every configuration is tried by `make judge`, or with BG_JUDGE=full.
    private func expectMatrix(_ only: String, _ words: [String]) throws {
        let all = ProcessInfo.processInfo.environment["BG_JUDGE"] == "full"
        let bgctl = try #require(Machine.bgctl)
        let choice = all ? [] : ["--only", only]
        let outcome = try Judge.run("matrix", ["--bgctl", bgctl] + words + choice)
        #expect(outcome.status == 0, "\(outcome.output)")
    }

    @Test(
        .enabled(if: Machine.bgctl != nil, "bgctl was not built beside the tests"),
        .timeLimit(.minutes(10))
    )
    func whatBgctlFormatsAndFillsIsSound() throws {
        try expectMatrix("^(plain|profile-raid10|node-4k)$", ["--make", "bgctl"])
    }

    @Test(
        .enabled(if: Machine.bgctl != nil, "bgctl was not built beside the tests"),
        .timeLimit(.minutes(30))
    )
    func whatBgctlFilledUntilNothingFitAndEmptiedAgainIsSound() throws {
        try expectMatrix("^(plain|node-64k)$", ["--make", "bgctl", "--fill"])
    }

    @Test(
        .enabled(
            if: Machine.bgctl != nil && Machine.canMount,
            "needs root and loop mounts of btrfs, and bgctl beside the tests"
        ),
        .timeLimit(.minutes(30))
    )
    func whatTheKernelAgedAndBgctlThenWroteToIsSound() throws {
        try expectMatrix("^plain$", ["--age", "snapshots", "--write", "put", "--to", "/put"])
    }
}
