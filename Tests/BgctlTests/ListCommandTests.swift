//===-- ListCommandTests.swift - bgctl ls as its users run it -------------------------------------===//
// Covered: names alone, the long form and JSON; every kind of file; names that are hard to print; one file
// instead of a directory; subvolumes; bad input.
// Not covered: colour of the heading (needs a terminal).
//===-------------------------------------------------------------------------------------------===//

import BGTestSupport
import Foundation
import Testing

@testable import bgctl

@Suite("bgctl ls", .enabled(if: Program.path != nil, "bgctl was not built beside the tests"))
struct ListCommandTests {
    private let folder: Folder
    private let image: String

    init() throws {
        folder = try Folder()
        image = folder.path("image")
        #expect(try Program.run("mkfs", "--size", "200M", image).status == 0)
    }

    private func make(_ name: [UInt8], _ contents: String = "") throws {
        let path = [UInt8]((folder.path("tree") + "/").utf8) + name
        let file = withPath(path) { open($0, O_WRONLY | O_CREAT | O_EXCL, 0o640) }
        try #require(file >= 0)
        defer { close(file) }
        #expect(write(file, contents, contents.utf8.count) == contents.utf8.count)
    }

    private func makeTree() throws {
        #expect(mkdir(folder.path("tree"), 0o755) == 0)
    }

    private func put() throws {
        let outcome = try Program.run("put", image, folder.path("tree"), "/tree")
        #expect(outcome.status == 0, "\(outcome.complaint)")
    }

    private func list(_ words: String...) throws -> Outcome {
        let outcome = try Program.execute(#require(Program.path), ["ls"] + words)
        #expect(outcome.status == 0 && outcome.complaint == "", "\(outcome)")
        return outcome
    }

    @Test func namesComeOneALineSortedByTheirBytes() throws {
        try makeTree()
        for name in ["b", "B", "a b", "-l", "ä", "'", "back\\slash", "10", "9"] {
            try make([UInt8](name.utf8))
        }
        try put()
        #expect(try list(image, "/").output == "tree\n")
        #expect(try list(image, "/tree").output == "'\n-l\n10\n9\nB\na b\nb\nback\\slash\nä\n")
        #expect(try list(image, "/tree/").output == list(image, "/tree").output)
        #expect(try list(image, "/tree/a b").output == "/tree/a b\n")
        #expect(try list("--json", image, "/").json()["entries"] is [[String: Any]])
    }

    @Test func anEmptyDirectoryIsNoError() throws {
        #expect(try list(image, "/").output == "")
        #expect(try list("--json", image, "/").output == "{\"entries\":[]}\n")
        #expect(try list("-l", image, "/").output.split(separator: "\n").count == 1)
    }

    @Test func whatATerminalWouldObeyIsNotPrinted() throws {
        try makeTree()
        let names: [[UInt8]] = [
            [UInt8]("new\nline".utf8), [UInt8]("\u{1b}[31mred".utf8), [0x66, 0xff, 0xfe],
            [UInt8]("tab\there".utf8), [UInt8]("bell\u{7}".utf8), [0x63, 0x31, 0xc2, 0x9b, 0x32],
        ]
        for name in names { try make(name) }
        #expect(symlink("to\nit", folder.path("tree/link")) == 0)
        try put()
        for words in [[], ["-l"]] {
            let outcome = try Program.execute(
                #require(Program.path),
                ["ls"] + words + [image, "/tree"]
            )
            let lines = outcome.output.split(separator: "\n")
            #expect(lines.count == names.count + 1 + words.count)
            let isPrintable = outcome.output.unicodeScalars.allSatisfy { scalar in
                scalar == "\n" || scalar.value >= 0x20 && !(0x7f...0x9f).contains(scalar.value)
            }
            #expect(isPrintable)
        }
        #expect(try list("-l", image, "/tree").output.contains(" link -> to\u{fffd}it\n"))
        // JSON has them as they are, and those that are no UTF-8 in hexadecimal.
        let entries = try #require(
            try list("--json", image, "/tree").json()["entries"] as? [[String: Any]]
        )
        let texts = entries.compactMap { $0["name"] as? String }
        for name in names where String(validating: name, as: UTF8.self) != nil {
            #expect(texts.contains(String(decoding: name, as: UTF8.self)))
        }
        #expect(entries.compactMap { $0["name_hex"] as? String } == ["66fffe"])
        #expect(entries.compactMap { $0["target"] as? String } == ["to\nit"])
    }

    @Test func theLongFormTellsEveryKind() throws {
        try makeTree()
        try make([UInt8]("file".utf8), "twelve bytes")
        #expect(chmod(folder.path("tree/file"), 0o4751) == 0)
        #expect(link(folder.path("tree/file"), folder.path("tree/hard")) == 0)
        #expect(symlink("file", folder.path("tree/link")) == 0)
        #expect(mkfifo(folder.path("tree/pipe"), 0o600) == 0)
        #expect(mkdir(folder.path("tree/folder"), 0o755) == 0)
        #expect(chmod(folder.path("tree/folder"), 0o1777) == 0)
        // 1999-12-31 23:59:59.
        let times = [timespec](repeating: timespec(tv_sec: 946_684_799, tv_nsec: 5), count: 2)
        #expect(utimensat(AT_FDCWD, folder.path("tree/file"), times, 0) == 0)
        let isRoot = geteuid() == 0
        if isRoot { #expect(mknod(folder.path("tree/null"), S_IFCHR | 0o644, 0x103) == 0) }
        try put()

        let lines = try list("--long", image, "/tree").output.split(separator: "\n")
        let cells = lines.map { $0.split(separator: " ").map(String.init) }
        try #require(cells.count == (isRoot ? 7 : 6))
        #expect(
            cells[0] == ["mode", "links", "owner", "group", "bytes", "changed", "name"]
        )
        let owner = [String(geteuid()), String(getegid())]
        let begin = ["-rwsr-x--x", "2"] + owner + ["12", "1999-12-31", "23:59:59"]
        #expect(cells[1] == begin + ["file"])
        #expect(cells[2].first == "drwxrwxrwt" && cells[2].last == "folder")
        #expect(cells[3] == begin + ["hard"])
        #expect(cells[4].first == "lrwxrwxrwx" && cells[4].suffix(3) == ["link", "->", "file"])
        if isRoot { #expect(cells[5].first == "crw-r--r--" && cells[5][4...5] == ["1,", "3"]) }
        #expect(cells.last?.first == "prw-------" && cells.last?.last == "pipe")
        // Columns: every name begins below the heading's.
        let column = try #require(lines[0].range(of: "name")).lowerBound
        let offset = lines[0].distance(from: lines[0].startIndex, to: column)
        for line in lines.dropFirst() { #expect(line.dropFirst(offset - 1).first == " ") }

        let entries = try #require(
            try list("--json", image, "/tree").json()["entries"] as? [[String: Any]]
        )
        let file = try #require(entries.first)
        #expect(file["name"] as? String == "file" && file["size"] as? Int == 12)
        #expect(file["mode"] as? Int == 0o104751 && file["links"] as? Int == 2)
        #expect(file["modified"] as? Int == 946_684_799)
        #expect(entries[2]["inode"] as? Int == file["inode"] as? Int)
        if isRoot {
            #expect(entries[4]["device_major"] as? Int == 1)
            #expect(entries[4]["device_minor"] as? Int == 3)
        }
        // One file: the same line, under the path that was asked for.
        let one = try list("-l", image, "/tree/link").output.split(separator: "\n")
        #expect(one.count == 2 && one[1].hasSuffix(" /tree/link -> file"))
    }

    @Test(
        .enabled(
            if: Machine.canMount && Machine.hasBtrfsProgs,
            "needs root, loop mounts of btrfs and btrfs-progs"
        )
    )
    func subvolumesAreMarkedAndNotEntered() throws {
        let image = try MkfsImage(sizes: [300 << 20])
        try image.mounted { point in
            try run("btrfs", ["subvolume", "create", point + "/below"])
            try Data().write(to: URL(fileURLWithPath: point + "/below/inner"))
            try Data().write(to: URL(fileURLWithPath: point + "/file"))
        }
        #expect(try list(image.path, "/").output == "below\nfile\n")
        let long = try list("-l", image.path, "/").output.split(separator: "\n")
        #expect(long[1].hasPrefix("subvolume ") && long[1].hasSuffix(" below"))
        let entries = try #require(
            try list("--json", image.path, "/").json()["entries"] as? [[String: Any]]
        )
        #expect(entries.map { $0["is_subvolume"] as? Bool } == [true, false])
        expectComplaint(try Program.run("ls", image.path, "/below"), "/below: ")
    }

    @Test func badInputIsNamedInOneLine() throws {
        try makeTree()
        try make([UInt8]("file".utf8))
        try put()
        let text = folder.path("tree/file")
        let missing = folder.path("missing")
        let cases: [([String], String)] = [
            ([], "expected <image> ... </path>"), ([image], "expected <image> ... </path>"),
            ([image, "tree"], "'tree' is not a path in the file system: it begins with /"),
            ([image, "/missing"], "/missing: No such file or directory"),
            ([image, "/tree/file/inner"], "/tree/file/inner: Not a directory"),
            ([missing, "/"], "\(missing): cannot be opened: No such file or directory"),
            ([text, "/"], "\(text): no btrfs file system on it"),
            ([folder.path("tree"), "/"], "neither a file nor a block device"),
            ([image, image, "/"], "is the same device as \(image)"),
            (["--bogus", image, "/"], "--bogus"),
        ]
        for (words, complaint) in cases {
            let outcome = try Program.execute(#require(Program.path), ["ls"] + words)
            expectComplaint(outcome, complaint)
        }
        let file = try #require(FileHandle(forUpdatingAtPath: image))
        try file.truncate(atOffset: 100 << 20)
        try file.close()
        expectComplaint(try Program.run("ls", image, "/"), "104857600 bytes")
    }
}
