//===-- CommandTests.swift - bgctl as its users run it --------------------------------------------===//
// Covered: the shapes of all JSON, exit status and the one line of every kind of bad input, the map as
// SVG and in a terminal's width, claims from several threads, damage inside one tree.
// Not covered: whether free space is right (RefereeTests), colour (needs a terminal).
// Without mkfs.btrfs, or without bgctl beside the tests, the suite is skipped, and says so.
//===-------------------------------------------------------------------------------------------===//

import BGTestSupport
import Foundation
import FoundationXML
import Testing

@Suite(
    "bgctl, run as a program",
    .enabled(if: Program.whyNot == nil, Comment(rawValue: Program.whyNot ?? ""))
)
struct CommandTests {
    // MARK: JSON

    @Test func freeSpaceAsJSONHasItsFixedShapeFromBothSources() throws {
        let image = try TestImage()
        let byTree = try Program.run("free-space", "--json", image.path)
        let byExtents = try Program.run("free-space", "--json", "--source", "extents", image.path)
        #expect(byTree.status == 0 && byExtents.status == 0)
        #expect(byTree.output == byExtents.output)
        #expect(byTree.complaint.isEmpty)

        let top = try byTree.json()
        #expect(Set(top.keys) == ["block_groups"])
        let groups = try #require(top["block_groups"] as? [[String: Any]])
        #expect(groups.count >= 3)
        var end = 0
        for group in groups {
            #expect(
                Set(group.keys) == ["start", "length", "flags", "used", "free", "free_extents"]
            )
            let start = try #require(group["start"] as? Int)
            let length = try #require(group["length"] as? Int)
            #expect(start >= end, "sorted, and apart")
            end = start + length
            let runs = try #require(group["free_extents"] as? [[Int]])
            #expect(runs.allSatisfy { $0.count == 2 && $0[1] > 0 })
            #expect(runs.reduce(0) { $0 + $1[1] } == group["free"] as? Int)
            #expect(runs.allSatisfy { $0[0] >= start && $0[0] + $0[1] <= end })
            #expect(zip(runs, runs.dropFirst()).allSatisfy { $0[0] + $0[1] < $1[0] })
        }
        let words = groups.compactMap { $0["flags"] as? String }
        #expect(Set(words) == ["DATA|single", "SYSTEM|DUP", "METADATA|DUP"])
    }

    @Test func everyCommandPrintsJSONThatParses() throws {
        let image = try TestImage(bytes: 300 << 20, devices: 1, "-L", "a \"label\" \\ of <mine>")
        let info = try Program.run("info", "--json", image.path).json()
        #expect(info["label"] as? String == "a \"label\" \\ of <mine>")
        #expect(info["node_size"] as? Int == 16384)
        #expect((info["devices"] as? [[String: Any]])?.first?["path"] as? String == image.path)
        #expect((info["features"] as? [String])?.contains("free-space-tree") == true)
        let groups = try Program.run("groups", "--json", image.path).json()
        let count = try #require(groups["block_groups"] as? [[String: Any]]).count
        #expect(groups["totals"] is [[String: Any]])
        let map = try Program.run("map", "--json", image.path).json()
        let mapped = try #require(map["block_groups"] as? [[String: Any]])
        #expect(mapped.count == count)
        for group in mapped { #expect((group["cell_free_bytes"] as? [Int])?.count == 64) }
    }

    @Test func severalDevicesAreOneFileSystemInAnyOrder() throws {
        let image = try TestImage(bytes: 300 << 20, devices: 3, "-d", "raid0", "-m", "raid1")
        let forth = try Program.run(
            "free-space",
            "--json",
            image.paths[0],
            image.paths[1],
            image.paths[2]
        )
        let back = try Program.run(
            "free-space",
            "--json",
            image.paths[2],
            image.paths[0],
            image.paths[1]
        )
        #expect(forth.status == 0)
        #expect(forth.output == back.output)
        let partly = try Program.run("info", "--json", image.paths[2], image.paths[1])
        if partly.status == 0 {
            let facts = try partly.json()
            #expect((facts["warnings"] as? [String])?.isEmpty == false)
        } else {
            #expect(partly.complaint.contains("device"))
        }
    }

    // MARK: Bad input

    /// Commands that take images and no more, and the status that they fail with.
    @Test(
        arguments: [
            ("info", 1), ("groups", 1), ("free-space", 1), ("map", 1), ("claim", 1), ("df", 1),
            ("check", 2),
        ] as [(String, Int32)]
    )
    func badInputEndsWithOneLine(command: String, status: Int32) throws {
        let image = try TestImage()
        let folder = try Folder()
        let text = folder.path("text")
        try Data("no file system\n".utf8).write(to: URL(fileURLWithPath: text))
        let empty = folder.path("empty")
        try Data().write(to: URL(fileURLWithPath: empty))
        let missing = folder.path("missing")
        func expect(_ word: String, _ words: String...) throws {
            let outcome = try Program.execute(#require(Program.path), [command] + words)
            expectComplaint(outcome, word, status: status)
        }

        try expect("<image>")
        try expect(missing + ": ", missing)
        try expect("No such file", missing)
        try expect("no btrfs", text)
        try expect("no btrfs", empty)
        try expect("neither a file nor a block device", "/")
        let pipe = folder.path("pipe")
        #expect(mkfifo(pipe, 0o600) == 0)
        try expect(pipe + ": neither a file nor a block device", pipe)
        try expect("'': ", "")
        try expect("same device as \(image.path)\n", image.path, text, image.path)
        let other = try TestImage()
        try expect("another file system than \(image.path)\n", image.path, other.path)
        try expect("--bogus", "--bogus", image.path)

        let file = try #require(FileHandle(forUpdatingAtPath: image.path))
        try file.truncate(atOffset: 100 << 20)
        try file.close()
        try expect(image.path + ": ", image.path)
        try expect("104857600 bytes", image.path)
    }

    @Test func badOptionsEndWithStatusOneAndOneLine() throws {
        let image = try TestImage()
        expectComplaint(try Program.run("frobnicate"), "frobnicate")
        expectComplaint(try Program.run("claim", "--sizes", "20Q", image.path), "20Q")
        expectComplaint(try Program.run("claim", "--sizes", "1M-4K", image.path), "1M-4K")
        expectComplaint(try Program.run("claim", "--sizes", "0", image.path), "0")
        expectComplaint(try Program.run("claim", "--sizes", "99999P", image.path), "99999P")
        expectComplaint(try Program.run("claim", "--threads", "0", image.path), "--threads")
        expectComplaint(try Program.run("claim", "--threads", "x", image.path), "--threads")
        expectComplaint(try Program.run("claim", "--count", "0", image.path), "--count")
        expectComplaint(try Program.run("claim", "--give-back", "101", image.path), "--give-back")
        expectComplaint(try Program.run("claim", "--align", "1000", image.path), "--align")
        expectComplaint(try Program.run("claim", "--profile", "raid1", image.path), "raid1")
        expectComplaint(try Program.run("free-space", "--source", "x", image.path), "--source")
        expectComplaint(
            try Program.run("map", "--output", "/nowhere/map.svg", image.path),
            "/nowhere/map.svg"
        )
    }

    @Test func aDamagedFreeSpaceTreeIsNamedWithItsGroup() throws {
        let image = try TestImage()
        let good = try Program.run("free-space", "--json", image.path)
        try #require(try damageTree(10, ofImage: image.path) > 0)
        let bad = try Program.run("free-space", "--json", image.path)
        expectComplaint(bad, "block group 13631488: ")
        #expect(bad.complaint.contains("root=10"), "\(bad.complaint)")
        let byExtents = try Program.run("free-space", "--json", "--source", "extents", image.path)
        #expect(byExtents.output == good.output)
        // What can be shown is shown, and the status still says that it is not all.
        let groups = try Program.run("groups", image.path)
        #expect(groups.status == 1)
        #expect(groups.output.contains("unreadable"))
        let map = try Program.run("map", image.path)
        #expect(map.status == 1)
        #expect(map.output.contains("unreadable"))
    }

    @Test func aDamagedCopyOfTheSuperBlockIsAWarning() throws {
        let image = try TestImage()
        #expect(
            (try Program.run("info", "--json", image.path).json())["warnings"] as? [String] == []
        )
        let file = try #require(FileHandle(forUpdatingAtPath: image.path))
        try file.seek(toOffset: (64 << 20) + 300)
        try file.write(contentsOf: Data([0x5a, 0xa5]))
        try file.close()
        let info = try Program.run("info", image.path)
        #expect(info.status == 0)
        #expect(
            info.output.contains("warning: \(image.path): corrupt super block: physical=67108864")
        )
    }

    @Test func helpAndVersionSucceed() throws {
        for command in [
            "info", "groups", "free-space", "map", "claim", "df", "check", "ls", "get", "put", "rm",
            "mkfs",
        ] {
            let outcome = try Program.run(command, "--help")
            #expect(outcome.status == 0)
            #expect(outcome.output.hasPrefix("OVERVIEW: "))
            #expect(outcome.output.contains("USAGE: bgctl \(command) "))
            #expect(outcome.output.split(separator: "\n").allSatisfy { $0.count <= 100 })
            #expect(outcome.complaint.isEmpty)
        }
        #expect(try Program.run("--version").status == 0)
        #expect(try Program.run().output.contains("SUBCOMMANDS"))
    }

    @Test func aReaderThatLeavesIsNoError() throws {
        let image = try TestImage()
        let script = "\"$0\" free-space --json \"$1\" | head -c 1"
        let outcome = try Program.execute(
            "/bin/sh",
            ["-c", script, try #require(Program.path), image.path]
        )
        #expect(outcome.output == "{")
        #expect(outcome.complaint.isEmpty)
    }

    // MARK: Map

    @Test func theMapIsWellFormedSVGWithEveryGroup() throws {
        let image = try TestImage(bytes: 300 << 20, devices: 1, "-L", "<a & \"b\">")
        let folder = try Folder()
        let path = folder.path("map.svg")
        let outcome = try Program.run("map", "--output", path, image.path)
        #expect(outcome.status == 0)
        let reader = ElementCounter()
        let parser = XMLParser(data: try Data(contentsOf: URL(fileURLWithPath: path)))
        parser.delegate = reader
        #expect(parser.parse(), "\(String(describing: parser.parserError))")
        #expect(reader.root == "svg")
        let list = try Program.run("groups", "--json", image.path).json()
        let groups = try #require(list["block_groups"] as? [[String: Any]])
        #expect(reader.counts["g"] == groups.count)
        #expect(reader.text.contains("<a & \"b\">"))
        #expect(reader.text.contains("METADATA|DUP"))
    }

    @Test func theMapIsNotWrittenOverTheImage() throws {
        let image = try TestImage(devices: 2)
        let folder = try Folder()
        let link = folder.path("link.svg")
        try FileManager.default.createSymbolicLink(
            atPath: link,
            withDestinationPath: image.paths[1]
        )
        for output in [image.paths[0], image.paths[1], link] {
            let arguments = ["map", "--output", output] + image.paths
            expectComplaint(
                try Program.execute(#require(Program.path), arguments),
                "\(output): is the image itself"
            )
        }
        #expect(try Program.run("info", image.paths[0], image.paths[1]).status == 0)
    }

    @Test(arguments: [40, 80, 200])
    func theMapKeepsWithinTheWidthOfTheTerminal(columns: Int) throws {
        let image = try TestImage()
        let outcome = try Program.run("map", image.path, columns: columns)
        #expect(outcome.status == 0)
        #expect(!outcome.output.contains("\u{1b}"), "no colour but on a terminal")
        let strips = outcome.output.split(separator: "\n").filter { $0.contains("·") }
        #expect(strips.count >= 3)
        // Legend and sums are sentences and may wrap.
        for strip in strips where !strip.contains("used") {
            #expect(strip.count <= max(columns, 40), "\(strip)")
        }
    }

    // MARK: Claims

    @Test func claimsFromFourThreadsNeverOverlap() throws {
        let image = try TestImage()
        for type in ["data", "metadata", "system"] {
            let outcome = try Program.run(
                "claim",
                "--json",
                "--threads",
                "4",
                "--count",
                "4000",
                "--sizes",
                "4K-256K",
                "--type",
                type,
                image.path
            )
            #expect(outcome.status == 0, "\(outcome.complaint)")
            let facts = try outcome.json()
            #expect(facts["ok"] as? Bool == true)
            let claims = try #require(facts["claims"] as? Int)
            let misses = try #require(facts["misses"] as? Int)
            #expect(claims > 0)
            #expect(claims + misses == 4000)
        }
    }

    /// Where claims land depends on the processors that the threads run on, and so does what is
    /// refused in a full group; what is asked for and what is given back must not.
    @Test func aSeedRepeatsWhatIsAskedFor() throws {
        let image = try TestImage()
        let words =
            "claim --json --threads 2 --count 2000 --sizes 4K-64K --type metadata --give-back 95"
        let runs = try ["7", "7", "8"].map { seed in
            try Program.execute(
                #require(Program.path),
                words.split(separator: " ").map(String.init) + ["--seed", seed, image.path]
            ).json()
        }
        for run in runs { #expect(run["misses"] as? Int == 0) }
        for name in ["claims", "claimed_bytes", "held", "given_back"] {
            #expect(runs[0][name] as? Int == runs[1][name] as? Int, "\(name)")
        }
        #expect(runs[0]["claimed_bytes"] as? Int != runs[2]["claimed_bytes"] as? Int)
    }

    @Test func hintsAlignmentAndShorterClaimsKeepTheirPromises() throws {
        let image = try TestImage()
        let outcome = try Program.run(
            "claim",
            "--json",
            "--threads",
            "3",
            "--count",
            "3000",
            "--hint",
            "last",
            "--align",
            "64K",
            "--min",
            "4K",
            "--type",
            "metadata",
            image.path
        )
        #expect(outcome.status == 0, "\(outcome.complaint)")
        #expect(try outcome.json()["ok"] as? Bool == true)
    }

    @Test func aClaimThatNothingCanServeFailsAndSaysWhy() throws {
        let image = try TestImage()
        let outcome = try Program.run("claim", "--sizes", "1G", "--count", "5", image.path)
        #expect(outcome.status == 1)
        #expect(outcome.output.contains("shorter than what is wanted"))
        #expect(outcome.complaint == "bgctl: no claim could be served\n")
    }
}

/// Counts elements and gathers text.
private final class ElementCounter: NSObject, XMLParserDelegate {
    var root: String?
    var counts: [String: Int] = [:]
    var text = ""

    func parser(
        _ parser: XMLParser,
        didStartElement name: String,
        namespaceURI: String?,
        qualifiedName: String?,
        attributes: [String: String]
    ) {
        root = root ?? name
        counts[name, default: 0] += 1
    }

    func parser(_ parser: XMLParser, foundCharacters string: String) { text += string }
}
