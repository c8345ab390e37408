//===-- FileCommandTests.swift - put, get and rm as their users run them --------------------------===//
// Covered: a tree of everything that is hard to copy, there and back, and as the kernel shows it; where
// things go; errors of the source, the image and the user; full file systems; space coming back.
// Not covered: speed (bgbench's put), files of many extents beyond what FileTests have.
// Replay with BG_SEED=…; BG_TEST_SCALE=n makes the tree that much larger.
// Without bgctl beside the tests the suite is skipped, without btrfs-progs what `btrfs check` says, and
// without root and loop mounts what the kernel says.
//===-------------------------------------------------------------------------------------------===//

import BGTestSupport
import Foundation
import Testing

@Suite(
    "bgctl put, get and rm",
    .enabled(if: Program.path != nil, "bgctl was not built beside the tests")
)
struct FileCommandTests {
    private let folder: Folder
    private let image: String

    init() throws {
        folder = try Folder()
        image = folder.path("image")
    }

    // MARK: helpers

    /// Runs bgctl and expects it to do as it was told.
    @discardableResult
    private func run(
        _ arguments: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> String {
        let outcome = try Program.execute(#require(Program.path), arguments)
        #expect(outcome.status == 0, "\(outcome.complaint)", sourceLocation: sourceLocation)
        return outcome.output
    }

    /// Expects status 1 and a complaint that holds `words`.
    private func expectComplaint(
        _ words: String,
        _ arguments: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outcome = try Program.execute(#require(Program.path), arguments)
        #expect(outcome.status == 1, sourceLocation: sourceLocation)
        #expect(
            outcome.complaint.hasPrefix("bgctl: ") && outcome.complaint.contains(words),
            "\(outcome.complaint)",
            sourceLocation: sourceLocation
        )
    }

    private func format(_ size: String = "1G", _ options: String...) throws {
        let words = ["mkfs", "--size", size, image] + options
        let outcome = try Program.execute(#require(Program.path), words)
        #expect(outcome.status == 0, "\(outcome.complaint)")
    }

    private func expectSound(sourceLocation: SourceLocation = #_sourceLocation) throws {
        try run("check", "--data", image, sourceLocation: sourceLocation)
        guard let btrfs = Machine.hasBtrfsProgs ? Machine.tool("btrfs") : nil else { return }
        let outcome = try execute(btrfs, ["check", "--check-data-csum", image], joined: true)
        #expect(outcome.status == 0, "\(outcome.output)", sourceLocation: sourceLocation)
        #expect(
            outcome.output.contains("no error found"),
            "\(outcome.output)",
            sourceLocation: sourceLocation
        )
    }

    private func expectSame(
        _ path: String,
        _ original: [[UInt8]: TreeEntry],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let copy = try picture(path)
        #expect(Set(copy.keys) == Set(original.keys), sourceLocation: sourceLocation)
        for (name, entry) in original where copy[name] != entry {
            var (left, right) = (entry, copy[name])
            // Too long to be printed.
            let sameBytes = left.contents == right?.contents
            left.contents = []
            right?.contents = []
            Issue.record(
                "\(name.prefix(60)): \(left), but \(String(describing: right)), same bytes: \(sameBytes)",
                sourceLocation: sourceLocation
            )
        }
    }

    private func usedBytes() throws -> Int {
        let groups = try #require(
            JSONSerialization.jsonObject(with: Data(run("groups", "--json", image).utf8))
                as? [String: Any]
        )
        let list = try #require(groups["block_groups"] as? [[String: Any]])
        return list.filter { ($0["flags"] as? String)?.contains("DATA|") == true }
            .filter { ($0["flags"] as? String)?.contains("METADATA") == false }
            .reduce(0) { $0 + ($1["used"] as? Int ?? 0) }
    }

    /// Has the kernel mount the image, to look at it, while `body` runs.
    private func mounted(_ body: (_ point: String) throws -> Void) throws {
        try withLoopDevices([image]) { loops in
            try withMount(loops, at: folder.path("point"), ["ro"]) { try body($0) }
        }
    }

    private func write(_ count: Int, _ name: String) throws -> String {
        let path = folder.path(name)
        try Data((0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) })
            .write(to: URL(fileURLWithPath: path))
        return path
    }

    // MARK: there and back

    @Test(arguments: ["1", "4", "16"])
    func aTreeComesBackAsItWas(threads: String) throws {
        let random = SeededGenerator.printed("aTreeComesBackAsItWas \(threads)")
        let source = folder.path("source")
        try NastyTree(source, random)
        let original = try picture(source)
        try format()
        try run("put", "--threads", threads, image, source, "/tree")
        try expectSound()
        let back = folder.path("back")
        try run("get", "--threads", threads, image, "/tree", back)
        try expectSame(back, original)

        // Once more over itself: replaced, not doubled.
        let used = try usedBytes()
        try run("put", "--threads", threads, image, source + "/.", "/tree")
        try expectSound()
        #expect(try usedBytes() == used)
        try run("get", "--threads", threads, image, "/tree/.", back)
        try expectSame(back, original)
    }

    @Test(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"))
    func theKernelSeesTheTreeThatWasPut() throws {
        let random = SeededGenerator.printed("theKernelSeesTheTreeThatWasPut")
        let source = folder.path("source")
        try NastyTree(source, random)
        let original = try picture(source)
        try format("1G", "--checksum", "xxhash")
        try run("put", image, source, "/tree")
        try mounted { point in try expectSame(point + "/tree", original) }
    }

    @Test(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"))
    func aMountedImageIsRefused() throws {
        try format()
        let source = try write(10, "source")
        try mounted { _ in
            try expectComplaint("is in use by a loop device", "put", image, source, "/")
            try expectComplaint("is in use by a loop device", "rm", image, "/source")
        }
    }

    // MARK: where things go

    @Test func destinationsAreAsWithCp() throws {
        try format("256M")
        let file = try write(5000, "file")
        let other = try write(300, "other")
        try run("put", image, file, "/")
        try run("put", image, file, "/renamed")
        try run("put", image, other, "/renamed")
        let tree = folder.path("tree")
        try FileManager.default.createDirectory(
            atPath: tree + "/inner",
            withIntermediateDirectories: true
        )
        try FileManager.default.copyItem(atPath: file, toPath: tree + "/inner/file")
        try run("put", image, tree, "/copy")
        try run("put", image, tree, "/copy")
        try run("put", image, tree + "/.", "/copy/tree/inner")

        let back = folder.path("back")
        try run("get", image, "/", back)
        let names = try picture(back).keys.map { shownName($0) }.sorted()
        #expect(
            names == [
                "", "/copy", "/copy/inner", "/copy/inner/file", "/copy/tree", "/copy/tree/inner",
                "/copy/tree/inner/file", "/copy/tree/inner/inner", "/copy/tree/inner/inner/file",
                "/file", "/renamed",
            ]
        )
        #expect(try readFile(back + "/renamed") == readFile(other))
        #expect(try readFile(back + "/copy/tree/inner/inner/file") == readFile(file))
        try run("get", image, "/copy/inner/file", back)
        try run("get", image, "/renamed", back + "/file")
        #expect(try readFile(back + "/file") == readFile(other), "an old file is replaced")
    }

    private func shownName(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    // MARK: errors

    @Test func badInputIsNamedInOneLine() throws {
        try format("256M")
        let file = try write(10, "file")
        let missing = folder.path("missing")
        try expectComplaint("No such file", "put", image, missing, "/")
        try expectComplaint(missing, "put", image, missing, "/")
        try expectComplaint("/no/where: No such file", "put", image, file, "/no/where")
        try expectComplaint("/nowhere/: there is no such", "put", image, file, "/nowhere/")
        try expectComplaint("begins with /", "put", image, file, "relative")
        try expectComplaint("<source>", "put", image, file)
        try expectComplaint("--threads", "put", "--threads", "0", image, file, "/")
        try expectComplaint("/missing: No such file", "get", image, "/missing", folder.path("x"))
        try expectComplaint("No such file", "get", image, "/", folder.path("no/where"))
        try expectComplaint("/missing: No such file", "rm", image, "/missing")
        try expectComplaint("is the top directory", "rm", "-r", image, "/")
        try run("put", image, file, "/file")
        try expectComplaint("Not a directory", "put", image, file, "/file/inner")
    }

    @Test func whatCannotBeReadIsLeftOutAndTheRestIsPut() throws {
        try format("256M")
        let tree = folder.path("tree")
        try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
        for number in 0..<20 { _ = try write(number * 500, "tree/file\(number)") }
        // The image in its own tree; and, where permissions mean something, a file without them.
        try FileManager.default.moveItem(atPath: image, toPath: tree + "/image")
        let inner = tree + "/image"
        var skipped = 1
        if geteuid() != 0 {
            chmod(tree + "/file3", 0)
            skipped = 2
        }
        let outcome = try Program.run("put", inner, tree, "/tree")
        #expect(outcome.status == 1)
        #expect(outcome.complaint.contains("\(inner): is the image itself"))
        #expect(
            outcome.complaint.split(separator: "\n").filter { !$0.contains(": copying: ") }.count
                == skipped
        )
        #expect(outcome.output.hasPrefix("put \(21 - skipped) files, 1 directory"))
    }

    @Test func theImageIsNotReplacedByWhatComesOutOfIt() throws {
        try format("256M")
        let tree = folder.path("tree")
        try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
        for name in ["image", "other"] { _ = try write(5000, "tree/\(name)") }
        let first = try write(100, "first")
        #expect(link(first, tree + "/second") == 0 && link(first, tree + "/third") == 0)
        try run("put", image, tree + "/.", "/")
        try expectComplaint("\(image): is the image itself", "get", image, "/other", image)
        try expectComplaint("\(image): is the image itself", "get", image, "/second", image)
        // Of a tree the rest is copied.
        try expectComplaint("image: is the image itself", "get", image, "/.", folder.path("."))
        for name in ["other", "second", "third"] {
            #expect(try readFile(folder.path(name)) == readFile("\(tree)/\(name)"))
        }
        try expectSound()
    }

    @Test func damagedDataIsNamedAndLeftOut() throws {
        try format("256M")
        let pattern = [UInt8]("a pattern that is nowhere else in the image".utf8)
        let bad = folder.path("bad")
        try Data(pattern + [UInt8](repeating: 1, count: 9000)).write(
            to: URL(fileURLWithPath: bad)
        )
        let good = try write(9000, "good")
        for file in [bad, good] { try run("put", image, file, "/") }
        let file = try #require(FileHandle(forUpdatingAtPath: image))
        let all = try #require(try file.readToEnd())
        let place = try #require(all.range(of: Data(pattern)))
        try file.seek(toOffset: UInt64(place.lowerBound + 5))
        try file.write(contentsOf: Data([0]))
        try file.close()

        let back = folder.path("back")
        let outcome = try Program.run("get", image, "/", back)
        #expect(outcome.status == 1)
        #expect(outcome.complaint.contains("bgctl: /bad: "), "\(outcome.complaint)")
        #expect(outcome.output.hasPrefix("got 1 file, 1 directory"), "\(outcome.output)")
        #expect(try readFile(back + "/good") == readFile(good))
        #expect(access(back + "/bad", F_OK) != 0)
    }

    // MARK: space

    @Test func aFullFileSystemKeepsWhatIsWholeAndCanBeEmptied() throws {
        try format("128M")
        let tree = folder.path("tree")
        try FileManager.default.createDirectory(atPath: tree, withIntermediateDirectories: true)
        for number in 0..<40 { _ = try write(6 << 20, "tree/file\(number)") }
        for round in 0..<2 {
            try expectComplaint("No space left on device", "put", image, tree, "/tree\(round)")
            try expectSound()
            let back = folder.path("back\(round)")
            try run("get", image, "/tree\(round)", back)
            let names = try FileManager.default.contentsOfDirectory(atPath: back)
            #expect(!names.isEmpty && names.count < 40)
            for name in names {
                #expect(try readFile("\(back)/\(name)") == readFile("\(tree)/\(name)"))
            }
            try run("rm", "-r", image, "/tree\(round)")
            try expectSound()
            #expect(try usedBytes() == 0)
        }
    }

    @Test func removingATreeGivesItsSpaceBack() throws {
        try format()
        let source = folder.path("source")
        try NastyTree(source, SeededGenerator.printed("removingATreeGivesItsSpaceBack"))
        let kept = try write(100_000, "kept")
        try run("put", image, kept, "/kept")
        let used = try usedBytes()
        #expect(used == 102_400)
        try run("put", image, source, "/tree")
        #expect(try usedBytes() > used)
        try expectComplaint("is a directory", "rm", image, "/tree")
        try run("rm", image, "/tree/size5000001")
        try run("rm", "-r", image, "/tree")
        #expect(try usedBytes() == used)
        try expectSound()
        try run("get", image, "/kept", folder.path("back"))
        #expect(try readFile(folder.path("back")) == readFile(kept))
    }
}
