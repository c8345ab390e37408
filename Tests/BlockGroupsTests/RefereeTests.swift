//===-- RefereeTests.swift - our free space against btrfs-progs and the kernel -----------------===//
// Runs Tests/Referee/referee.py on the bgctl of this build: images made by mkfs.btrfs and aged by the
// kernel, whose free space must be the same list by bgctl from the free-space tree, by bgctl from the
// extent tree, and by btrfs inspect-internal dump-tree.
//
// Covered here: the short list of images; `make referee` tries every one. BG_REFEREE=full does too.
// Without mkfs.btrfs, or python3, the test is skipped; without root or loop mounts the images that
// only the kernel can age are skipped by a test of their own, and the rest still run.
// Replay: BG_SEED=n, the seed that the script prints.
//===-------------------------------------------------------------------------------------------===//

import BGTestSupport
import Foundation
import Testing

/// The referee's script and what it needs.
private enum Referee {
    /// Why no image can be made here; nil when they can.
    static let whyNoImages: String? = {
        for tool in ["python3", "mkfs.btrfs", "btrfs"] where Machine.tool(tool) == nil {
            return "\(tool) is not installed"
        }
        return Machine.bgctl == nil ? "bgctl was not built beside the tests" : nil
    }()

    /// Why the kernel cannot age images here (not root, no loop mounts); nil when it can.
    static let whyNoMounts: String? = {
        if let whyNoImages { return whyNoImages }
        guard let result = try? run(["--why-skip"]) else { return "the referee does not start" }
        let text = result.output.trimmingCharacters(in: .whitespacesAndNewlines)
        return text.isEmpty ? nil : text
    }()

    /// Runs the script to its end; standard output and error together.
    static func run(_ arguments: [String]) throws -> Outcome {
        try execute(
            Machine.tool("python3") ?? "python3",
            [testScript("Referee/referee.py")] + arguments,
            joined: true
        )
    }

    static func judge(_ arguments: [String]) throws -> Outcome {
        let full = ProcessInfo.processInfo.environment["BG_REFEREE"] == "full"
        return try run(
            ["--bgctl", Machine.bgctl ?? "bgctl"] + (full ? [] : ["--quick"]) + arguments
        )
    }
}

@Suite("Free space, judged by btrfs-progs and the kernel", .serialized)
struct RefereeTests {
    @Test(
        .enabled(if: Referee.whyNoImages == nil, Comment(rawValue: Referee.whyNoImages ?? "")),
        .timeLimit(.minutes(10))
    )
    func imagesFromMkfsReadAsBtrfsProgsReadsThem() throws {
        let result = try Referee.judge(["--only", "^(?!aged|full|huge|large)"])
        if result.status == 0 { print(result.output, terminator: "") }
        #expect(result.status == 0, "\(result.output)")
    }

    @Test(
        .enabled(if: Referee.whyNoMounts == nil, Comment(rawValue: Referee.whyNoMounts ?? "")),
        .timeLimit(.minutes(10))
    )
    func imagesAgedByTheKernelReadAsBtrfsProgsReadsThem() throws {
        let result = try Referee.judge(["--only", "^(aged|full|huge|large)"])
        if result.status == 0 { print(result.output, terminator: "") }
        #expect(result.status == 0, "\(result.output)")
    }
}
