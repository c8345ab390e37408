// bgctl mkfs, run as a program: what it makes, what it says, what it refuses.

import Foundation
import Testing

@Suite("bgctl mkfs", .enabled(if: Program.path != nil, "bgctl was not built beside the tests"))
struct MkfsTests {
    let folder: Folder

    init() throws { folder = try Folder() }

    @Test func aNewImageIsMadeAndShown() throws {
        let image = folder.path("new")
        let made = try Program.run(
            "mkfs",
            "--size",
            "200M",
            "--data",
            "dup",
            "--metadata",
            "DUP",
            "--node-size",
            "8K",
            "--checksum",
            "xxhash",
            "--label",
            "a label",
            "--block-group-tree",
            "--uuid",
            "01234567-89ab-cdef-0123-456789abcdef",
            image
        )
        #expect(made.status == 0 && made.complaint == "", "\(made)")
        let lines = made.output.split(separator: "\n").map {
            $0.split(separator: ":", maxSplits: 1).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        }
        let expected = [
            ["label", "a label"], ["UUID", "01234567-89ab-cdef-0123-456789abcdef"],
            ["node size", "8 KiB"], ["checksums", "xxhash64"], ["size", "200 MiB"],
            ["METADATA|DUP", "32 MiB"], ["block-group tree", "yes"],
        ]
        for line in expected { #expect(lines.contains(line), "\(line): \(made.output)") }
        #expect(try Program.run("check", image).status == 0)
        let info = try Program.run("info", "--json", image).json()
        #expect(info["label"] as? String == "a label")
    }

    @Test func refusalsAreOneLineAndLeaveTheImageAlone() throws {
        let image = folder.path("image")
        #expect(try Program.run("mkfs", "--size", "100M", image).status == 0)
        let before = try Data(contentsOf: URL(fileURLWithPath: image))
        let refusals: [([String], String)] = [
            (["mkfs", image], "\(image): holds a btrfs file system; --force overwrites it"),
            (["mkfs", image, image], "\(image): is the same device as \(image)"),
            (["mkfs", "--data", "raid7", image], "'raid7' is not a profile"),
            (["mkfs", "--data", "raid1", image], "data profile: needs 2 devices, 1 given"),
            (["mkfs", "--size", "8M", folder.path("none")], "is too small"),
            (["mkfs", folder.path("none")], "No such file"),
            (["mkfs", "--uuid", "1234", image], "'1234' is not a UUID"),
            (["mkfs"], "Missing expected argument"),
        ]
        for (arguments, words) in refusals {
            let outcome = try Program.execute(#require(Program.path), arguments)
            #expect(outcome.status == 1 && outcome.output == "", "\(arguments)")
            #expect(outcome.complaint.contains(words), "\(outcome.complaint)")
            #expect(outcome.complaint.split(separator: "\n").count == 1)
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: image)) == before)
        #expect(try Program.run("mkfs", "--force", image).status == 0)
    }
}
