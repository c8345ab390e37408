// Files that the kernel made, in every form it has for them, changed by us and read by it again:
// compressed, shared by reflinks and snapshots, preallocated, sparse, without checksums, with many links.
// Needs root and loop mounts; skipped where there are none.

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"), .serialized)
struct FileKernelTests {
    private let names = ["plain", "compressed", "clone", "reserved", "sparse", "nocow", "snap"]

    /// Lets the kernel make files; returns what is in them.
    private func fill(_ point: String) throws -> [String: [UInt8]] {
        var contents: [String: [UInt8]] = [:]
        func write(_ name: String, _ bytes: [UInt8]) throws {
            try Data(bytes).write(to: URL(fileURLWithPath: point + "/" + name))
            contents[name] = bytes
        }
        try write("plain", pattern(1, count: 1_000_003))
        try write("small", pattern(2, count: 700))
        try run("touch", [point + "/compressed"])
        try run("btrfs", ["property", "set", point + "/compressed", "compression", "zstd"])
        let text = (0..<600_000).map { UInt8($0 / 1000 & 0x7f) }
        try append(text, point + "/compressed")
        contents["compressed"] = text
        try run("cp", ["--reflink=always", point + "/plain", point + "/clone"])
        contents["clone"] = contents["plain"]
        try run("fallocate", ["-l", "400K", point + "/reserved"])
        contents["reserved"] = [UInt8](repeating: 0, count: 400 << 10)
        try run("truncate", ["-s", "3M", point + "/sparse"])
        contents["sparse"] = [UInt8](repeating: 0, count: 3 << 20)
        try run("touch", [point + "/nocow"])
        try run("chattr", ["+C", point + "/nocow"])
        try append(pattern(5, count: 300_000), point + "/nocow")
        contents["nocow"] = pattern(5, count: 300_000)
        try write("snap", pattern(6, count: 500_000))
        for number in 0..<12 {
            #expect(Foundation.link(point + "/small", point + "/" + linkName(number)) == 0)
        }
        try run("sync", ["-f", point])
        try run("btrfs", ["subvolume", "snapshot", point, point + "/snapshot"])
        return contents
    }

    private func linkName(_ number: Int) -> String {
        String(repeating: "link", count: 40) + "\(number)"
    }

    private func append(_ bytes: [UInt8], _ path: String) throws {
        let file = try #require(FileHandle(forWritingAtPath: path))
        try file.write(contentsOf: Data(bytes))
        try file.close()
    }

    @Test(arguments: [[], ["-n", "4096"], ["-O", "^no-holes"]])
    func filesOfEveryFormAreChanged(options: [String]) throws {
        var random = SeededGenerator.printed("kernel's files \(options)")
        let image = try MkfsImage(sizes: [1 << 30], options)
        var expected: [String: [UInt8]] = [:]
        try image.mounted { expected = try fill($0) }
        let before = expected
        var filesystem: Filesystem? = try Filesystem(paths: image.paths, readOnly: false)
        for name in expected.keys.sorted() where name != "compressed" {
            #expect(try filesystem!.contents(FilePath(name)) == expected[name])
        }
        expectRefusal(.unsupported) { () throws(FilesystemError) in
            _ = try filesystem!.metadata(of: "/snapshot/plain")
        }
        expectRefusal(.unsupported) { () throws(FilesystemError) in
            try filesystem!.removeDirectory("/snapshot")
        }
        for name in names {
            let file = try filesystem!.openFile(FilePath(name))
            for _ in 0..<20 {
                // What is compressed is changed by whole sectors, for the rest of one is not readable.
                let unit = name == "compressed" ? 4096 : 1
                let size = expected[name]!.count
                let offset = Int.random(in: 0..<size, using: &random) / unit * unit
                let count = (Int.random(in: 1...100_000, using: &random) + unit - 1) / unit * unit
                let bytes = Array(pattern(random.next(), count: count).prefix(count))
                try file.put(bytes, at: UInt64(offset))
                let missing = max(0, offset + count - size)
                expected[name]! += [UInt8](repeating: 0, count: missing)
                expected[name]!.replaceSubrange(offset..<offset + count, with: bytes)
            }
            let size = expected[name]!.count / 2 / 4096 * 4096
            try file.truncate(to: UInt64(size))
            expected[name] = Array(expected[name]![..<size])
            try file.close()
        }
        for number in 0..<12 where number % 3 > 0 {
            try filesystem!.removeFile(FilePath(linkName(number)))
        }
        try filesystem!.removeFile("/clone")
        expected["clone"] = nil
        try filesystem!.close()
        filesystem = nil
        try image.expectCleanCheck()
        try image.mounted { point in
            for (name, bytes) in expected {
                #expect(try readFile(point + "/" + name) == bytes, "\(name)")
            }
            for (name, bytes) in before {
                #expect(try readFile(point + "/snapshot/" + name) == bytes, "snapshot of \(name)")
            }
            try run("btrfs", ["subvolume", "delete", "-c", point + "/snapshot"])
            try run("find", [point, "-mindepth", "1", "-delete"])
            try run("btrfs", ["scrub", "start", "-B", point])
        }
        try image.expectCleanCheck()
    }

    /// Not asked in lowmem mode: that of btrfs-progs 6.2 fails some images with extended references that
    /// only the kernel wrote to.
    @Test func extendedReferencesOfTheKernelAreRemovedAndAdded() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        try image.mounted { point in
            try Data([1]).write(to: URL(fileURLWithPath: point + "/a"))
            for number in 0..<200 {
                #expect(Foundation.link(point + "/a", point + "/" + linkName(number)) == 0)
            }
        }
        var filesystem: Filesystem? = try Filesystem(paths: image.paths, readOnly: false)
        for number in 0..<200 where number % 3 > 0 {
            try filesystem!.removeFile(FilePath(linkName(number)))
        }
        for number in 200..<300 {
            try filesystem!.makeHardLink(FilePath(linkName(number)), to: "/a")
        }
        #expect(try filesystem!.metadata(of: "/a").linkCount == 1 + 67 + 100)
        try filesystem!.close()
        filesystem = nil
        try run("btrfs", ["check", image.paths[0]])
        try image.mounted { point in
            #expect(try readFile(point + "/" + linkName(299)) == [1])
            try run("find", [point, "-mindepth", "1", "-delete"])
        }
        try image.expectCleanCheck()
    }

    @Test func theDefaultSubvolumeIsTheOneWritten() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        try image.mounted { point in
            try run("btrfs", ["subvolume", "create", point + "/sub"])
            try run("btrfs", ["subvolume", "set-default", point + "/sub"])
        }
        var filesystem: Filesystem? = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem!.write("/inside", [1, 2, 3])
        try filesystem!.close()
        filesystem = nil
        try image.expectCleanCheck()
        try image.mounted { point in
            // Mounted without an option: the default subvolume.
            #expect(try readFile(point + "/inside") == [1, 2, 3])
            try run("btrfs", ["property", "set", "-f", point, "ro", "true"])
        }
        filesystem = try Filesystem(paths: image.paths, readOnly: false)
        expectRefusal(.readOnly) { () throws(FilesystemError) in
            try filesystem!.makeDirectory("/d")
        }
        #expect(try filesystem!.contents("/inside") == [1, 2, 3])
    }

    @Test func theKernelRemovesWhatWasOpenAtACrash() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        var filesystem: Filesystem? = try Filesystem(paths: image.paths, readOnly: false)
        try filesystem!.write("/a", pattern(1, count: 5 << 20))
        var file: File? = try filesystem!.openFile("/a")
        try filesystem!.removeFile("/a")
        try filesystem!.commit()
        // As a crash leaves it: the last close comes too late to be committed.
        file = nil
        filesystem = nil
        #expect(file == nil)
        let dump = ["inspect-internal", "dump-tree", "-t", "5"] + image.paths
        #expect(try run("btrfs", dump).contains("ORPHAN_ITEM"))
        try image.mounted { point in try run("sync", ["-f", point]) }
        #expect(try !run("btrfs", dump).contains("ORPHAN_ITEM"))
        try image.expectCleanCheck()
    }
}
